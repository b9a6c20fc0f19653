"""Full-reference metrics, accumulated window by window so that memory does not grow with the scene.

Definitions: PSNR as the mean over bands with the reference's maximum as peak; SSIM of Wang et al. 2004
(doi 10.1109/TIP.2003.819861; Gaussian window of sigma 1.5, radius 5); SAM of Kruse et al. 1993
(doi 10.1016/0034-4257(93)90013-N) in degrees; ERGAS of Wald 2002, 100/s * sqrt(mean (RMSE_b / mean_b)^2);
UIQI of Wang & Bovik 2002 (doi 10.1109/97.995823) on blocks of 32 x 32 pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation, correlate1d

from hsgeo.scene.window import Window

SSIM_RADIUS, UIQI_BLOCK, WINDOW = 5, 32, 256

_TAPS = np.exp(-0.5 * (np.arange(-SSIM_RADIUS, SSIM_RADIUS + 1) / 1.5) ** 2)
_TAPS /= _TAPS.sum()


def windows(height: int, width: int, size: int = WINDOW) -> Iterator[Window]:
    """Windows of at most `size` x `size` pixels that cover a raster once, `size` a multiple of 32."""
    for y0 in range(0, height, size):
        for x0 in range(0, width, size):
            yield Window(y0, min(y0 + size, height), x0, min(x0 + size, width))


def spectral_angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle in degrees between the spectra of two arrays (bands, ...); 0 where either is all zero."""
    product = np.einsum("b...,b...->...", a, b, dtype=np.float64)
    norms = np.sqrt(
        np.einsum("b...,b...->...", a, a, dtype=np.float64) * np.einsum("b...,b...->...", b, b, dtype=float)
    )
    cosine = np.divide(product, norms, out=np.ones_like(product), where=norms > 0)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def uiqi_blocks(a: np.ndarray, b: np.ndarray, valid: np.ndarray, block: int = UIQI_BLOCK) -> tuple[np.ndarray, int]:
    """Sum over blocks of the universal image quality index of each band, and the number of blocks.

    Parameters
    ----------
    a, b : array (bands, H, W)
    valid : bool array (H, W)
        Blocks with fewer than half of their pixels valid are left out.
    """
    count, height, width = a.shape
    total, blocks = np.zeros(count), 0
    for y0 in range(0, height, block):
        for x0 in range(0, width, block):
            cut = np.s_[y0 : y0 + block, x0 : x0 + block]
            ok = valid[cut]
            if ok.sum() < max(2, ok.size // 2):
                continue
            p, q = (v[(slice(None), *cut)][:, ok].astype(np.float64) for v in (a, b))
            mp, mq = p.mean(1), q.mean(1)
            vp, vq = p.var(1), q.var(1)
            cov = ((p - mp[:, None]) * (q - mq[:, None])).mean(1)
            low = (vp + vq) * (mp**2 + mq**2)
            total += np.divide(4 * cov * mp * mq, low, out=np.ones(count), where=low > 0)
            blocks += 1
    return total, blocks


def _smooth(image: np.ndarray) -> np.ndarray:
    return correlate1d(correlate1d(image, _TAPS, axis=-1, mode="reflect"), _TAPS, axis=-2, mode="reflect")


def ssim_map(a: np.ndarray, b: np.ndarray, peak: float) -> np.ndarray:
    """Structural similarity of each pixel of two arrays (bands, H, W) whose dynamic range is `peak`."""
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    ma, mb = _smooth(a), _smooth(b)
    va, vb, cov = _smooth(a * a) - ma**2, _smooth(b * b) - mb**2, _smooth(a * b) - ma * mb
    return (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))


@dataclass
class ReferenceMetrics:
    """Streamed comparison of a result with a reference of the same grid and bands.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the whole raster in pixels: SSIM leaves out the border, as scikit-image does.
    peak : float
        Maximum of the reference, needed for SSIM before the last window has been seen.
    """

    shape: tuple[int, int]
    peak: float
    count: int = 0
    _sse: np.ndarray | float = 0.0
    _sum: np.ndarray | float = 0.0
    _angle: float = 0.0
    _ssim: np.ndarray | float = 0.0
    _ssim_count: int = 0
    _uiqi: np.ndarray | float = 0.0
    _uiqi_count: int = 0

    def update(self, result: np.ndarray, reference: np.ndarray, core: Window, outer: Window) -> None:
        """Add the window `core`; the arrays (bands, H, W) cover `outer`, which is `core` grown by up to 5 pixels."""
        inner = (slice(None), *core.within(outer).slices)
        valid_outer = np.isfinite(result).all(0) & np.isfinite(reference).all(0)
        valid = valid_outer[inner[1:]]
        a, b = result[inner][:, valid], reference[inner][:, valid]
        if a.shape[1]:
            difference = a.astype(np.float64) - b
            self.count += a.shape[1]
            self._sse = self._sse + (difference**2).sum(1)
            self._sum = self._sum + b.sum(1, dtype=np.float64)
            self._angle += float(spectral_angle(a, b).sum())
            quality, blocks = uiqi_blocks(result[inner], reference[inner], valid)
            self._uiqi, self._uiqi_count = self._uiqi + quality, self._uiqi_count + blocks
        self._add_ssim(result, reference, valid_outer, core, outer)

    def _add_ssim(self, a: np.ndarray, b: np.ndarray, valid: np.ndarray, core: Window, outer: Window) -> None:
        height, width = self.shape
        ok = ~binary_dilation(~valid, np.ones((2 * SSIM_RADIUS + 1,) * 2, bool)) if not valid.all() else valid.copy()
        rows, columns = np.arange(outer.y0, outer.y1), np.arange(outer.x0, outer.x1)
        ok &= ((rows >= max(core.y0, SSIM_RADIUS)) & (rows < min(core.y1, height - SSIM_RADIUS)))[:, None]
        ok &= ((columns >= max(core.x0, SSIM_RADIUS)) & (columns < min(core.x1, width - SSIM_RADIUS)))[None]
        if ok.any():
            clean = [np.where(valid, v, 0).astype(np.float64) for v in (a, b)]
            total = [float(ssim_map(p[None], q[None], self.peak)[0][ok].sum()) for p, q in zip(*clean, strict=True)]
            self._ssim, self._ssim_count = self._ssim + np.array(total), self._ssim_count + int(ok.sum())

    def summary(self, ratio: float | None) -> dict[str, float | None]:
        """The metrics; ERGAS is None without the GSD ratio, SSIM where the raster is smaller than its window."""
        if not self.count:
            return dict.fromkeys(("psnr", "ssim", "sam", "ergas", "uiqi", "rmse"))
        mse, mean = np.asarray(self._sse) / self.count, np.asarray(self._sum) / self.count
        with np.errstate(divide="ignore"):
            psnr = float(np.mean(10 * np.log10(self.peak**2 / mse)))
        seen = mean != 0
        ergas = None if ratio is None else float(100 / ratio * np.sqrt(np.mean(mse[seen] / mean[seen] ** 2)))
        return {
            "psnr": psnr if np.isfinite(psnr) else None,
            "ssim": float(np.mean(np.asarray(self._ssim) / self._ssim_count)) if self._ssim_count else None,
            "sam": self._angle / self.count,
            "ergas": ergas,
            "uiqi": float(np.mean(np.asarray(self._uiqi) / self._uiqi_count)) if self._uiqi_count else None,
            "rmse": float(np.sqrt(mse.mean())),
        }

    def band_rmse(self) -> np.ndarray:
        """RMSE of each band."""
        return np.sqrt(np.asarray(self._sse) / max(self.count, 1))
