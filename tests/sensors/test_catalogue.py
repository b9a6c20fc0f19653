"""Names, band counts, file names: which sensor or band they mean."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from hsgeo.errors import InputError, SensorError
from hsgeo.sensors import guess_sensor, load_sensor, sensor_names


@pytest.mark.parametrize(
    ("spelt", "name"),
    [
        ("Sentinel-2A", "sentinel-2a"),
        ("SENTINEL 2A", "sentinel-2a"),
        ("s2a", "sentinel-2a"),
        ("Landsat_8", "landsat-8"),
        ("EnMAP", "enmap"),
        ("WV2", "worldview-2"),
        ("SPOT-7", "spot-6-7"),
        ("aviris", "aviris-c"),
    ],
)
def test_spelling_of_sensor_names(spelt, name):
    assert load_sensor(spelt).name == name
    assert load_sensor(load_sensor(name)) is load_sensor(name)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("hyperoin", "Did you mean 'hyperion'?"),
        ("sentinal-2b", "Did you mean 'sentinel-2b'?"),
        ("enmapp", "Did you mean 'enmap'?"),
        ("spot", "Did you mean 'spot-6-7'?"),
        ("sentinel-2", "any of sentinel-2a, sentinel-2b, sentinel-2c"),
        ("xyzzy", "`hsgeo info` lists the sensors"),
        ("", "is not known"),
    ],
)
def test_a_wrong_name_suggests_the_near_one(wrong, says):
    with pytest.raises(SensorError) as error:
        load_sensor(wrong)
    assert says in str(error.value) and repr(wrong) in str(error.value)
    assert isinstance(error.value, InputError) and error.value.exit_code == 2


def test_aliases_and_names_are_unambiguous():
    spelt = [alias for name in sensor_names() for alias in _aliases(name)] + sensor_names()
    keys = ["".join(c for c in word.lower() if c.isalnum()) for word in spelt]
    assert len(set(keys)) == len(keys)


def _aliases(name):
    from hsgeo.sensors.catalogue import _header

    return _header(name).aliases


@pytest.mark.parametrize(
    ("texts", "name"),
    [
        (["S2A_MSIL2A_20170617T113321_36_85_B01.tif"], "sentinel-2a"),
        (["T32UQD.jp2", "Sentinel-2B"], "sentinel-2b"),
        (["EO1H1930232004150110PY_B008_L1T.TIF"], "hyperion"),
        (["EO1A1930232004150110PY_B02_L1T.TIF"], "ali"),
        (["ENMAP01-____L2A-DT0000001280_SPECTRAL_IMAGE.TIF"], "enmap"),
        (["EnMAP_BerlinUrbanGradient.bsq"], "enmap"),
        (["PRS_L2D_STD_20200101.tif"], "prisma"),
        (["DESIS-HSI-L2A-DT0001.tif"], "desis"),
        (["EMIT_L2A_RFL_001_20220810.nc"], "emit"),
        (["ang20160910t185702_2rdn_img"], "aviris-ng"),
        (["f080611t01p00r07rdn_c"], "aviris-c"),
        (["LC08_L1TP_193023.tif"], "landsat-8"),
        (["LANDSAT_9"], "landsat-9"),
        (["LE07_L2SP_193023.tif"], "landsat-7"),
        (["IMG_PHR1B_MS_2012.tif"], "pleiades-1b"),
        (["IMG_SPOT6_MS.tif"], "spot-6-7"),
        (["21JUL_WV03_M1BS.tif"], "worldview-3"),
    ],
)
def test_guesses(texts, name):
    assert guess_sensor(texts) is load_sensor(name)


@pytest.mark.parametrize(
    "texts",
    [
        [],
        ["scene.tif", "Area", "GTiff"],
        ["hyperion_with_S2A.tif"],
        ["S2A_MSIL2A.tif", "S2B_MSIL2A.tif"],
        ["AVIRIS reflectance"],
        ["the emitter of EMITTANCE"],
        ["C:\\plugins\\enmap-box\\enmapbox\\testdata\\scene.bsq"],
        ["HighResolution_BerlinUrbanGradient.bsq"],
    ],
)
def test_no_guess_where_nothing_or_several_fit(texts):
    assert guess_sensor(texts) is None


def _found(sensor, *spelt):
    return [band and band.name for band in load_sensor(sensor).find(spelt)]


def test_bands_are_found_however_spelt():
    spelt: tuple[str, ...] = (
        "B2",
        "B02",
        "b2",
        "band 2",
        "Band_02",
        "2",
        "Blue",
        "S2A_MSIL2A_36_85_B02.tif",
        "B02_10m",
        "B2 - Blue",
    )
    assert _found("sentinel-2a", *spelt) == ["B2"] * len(spelt)
    spelt = ("B8A", "b8a", "8A", "T32UQD_20200101T101010_B8A_20m.jp2", "NIR narrow")
    assert _found("sentinel-2a", *spelt) == ["B8A"] * len(spelt)
    assert _found("sentinel-2a", "SCL", "B99", "", "B02_B03") == [None] * 4
    assert _found("hyperion", "EO1H1930232004150110PY_B008_L1T.TIF", "band 101 (1154.58 Nanometers)") == ["B8", "B101"]
    assert _found("worldview-2", "B1", "coastal", "red edge", "pan") == ["Coastal", "Coastal", "RedEdge", "Pan"]


def test_an_unknown_band_is_said():
    with pytest.raises(SensorError, match=r"Sentinel-2A MSI has no band 'B8B'.*Did you mean 'B8A?'\?"):
        load_sensor("sentinel-2a").band("B8B")


def test_sensors_pickle():
    sensor = load_sensor("sentinel-2c")
    copy = pickle.loads(pickle.dumps(sensor))
    assert copy == sensor and hash(copy) == hash(sensor)
    np.testing.assert_array_equal(copy.bands[1].response, sensor.bands[1].response)
