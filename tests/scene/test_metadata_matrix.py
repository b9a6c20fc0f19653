"""The ten kinds of metadata survive open -> process -> write, from any format to any other."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
import xarray as xr

from hsgeo.scene import open_scene, write_scene
from hsgeo.scene.envi import numbers, split_list
from hsgeo.scene.model import band_tags
from hsgeo.scene.provenance import provenance_record

from .writing import full_scene, stored

FORMATS = {
    "GTiff": ("scene.tif", {}),
    "COG": ("scene_cog.tif", {"cog": True}),
    "ENVI": ("scene.img", {}),
    "ENVI bil": ("scene.bil", {}),
    "zarr": ("scene.zarr", {}),
}

#: the ten kinds: name, what an opened scene says of it
KINDS = {
    "description": lambda s: s["band_name"].values.tolist(),
    "scale": lambda s: s["scale"].values.tolist(),
    "offset": lambda s: s["offset"].values.tolist(),
    "units": lambda s: s["units"].values.tolist(),
    "nodata": lambda s: s.attrs["nodata"],
    "dataset tags": lambda s: (
        s.attrs["sensor"],
        {k: s.attrs["tags"].get(k) for k in ("start_time", "remark")},
        json.loads(s.attrs["tags"]["HSGEO_PROVENANCE"])["inputs"],
    ),
    "ENVI domain": lambda s: (
        numbers(s.attrs["domains"]["ENVI"]["correction_factors"]).tolist(),
        s.attrs["domains"]["ENVI"]["acquisition_time"],
        split_list(s.attrs["domains"]["ENVI"]["z_plot_titles"]),
        [int(n) for n in split_list(s.attrs["domains"]["ENVI"]["default_bands"])],
    ),
    "own domain": lambda s: (s.attrs["domains"]["MY_DOMAIN"], s.attrs["domains"]["IMAGERY"]),
    "band tags": lambda s: (
        band_tags(s),
        s["good"].values.tolist(),
        s["bad_reason"].values.tolist(),
        s["gsd"].values.tolist(),
    ),
    "IMAGERY wavelengths": lambda s: (
        np.nan_to_num(s["wavelength"].values, nan=-1).tolist(),
        np.nan_to_num(s["fwhm"].values, nan=-1).tolist(),
    ),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    """The full scene in every format."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "input.bin").write_bytes(b"x" * 100_000)
    record = provenance_record([folder / "input.bin"], {"command": "test"})
    paths = {}
    for name, (file, options) in FORMATS.items():
        paths[name] = folder / name / file
        paths[name].parent.mkdir()
        write_scene(full_scene(), paths[name], provenance=record, **options)
    return paths


def expected(kind: str) -> object:
    """What the full scene says, with the provenance that was written."""
    scene = full_scene()
    scene.attrs["tags"] = {**scene.attrs["tags"], "HSGEO_PROVENANCE": json.dumps({"inputs": None})}
    return KINDS[kind](scene)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_kind_survives(source, target, kind, sources, tmp_path, written):
    first = KINDS[kind](open_scene(sources[source], chunks=None))
    second = KINDS[kind](open_scene(written(source, target), chunks=None))
    if kind == "dataset tags":  # the provenance was made while writing
        assert first[:2] == expected(kind)[:2]
        assert first[2][0]["name"] == "input.bin"
    else:
        assert first == expected(kind)
    assert second == first


@pytest.fixture(scope="module")
def written(sources, tmp_path_factory):
    """Each source opened, worked on with its metadata kept, and written in each format."""
    folder, done = tmp_path_factory.mktemp("targets"), {}

    def convert(source: str, target: str) -> Path:
        if (source, target) not in done:
            file, options = FORMATS[target]
            path = folder / f"{source} to {target}" / file
            path.parent.mkdir()
            scene = open_scene(sources[source])
            with xr.set_options(keep_attrs=True):
                worked = scene * np.float32(1)
            write_scene(worked, path, **options)
            done[source, target] = path
        return done[source, target]

    return convert


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_pixels_and_grid_survive(source, target, sources, written):
    scene, result = full_scene(), open_scene(written(source, target), chunks=None)
    assert np.array_equal(stored(result), stored(scene))
    assert np.array_equal(np.isnan(result.values), np.isnan(scene.values))
    assert result.odc.geobox == scene.odc.geobox
    assert result.attrs["dtype"] == "int16"


