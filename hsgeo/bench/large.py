"""A pair of any size, written block row by block row: what the engine is measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

GAUSS_NM = ((490, 65), (560, 35), (665, 30), (842, 115), (1610, 90), (2190, 180))
MATERIALS = 7


def write_large_pair(folder: Path, rows: int, columns: int, bands: int, ratio: int, seed: int = 0) -> tuple[Path, Path]:
    """Write ``hsi.tif`` (rows/ratio x columns/ratio x bands, int16) and ``msi.tif`` (rows x columns, uint16).

    Seven materials mixed by smooth fields and sharp-edged parcels, noise in both; the HSI's pixel is the mean of its
    block. Memory stays at one block row.
    """
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    from hsgeo.simulation.materials import material_library
    from hsgeo.simulation.spectra import GRID

    nm = np.linspace(420, 2450, bands)
    chosen = material_library()[:: max(1, len(material_library()) // MATERIALS)][:MATERIALS]
    spectra = np.stack([np.interp(nm, GRID, m.spectrum) for m in chosen], 1) * 10000
    weights = np.stack([np.exp(-4 * np.log(2) * ((nm - centre) / width) ** 2) for centre, width in GAUSS_NM])
    seen = (weights / weights.sum(1, keepdims=True)) @ spectra
    rng = np.random.default_rng(seed)
    height, width = rows // ratio, columns // ratio
    common = {"driver": "GTiff", "crs": "EPSG:32633", "tiled": True, "blockxsize": 256, "blockysize": 256}
    common |= {"interleave": "band", "compress": "zstd", "predictor": 2, "zstd_level": 1, "num_threads": "ALL_CPUS"}
    paths = folder / "hsi.tif", folder / "msi.tif"
    shapes = (bands, height, width, "int16", 10 * ratio), (len(GAUSS_NM), height * ratio, width * ratio, "uint16", 10)
    opened = []
    for path, (count, h, w, dtype, gsd) in zip(paths, shapes, strict=True):
        grid = {"count": count, "height": h, "width": w, "dtype": dtype, "transform": from_origin(5e5, 5.8e6, gsd, gsd)}
        opened.append(
            rasterio.open(path, "w", nodata=-32768 if dtype == "int16" else 0, bigtiff="if_safer", **grid, **common)
        )
    hsi, msi = opened
    tables = (hsi, nm, np.gradient(nm)), (msi, [c for c, _ in GAUSS_NM], [w for _, w in GAUSS_NM])
    for target, centres, widths in tables:
        for b, (centre, wide) in enumerate(zip(centres, widths, strict=True), 1):
            target.update_tags(b, wavelength=f"{centre:.2f}", wavelength_units="Nanometers", fwhm=f"{wide:.2f}")
    for y0 in range(0, height, 256):
        y1 = min(y0 + 256, height)
        fine = _abundances(y0 * ratio, y1 * ratio, width * ratio)
        image = np.tensordot(seen, fine, 1) + 12 * rng.standard_normal(
            (len(GAUSS_NM), *fine.shape[1:]), dtype=np.float32
        )
        at = Window(0, y0 * ratio, width * ratio, (y1 - y0) * ratio)
        msi.write(np.clip(np.rint(image), 1, 65535).astype(np.uint16), window=at)
        coarse = fine.reshape(len(fine), y1 - y0, ratio, width, ratio).mean((2, 4))
        for b0 in range(0, bands, 32):
            part = np.tensordot(spectra[b0 : b0 + 32].astype(np.float32), coarse, 1)
            part += 20 * rng.standard_normal(part.shape, dtype=np.float32)
            which = list(range(b0 + 1, min(b0 + 32, bands) + 1))
            at = Window(0, y0, width, y1 - y0)
            hsi.write(np.rint(part).astype(np.int16), which, window=at)
    for target in opened:
        target.close()
    return paths


def _abundances(y0: int, y1: int, width: int) -> np.ndarray:
    """(MATERIALS, y1 - y0, width) float32, a function of the pixel's place alone."""
    y, x = np.arange(y0, y1, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    u, v = (0.8 * x + 0.6 * y), (0.8 * y - 0.6 * x)
    parcel = (np.floor(u / 37) * 7 + np.floor(v / 23) * 13 + np.floor((u + v) / 71) * 5).astype(np.int32)
    fields = [
        1.6 * np.sin(x / (29 + 11 * k) + k) * np.cos(y / (31 + 7 * k) - 2 * k) + 2.2 * (parcel % MATERIALS == k)
        for k in range(MATERIALS)
    ]
    stack = np.exp(1.5 * np.stack(fields).astype(np.float32))
    return stack / stack.sum(0)
