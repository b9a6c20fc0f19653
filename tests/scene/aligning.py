"""Scenes for the tests of alignment: functions of the ground, painted onto any grid."""

from __future__ import annotations

import numpy as np
from affine import Affine
from odc.geo.geobox import GeoBox
from scipy import ndimage
from scipy.spatial import cKDTree

from hsgeo.scene import make_scene
from hsgeo.scene.matching import MARGIN
from hsgeo.scene.register import Sample

UTM = "EPSG:32633"
LEFT, TOP = 400000.0, 5800000.0


def north_up(height: int, width: int, gsd: float, left=LEFT, top=TOP, crs=UTM) -> GeoBox:
    return GeoBox((height, width), Affine(gsd, 0, left, 0, -gsd, top), crs)


def centres(box: GeoBox, crs=UTM) -> tuple[np.ndarray, np.ndarray]:
    """East and north of the pixel centres in `crs`."""
    rows, cols = np.mgrid[: box.shape[0], : box.shape[1]] + 0.5
    a = box.affine
    x, y = a.a * cols + a.b * rows + a.c, a.d * cols + a.e * rows + a.f
    return (x, y) if box.crs == crs else into(box, crs)(x, y)


def into(box: GeoBox, crs):
    """The function (x, y) -> (x, y) from the CRS of a grid to another."""
    assert box.crs is not None
    return box.crs.transformer_to_crs(crs)


def painted(box: GeoBox, bands=3, fn=None, **coords):
    """A scene whose band k is fn(east, north, k); by default waves some 200 m long."""

    def waves(east, north, k):
        return 0.4 + 0.2 * np.sin((east - LEFT) / (30 + 5 * k)) + 0.1 * np.cos((north - TOP) / (25 + 3 * k))

    east, north = centres(box)
    data = np.stack([(fn or waves)(east, north, k) for k in range(bands)]).astype(np.float32)
    return make_scene(data, box, **coords)


def hsi_and_msi(hsi_box: GeoBox, msi_box: GeoBox, bands=(12, 4)):
    """A pair with wavelengths from 450 to 850 nm."""
    hsi = painted(hsi_box, bands[0], wavelength=np.linspace(450, 850, bands[0]), fwhm=20.0).rename("hsi")
    msi = painted(msi_box, bands[1], wavelength=np.linspace(490, 800, bands[1]), fwhm=40.0).rename("msi")
    return hsi, msi


def shifted_sample(height, width, ratio, shift, *, seed=0, noise_db=(35.0, 40.0), holes=0, psf=1.0) -> Sample:
    """Both images of one patchwork of fields; the MSI shows it `shift` fine pixels further down and right."""
    rng = np.random.default_rng(seed)
    spare = MARGIN + 2
    shape = np.array([height + 2 * spare, width + 2 * spare]) * ratio
    seeds = rng.random((shape.prod() // 250 + 8, 2)) * shape
    rows, cols = np.mgrid[: shape[0], : shape[1]]
    fields = cKDTree(seeds).query(np.stack([rows, cols], axis=-1))[1]
    mixture = rng.dirichlet(np.full(5, 0.4), len(seeds))[fields]
    spectra = 0.1 + ndimage.gaussian_filter1d(rng.random((5, 30)), 3, axis=1)
    response = np.exp(-0.5 * ((np.arange(30) - np.linspace(4, 25, 4)[:, None]) / 2) ** 2)
    truth = np.moveaxis(mixture @ spectra, -1, 0)
    sharp = np.tensordot(response / response.sum(1, keepdims=True), truth, 1)
    start = spare * ratio + (ratio - 1) / 2
    blurred = [ndimage.gaussian_filter(band, psf * ratio / 2.355) for band in truth]
    hsi = np.stack([ndimage.affine_transform(b, [ratio, ratio], start, (height, width)) for b in blurred])
    inner = ((height + 2 * MARGIN) * ratio, (width + 2 * MARGIN) * ratio)
    offset = [(spare - MARGIN) * ratio - shift[0], (spare - MARGIN) * ratio - shift[1]]
    smooth = [ndimage.gaussian_filter(band, 0.6) for band in sharp]
    msi = np.stack([ndimage.affine_transform(b, [1, 1], offset, inner) for b in smooth])
    out = []
    for image, level, size in ((hsi, noise_db[0], 1), (msi, noise_db[1], ratio)):
        image = image + rng.standard_normal(image.shape) * image.std() * 10 ** (-level / 20)
        for y, x in (rng.random((holes, 2)) * image.shape[1:]).astype(int):
            image[:, y : y + 4 * size, x : x + 3 * size] = np.nan
        out.append(image.astype(np.float32))
    return Sample(*out)