@pytest.mark.parametrize("target", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_subset_keeps_the_right_values(source, target, sources, tmp_path):
    file, options = FORMATS[target]
    kept = [0, 2]
    part = open_scene(sources[source]).isel(band=kept, y=slice(5, 30), x=slice(3, None))
    write_scene(part, tmp_path / file, **options)
    result, whole = open_scene(tmp_path / file, chunks=None), full_scene()
    assert result["band"].values.tolist() == [1, 2]
    for key in ("band_name", "wavelength", "fwhm", "good", "bad_reason", "scale", "offset", "units", "gsd"):
        assert result[key].values.tolist() == whole[key].values[kept].tolist(), key
    assert [t["detector"] for t in band_tags(result)] == ["VNIR 0", "VNIR 2"]
    envi = result.attrs["domains"]["ENVI"]
    assert numbers(envi["correction_factors"]).tolist() == [1.0, 1.2]
    assert numbers(envi["wavelength"]).tolist() == [418.24, 2410.125] and envi["wavelength_units"] == "Nanometers"
    assert numbers(envi["bbl"]).tolist() == [1, 0]
    assert split_list(envi["z_plot_titles"]) == ["wavelength", "reflectance"]  # two entries, but not one a band
    assert "default_bands" not in envi  # one of them is gone
    assert envi.get("samples") in (None, str(result.sizes["x"]))
    assert np.array_equal(stored(result), stored(whole.isel(band=kept, y=slice(5, 30), x=slice(3, None))))
    assert result.odc.geobox == whole.odc.geobox[5:30, 3:]


@pytest.mark.parametrize("target", FORMATS)
def test_what_changed_is_updated(target, sources, tmp_path):
    """A coarser grid, other bands and another type: nothing of the old ones is left behind."""
    file, options = FORMATS[target]
    scene = open_scene(sources["GTiff"]).isel(band=[1, 0], y=slice(0, 36), x=slice(0, 52))
    with xr.set_options(keep_attrs=True):
        coarse = scene.coarsen(y=2, x=2).mean()
    coarse = coarse.drop_vars("spatial_ref").odc.assign_crs(scene.odc.crs)
    report = write_scene(coarse, tmp_path / file, dtype="float32", **options)
    result = open_scene(tmp_path / file, chunks=None)
    assert report.nodata == -32768 and result.attrs["dtype"] == "float32"
    assert result["scale"].values.tolist() == [1, 1] and result["offset"].values.tolist() == [0, 0]
    assert result.odc.geobox.resolution.x == 60
    assert result["gsd"].values.tolist() == [30, 30]  # what the bands were recorded at, no longer the pixel size
    assert result["wavelength"].values.tolist() == [423.874, 418.24]
    assert numbers(result.attrs["domains"]["ENVI"]["correction_factors"]).tolist() == [1.1, 1.0]
    np.testing.assert_allclose(result.values, coarse.values, rtol=1e-6)


def test_wavelengths_are_where_each_reader_looks(sources):
    """EnMAP-Box: band tags, then the ENVI domain; its QGIS plugin: IMAGERY first, the width in the same unit."""
    for name in ("GTiff", "COG", "ENVI"):
        with rasterio.open(sources[name]) as dataset:
            for band, wave, fwhm, flag in ((1, 418.24, 6.99561, 1), (3, 2410.125, 10.5, 0)):
                tags, imagery = dataset.tags(band), dataset.tags(band, ns="IMAGERY")
                assert float(tags["wavelength"]) == wave and tags["wavelength_units"] == "Nanometers"
                assert float(tags["fwhm"]) == fwhm and int(tags["bbl"]) == flag
                assert float(imagery["CENTRAL_WAVELENGTH_UM"]) == pytest.approx(wave / 1e3, abs=1e-9)
                assert float(imagery["FWHM_UM"]) == pytest.approx(fwhm / 1e3, abs=1e-9)
            domain = dataset.tags(ns="ENVI")
            assert numbers(domain["wavelength"]).tolist() == [418.24, 423.874, 2410.125, 0]
            assert domain["wavelength_units"] == "Nanometers"
            if name != "ENVI":  # whose list has a place for each band
                assert "wavelength" not in dataset.tags(4) and not dataset.tags(4, ns="IMAGERY")


@pytest.mark.parametrize("name", ["GTiff", "COG", "ENVI"])
def test_seen_from_outside(name, sources):
    """Debian's own GDAL, older than rasterio's, reads the same."""
    if shutil.which("gdalinfo") is None:
        pytest.skip("no gdalinfo here")
    out = subprocess.run(
        ["gdalinfo", "-json", "-mdd", "all", sources[name]], capture_output=True, text=True, check=True
    )
    info = json.loads(out.stdout)
    band = info["bands"][2]
    assert [b["description"] for b in info["bands"]] == full_scene()["band_name"].values.tolist()
    assert (band["scale"], band["offset"], band["unit"]) == (2e-4, 0, "reflectance")
    assert info["bands"][3]["offset"] == 0.5 and info["bands"][3]["unit"] == "K"
    assert all(b["noDataValue"] == -32768 for b in info["bands"])
    tags = info["metadata"][""]
    assert tags["HSGEO_SENSOR"] == "enmap" and tags["remark"] == full_scene().attrs["tags"]["remark"]
    assert json.loads(tags["HSGEO_PROVENANCE"])["inputs"][0]["size"] == 100_000
    assert info["metadata"]["MY_DOMAIN"] == {"key": "value & <tag>", "list": "{1, 2}"}
    assert numbers(info["metadata"]["ENVI"]["correction_factors"]).tolist() == [1.0, 1.1, 1.2, 1.3]
    assert band["metadata"][""]["detector"] == "VNIR 2" and band["metadata"][""]["bad_reason"] == "water vapour"
    assert band["metadata"][""]["gsd"] == "60.0"
    assert float(band["metadata"]["IMAGERY"]["FWHM_UM"]) == 0.0105
    assert info["size"] == [53, 37] and info["geoTransform"] == [500010.0, 30.0, 0.0, 5800020.0, 0.0, -30.0]


@pytest.mark.parametrize("name", ["GTiff", "COG", "ENVI"])
def test_seen_by_rio_info(name, sources):
    rio = [sys.executable, "-c", "from rasterio.rio.main import main_group; main_group()"]
    run = subprocess.run([*rio, "info", sources[name]], capture_output=True, text=True, check=True)
    info = json.loads(run.stdout)
    assert info["descriptions"] == full_scene()["band_name"].values.tolist()
    assert info["nodata"] == -32768 and info["units"][3] == "K" and info["crs"] == "EPSG:32633"
    assert info["dtype"] == "int16" and info["count"] == 4


def test_envi_header_alone_keeps_all(sources, tmp_path):
    """Whoever copies the two files of an ENVI image and not the sidecar loses nothing."""
    for suffix in (".img", ".hdr"):
        shutil.copy(sources["ENVI"].with_suffix(suffix), tmp_path)
    alone, whole = (open_scene(p, chunks=None) for p in (tmp_path / "scene.img", sources["ENVI"]))
    for kind, of in KINDS.items():
        assert of(alone) == of(whole), kind


def test_geotiffs_have_no_sidecar(sources):
    for name in ("GTiff", "COG"):
        assert [p.name for p in sources[name].parent.iterdir()] == [FORMATS[name][0]]


def test_provenance_is_chained(sources, tmp_path):
    record = provenance_record([sources["GTiff"]], {"step": 2, "array": np.arange(3), "path": tmp_path, "nan": np.nan})
    write_scene(open_scene(sources["GTiff"]), tmp_path / "b.tif", provenance=record)
    with rasterio.open(tmp_path / "b.tif") as dataset:
        tag = json.loads(dataset.tags()["HSGEO_PROVENANCE"])
    assert tag["parameters"] == {"step": 2, "array": [0, 1, 2], "path": str(tmp_path), "nan": "nan"}
    assert tag["inputs"][0] == record["inputs"][0] and len(tag["inputs"][0]["sha256_header"]) == 64
    assert tag["software"] == "hsgeo" and tag["version"] and tag["time"].endswith("Z")
    assert tag["previous"]["inputs"][0]["name"] == "input.bin"


def test_provenance_of_folders_and_missing_inputs(sources, tmp_path):
    store, gone = provenance_record([sources["zarr"], tmp_path / "gone.tif"], {})["inputs"]
    assert store["name"] == "scene.zarr" and store["size"] > 0 and len(store["sha256_header"]) == 64
    assert gone == {"name": "gone.tif"}
    again = provenance_record([str(sources["zarr"])], {})["inputs"][0]
    assert again == store
    copy = tmp_path / "input.bin"
    copy.write_bytes(b"x" * 99_999 + b"y")
    one = provenance_record([copy], {})["inputs"][0]
    copy.write_bytes(b"y" + b"x" * 99_999)
    assert provenance_record([copy], {})["inputs"][0]["sha256_header"] != one["sha256_header"]


@pytest.mark.parametrize(
    "source", ["potsdam/enmap_potsdam_nw.tif", "berlin/EnMAP_BerlinUrbanGradient.bsq", "sentinel2_patch"]
)
@pytest.mark.parametrize("target", FORMATS)
def test_real_scenes(source, target, real_data, tmp_path):
    file, options = FORMATS[target]
    scene = open_scene(real_data / source, chunks=None)
    report = write_scene(scene, tmp_path / file, **options)
    result = open_scene(tmp_path / file, chunks=None)
    assert report.saturated == 0 and report.nodata == scene.attrs["nodata"]
    np.testing.assert_array_equal(result.values, scene.values)
    for key in set(scene.coords) - {"band", "spatial_ref"}:
        np.testing.assert_array_equal(result[key].values, scene[key].values, err_msg=key)
    assert result.odc.geobox == scene.odc.geobox and result.attrs["sensor"] == scene.attrs["sensor"]
