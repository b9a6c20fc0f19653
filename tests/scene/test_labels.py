"""Classes of a raster, and how they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.bench.protocols import on_grid
from hsgeo.errors import ParameterError
from hsgeo.scene.labels import Classes, Labels

KNOWN = Classes(["roof", "low vegetation", "class 7"], [1, 2, 7])


def raster(values: np.ndarray, **attrs) -> object:
    return on_grid(values[None].astype(float), 30).assign_attrs(attrs)


def test_by_name_and_by_value() -> None:
    for wanted, place in (("roof", 0), ("Low Vegetation", 1), ("2", 1), ("7", 2), ("class 7", 2), ("Class 1", 0)):
        assert KNOWN.place(wanted) == place
    for wanted in ("3", "class 3", "tree", "-1", ""):
        with pytest.raises(ParameterError, match=r"the model has roof \(1\), low vegetation \(2\), class 7"):
            KNOWN.place(wanted)


def test_names_of_a_raster() -> None:
    values = np.array([[1, 2, 0], [7, 2, 1]])
    envi = {"domains": {"ENVI": {"class_names": "{unknown, roof, low vegetation}"}}}
    assert Labels.of(raster(values, **envi)).names == ["roof", "low vegetation", "class 7"]
    assert Labels.of(raster(values, tags={"CLASS_2": "water", "CLASS_X": "?"})).names == ["class 1", "water", "class 7"]


def test_a_raster_s_classes_among_those_of_a_model() -> None:
    """By name where it has names, else by value; a class that is nowhere in it asks for nothing."""
    values = np.array([[1, 2, 0], [7, 2, 1]])
    np.testing.assert_array_equal(KNOWN.places("a.tif", Labels.of(raster(values))), [0, 1, 2, -1])
    named = Labels.of(raster(values, tags={"CLASS_1": "low vegetation", "CLASS_2": "roof"}))
    np.testing.assert_array_equal(KNOWN.places("a.tif", named), [1, 0, 2, -1])
    other = Labels.of(raster(np.where(values == 7, 9, values)))
    with pytest.raises(ParameterError, match=r"a\.tif: it has class 9, and the model has roof"):
        KNOWN.places("a.tif", other)
    part = Labels(other.numbers[:1], other.names, other.values)
    np.testing.assert_array_equal(KNOWN.places("a.tif", part), [0, 1, -1, -1])


def test_255_is_doubted_where_no_name_and_not_all_before_it_are_there() -> None:
    values = np.array([[1, 2, 0], [255, 2, 1]])
    for image, tags, doubted in (
        (values, {}, True),
        (values, {"CLASS_255": "snow"}, False),
        (np.minimum(values, 254), {}, False),
        (np.arange(256).reshape(16, 16), {}, False),
    ):
        one = raster(image, tags=tags)
        assert ["gdal_edit.py -a_nodata 255" in text for text in Labels.of(one).doubts(one)] == [True] * doubted
