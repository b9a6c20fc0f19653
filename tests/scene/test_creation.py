"""Creation options: what a format does not know is refused by name, with the GDAL at hand as the judge."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import rasterio

from hsgeo.errors import ParameterError
from hsgeo.scene import write_scene
from hsgeo.scene.creation import NAMES, VALUES, check_creation

from .writing import full_scene, leftovers

GDAL = tuple(int(v) for v in rasterio.__gdal_version__.split(".")[:2])
OUT = {"GTiff": Path("out.tif"), "COG": Path("out.tif"), "ENVI": Path("out.img"), "zarr": Path("out.zarr")}


@pytest.mark.parametrize(
    ("kind", "creation", "says"),
    [
        ("GTiff", {"COMPRES": "ZSTD"}, r"no option COMPRES\. Did you mean COMPRESS\?"),
        ("GTiff", {"blockxsiz": 256}, "BLOCKXSIZE"),
        ("GTiff", {"FROB": 1}, r"GTiff driver has no option FROB\.$"),
        ("GTiff", {"DTYPE": "uint8"}, "no option DTYPE"),
        ("GTiff", {"COMPRESS": "ZTSD"}, r"COMPRESS=ZTSD: one of .*Did you mean ZSTD\?"),
        ("GTiff", {"COMPRESS": "ZSTD", "ZSTD_LEVEL": 99}, "ZSTD_LEVEL=99"),
        ("GTiff", {"ZSTD_LEVEL": "nine"}, "ZSTD_LEVEL=nine.*type int"),
        ("GTiff", {"BIGTIFF": "PERHAPS"}, "IF_SAFER"),
        ("GTiff", {"SPARSE_OK": "MAYBE"}, "SPARSE_OK=MAYBE"),
        ("COG", {"BLOCKXSIZE": 512}, r"COG driver has no option BLOCKXSIZE\. Did you mean BLOCKSIZE\?"),
        ("COG", {"OVERVIEWS": "NOPE"}, "OVERVIEWS=NOPE"),
        ("COG", {"LEVEL": 99}, "LEVEL=99"),
        ("COG", {"BLOCKSIZE": 100}, "BLOCKSIZE=100"),
        ("ENVI", {"COMPRESS": "ZSTD"}, "ENVI knows INTERLEAVE"),
        ("ENVI", {"INTERLEAVE": "bsp"}, "bsq, bil or bip"),
        ("zarr", {"CHUNKS": 3}, "CHUNK and LEVEL"),
        ("zarr", {"LEVEL": "high"}, "LEVEL=high"),
    ],
)
def test_what_a_format_does_not_know(kind, creation, says):
    with pytest.raises(ParameterError, match=says) as caught:
        check_creation(kind, OUT[kind], creation)
    assert "--co" in str(caught.value) and "CPLE" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "creation"),
    [
        ("GTiff", {}),
        ("GTiff", {"compress": "deflate", "ZLEVEL": 1, "INTERLEAVE": "pixel", "TILED": "NO"}),
        ("GTiff", {"COMPRESS": "JPEG", "JPEG_QUALITY": 90}),  # for bytes
        ("GTiff", {"NBITS": 12, "PREDICTOR": 1}),  # for uint16
        ("GTiff", {"PREDICTOR": 3}),  # for floats
        ("GTiff", {"BLOCKXSIZE": 1024, "BLOCKYSIZE": 1024, "NUM_THREADS": 2}),
        ("COG", {"COMPRESS": "LERC_DEFLATE", "MAX_Z_ERROR": 0.1, "BLOCKSIZE": 256}),
        ("ENVI", {"interleave": "BIP"}),
        ("zarr", {"chunk": "64", "LEVEL": 5}),
    ],
)
def test_what_may_serve_passes_while_the_type_is_not_known(kind, creation):
    check_creation(kind, OUT[kind], creation)


@pytest.mark.parametrize(
    ("kind", "creation", "dtype", "fits"),
    [
        ("GTiff", {"COMPRESS": "JPEG"}, "int16", "uint8"),
        ("COG", {"COMPRESS": "JPEG"}, "int16", "uint8"),
        ("GTiff", {"PREDICTOR": 3}, "int16", "float32"),
        ("GTiff", {"NBITS": 12, "PREDICTOR": 1}, "uint8", "uint16"),
        ("COG", {"PREDICTOR": "FLOATING_POINT"}, "uint16", "float64"),
    ],
)
def test_what_does_not_suit_the_type_is_told_once_that_is_known(kind, creation, dtype, fits, capfd):
    check_creation(kind, OUT[kind], creation, fits, 3)
    with pytest.raises(ParameterError, match=next(iter(creation))):
        check_creation(kind, OUT[kind], creation, dtype, 3)
    assert capfd.readouterr() == ("", "")  # of GDAL's own words nothing is printed


def test_blocks_that_tiff_has_not(tmp_path):
    with pytest.raises(ParameterError, match="multiples of 16"):
        write_scene(full_scene(), tmp_path / "a.tif", creation={"BLOCKXSIZE": 17})
    assert leftovers(tmp_path) == []


def test_an_option_misspelt_writes_nothing(tmp_path):
    with pytest.raises(ParameterError, match="COMPRESS"):
        write_scene(full_scene(), tmp_path / "a.tif", creation={"COMPRES": "NONE"})
    assert leftovers(tmp_path) == []


@pytest.mark.skipif(GDAL < (3, 10), reason="advice is for GDAL 3.10 and later")
def test_advice_is_known_to_gdal():
    for kind, names in NAMES.items():
        for name in set(names) - ({"INTERLEAVE"} if kind == "COG" and GDAL < (3, 11) else set()):
            try:
                check_creation(kind, OUT[kind], {name: ""})
            except ParameterError as error:
                assert "has no option" not in str(error)
    for value in ("NONE", "DEFLATE", "LZW", "PACKBITS"):
        assert value in VALUES["COMPRESS"]
        check_creation("GTiff", OUT["GTiff"], {"COMPRESS": value})


def test_warnings_of_others_are_heard_again(caplog):
    check_creation("GTiff", OUT["GTiff"], {"COMPRESS": "LZW"})
    logger = logging.getLogger("rasterio._env")
    assert not logger.filters
    logger.warning("later")
    assert "later" in caplog.text
