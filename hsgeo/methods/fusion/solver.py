"""The posterior mean of a Gaussian field seen by several blurring, decimating sensors: exact, by FFT.

The unknown d (p, H, W) is periodic and Gaussian, N(0, Sigma x phi(f)). Sensor j sees
``y_j = C_j (d blurred by psf_j, every r_j-th pixel) + unit noise``. With V V' = Sigma and V'C_1'C_1 V = diag(m) for
the sensor on the fine grid itself (r = 1), prior and that sensor are diagonal per frequency in b = V^-1 d:
``lambda_q(f) = 1 / (m_q |G_1|^2 + 1 / (v phi))`` at level v (multiples of the prior's variance). The others couple
the aliases of one frequency of the grid common to all of them (period: least common multiple of the ratios), a small
solve each (Woodbury). With one such sensor this is the case of Wei, Dobigeon & Tourneret 2015 (FUSE,
doi:10.1109/TIP.2015.2458572) with a prior that varies over frequency.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import eigh

Spectrum = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Sensor:
    """One sensor of the field: `matrix` C (n, p) in units of its noise, `psf` onto its grid (None: no blur)."""

    ratio: int
    matrix: np.ndarray
    psf: Any = None

    def transfer(self, n: int, axis: int) -> np.ndarray:
        """Blur over the n DFT frequencies of an axis, sampled at block centres."""
        if self.psf is None and self.ratio == 1:
            return np.ones(n, complex)
        return self.psf.transfer(n, self.ratio, axis)


class ClosedForm:
    """Everything about a shape, the sensors and the prior that does not depend on the data.

    Parameters
    ----------
    shape : (int, int)
        Of the field, multiples of every ratio's least common multiple.
    sensors : sequence of Sensor
        At most one with ratio 1.
    covariance : array (p, p)
        Sigma, positive definite.
    spectrum : callable
        phi of (fy, fx) in cycles per pixel, mean 1 over the plane or any other scale.
    levels : sequence of float
        Multiples of the prior's variance that can be asked for.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        sensors: Sequence[Sensor],
        covariance: np.ndarray,
        spectrum: Spectrum,
        levels: Sequence[float] = (1.0,),
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.shape, self.sensors, self.levels = shape, tuple(sensors), tuple(levels)
        self.device, self.dtype = torch.device(device), dtype
        self.complex = torch.complex64 if dtype == torch.float32 else torch.complex128
        self.period = math.lcm(*(s.ratio for s in sensors))
        height, width = shape
        self.half = width // 2 + 1
        fine = [s for s in sensors if s.ratio == 1]
        gram = sum((s.matrix.T @ s.matrix for s in fine), np.zeros_like(covariance))
        m, v = eigh(gram, np.linalg.inv(covariance))
        self.basis = self._tensor(v)
        self._m = np.maximum(m, 0)
        fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        self._phi = spectrum(fy, fx)
        self._seen = np.ones((height, self.half))
        for s in fine:
            self._seen = np.abs(np.outer(s.transfer(height, 0), s.transfer(width, 1)[: self.half])) ** 2
        self.coarse = [j for j, s in enumerate(sensors) if s.ratio > 1]
        self._g = [(s.transfer(height, 0), s.transfer(width, 1)) for s in sensors]
        self._gains = [self._gain(j) for j in range(len(sensors))]
        self._mixed = [self._tensor(s.matrix @ v) for s in sensors]
        self._cache: dict[float, tuple[torch.Tensor, torch.Tensor]] = {}

    # ------------------------------------------------------------------------------------------- between the domains

    def rhs(self, data: Sequence[torch.Tensor]) -> torch.Tensor:
        """V' sum_j C_j' (adjoint of blur and decimation) y_j, half spectrum (p, H, W // 2 + 1)."""
        total: Any = 0.0
        for j, (sensor, y) in enumerate(zip(self.sensors, data, strict=True)):
            spectrum = torch.fft.rfft2(mix(self._mixed[j].T, y))
            if sensor.ratio > 1:
                spectrum = self._spread(self._full(spectrum, y.shape[-1]), j)
            else:
                gy, gx = self._gains[j]
                spectrum = spectrum if sensor.psf is None else spectrum * (gy * gx).conj()
            total = total + spectrum
        return total

    def field(self, b: torch.Tensor) -> torch.Tensor:
        """The field in space, in the coordinates b (p, H, W)."""
        return torch.fft.irfft2(b, s=self.shape)

    def predict(self, b: torch.Tensor, j: int) -> torch.Tensor:
        """What sensor j would see of the field with half spectrum b: (n_j, H / r_j, W / r_j)."""
        sensor = self.sensors[j]
        if sensor.ratio == 1:
            gy, gx = self._gains[j]
            seen = self.field(b if sensor.psf is None else b * (gy * gx))
        else:
            seen = torch.fft.ifft2(self._fold(b, j)).real
        return mix(self._mixed[j], seen)

    def solve(self, rhs: torch.Tensor, level: float = 1.0) -> torch.Tensor:
        """Posterior mean b for the right-hand side of `rhs`, half spectrum (p, H, W // 2 + 1)."""
        lam, inverse = self._at(level)
        z = lam * rhs
        if not self.coarse:
            return z
        stacked = [self._stack(mix(self._mixed[j], self._fold(z, j)), j) for j in self.coarse]
        seen = torch.cat(stacked, -1)
        if inverse.is_complex():
            c = torch.einsum("...nm,...m->...n", inverse, seen)
        else:
            c = torch.view_as_complex((inverse @ torch.view_as_real(seen)).contiguous())
        start = 0
        for j, part in zip(self.coarse, stacked, strict=True):
            own = self._unstack(c[..., start : start + part.shape[-1]], j)
            z = z - lam * self._spread(mix(self._mixed[j].T, own), j)
            start += part.shape[-1]
        return z

    # -------------------------------------------------------------------------------------- folding of the spectrum

    def _fold(self, b: torch.Tensor, j: int) -> torch.Tensor:
        """Blur and decimation: half spectrum (p, H, half) -> full spectrum of the coarse grid (p, h, w)."""
        r = self.sensors[j].ratio
        gy, gx = self._gains[j]
        h = self.shape[0] // r
        rows = (b.view(b.shape[0], r, h, -1) * gy.view(r, h, 1)).sum(1) * gx
        full = self._full(rows, self.shape[1])
        return full.view(b.shape[0], h, r, -1).sum(2) / r**2

    def _spread(self, c: torch.Tensor, j: int) -> torch.Tensor:
        """Adjoint of `_fold` in space: full coarse spectrum (p, h, w) -> half spectrum (p, H, half)."""
        r = self.sensors[j].ratio
        gy, gx = self._gains[j]
        columns = torch.arange(self.half, device=self.device) % c.shape[-1]
        wide = c[:, :, columns] * gx.conj()
        return (wide[:, None] * gy.conj().view(1, r, -1, 1)).view(c.shape[0], self.shape[0], self.half)

    def _full(self, half: torch.Tensor, width: int) -> torch.Tensor:
        """The other half of a spectrum of a real field."""
        tail = half[..., 1 : (width + 1) // 2].flip(-1, -2).roll(1, -2).conj()
        return torch.cat([half, tail], -1)

    def _stack(self, full: torch.Tensor, j: int) -> torch.Tensor:
        """(n, h, w) -> the aliases of each frequency of the common grid, (h0, w0 // 2 + 1, n * q * q)."""
        q = self.period // self.sensors[j].ratio
        n, h, w = full.shape
        parts = full.view(n, q, h // q, q, w // q)[..., : w // q // 2 + 1]
        return parts.permute(2, 4, 0, 1, 3).reshape(h // q, w // q // 2 + 1, -1)

    def _unstack(self, stacked: torch.Tensor, j: int) -> torch.Tensor:
        """Inverse of `_stack` for the spectrum of a real field."""
        r = self.sensors[j].ratio
        q = self.period // r
        h, w = self.shape[0] // r, self.shape[1] // r
        h0, w0 = h // q, w // q
        parts = stacked.view(h0, w0 // 2 + 1, -1, q, q).permute(2, 3, 0, 4, 1).reshape(-1, h, q, w0 // 2 + 1)
        tail = parts[..., 1 : (w0 + 1) // 2].flip(-1, -2, -3).roll(1, -3).conj()
        return torch.cat([parts, tail], -1).reshape(-1, h, w)

    # --------------------------------------------------------------------------------------------- precomputation

    def _at(self, level: float) -> tuple[torch.Tensor, torch.Tensor]:
        """(lambda (p, H, half), inverse of the coupled systems) at a level."""
        if level not in self._cache:
            lam = 1 / (self._m[:, None, None] * self._seen + 1 / (level * self._phi))
            inverse = self._tensor(np.linalg.inv(self._coupling(lam))) if self.coarse else self._tensor(np.zeros(1))
            self._cache[level] = self._tensor(lam), inverse
        return self._cache[level]

    def _coupling(self, lam: np.ndarray) -> np.ndarray:
        """I + sum over aliases of G C V lambda V' C' G* / r^2 per frequency of the common grid, (h0, w0//2+1, n, n)."""
        height, width = self.shape
        h0, w0 = height // self.period, width // self.period
        half0 = w0 // 2 + 1
        spans, size = [], 0
        for j in self.coarse:
            q = self.period // self.sensors[j].ratio
            spans.append((j, q, size))
            size += len(self._mixed[j]) * q * q
        single = len(self.coarse) == 1
        out = np.zeros((h0, half0, size, size), float if single else complex)
        out[..., range(size), range(size)] = 1.0
        wide = np.concatenate([lam, _mirrored(lam, width)], -1)
        for ay in range(self.period):
            for ax in range(self.period):
                rows, columns = slice(ay * h0, ay * h0 + h0), slice(ax * w0, ax * w0 + half0)
                own = wide[:, rows, columns]
                for j, q, start in spans:
                    left = np.arange(len(self._mixed[j])) * q * q + (ay % q) * q + ax % q + start
                    for k, qk, start_k in spans:
                        right = np.arange(len(self._mixed[k])) * qk * qk + (ay % qk) * qk + ax % qk + start_k
                        gain = self._alias(j, rows, columns) * self._alias(k, rows, columns).conj()
                        block = np.einsum("hw,nq,qhw,mq->hwnm", gain, self._v(j), own, self._v(k), optimize=True)
                        block /= self.sensors[j].ratio ** 2
                        out[:, :, left[:, None], right[None, :]] += block.real if single else block
        return out

    def _v(self, j: int) -> np.ndarray:
        return self._mixed[j].double().cpu().numpy()

    def _alias(self, j: int, rows: slice, columns: slice) -> np.ndarray:
        gy, gx = self._g[j]
        return np.outer(gy[rows], gx[columns])

    def _gain(self, j: int) -> tuple[torch.Tensor, torch.Tensor]:
        gy, gx = self._g[j]
        return self._tensor(gy[:, None]), self._tensor(gx[None, : self.half])

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        dtype = self.complex if np.iscomplexobj(values) else self.dtype
        return torch.as_tensor(values, dtype=dtype, device=self.device)


def _mirrored(half: np.ndarray, width: int) -> np.ndarray:
    """The other half of a real, even spectrum."""
    return np.roll(half[..., 1 : (width + 1) // 2][..., ::-1, ::-1], 1, -2)


def mix(matrix: torch.Tensor, field: torch.Tensor) -> torch.Tensor:
    """A real matrix (n, p) over the first axis of a real or complex field (p, H, W)."""
    if field.is_complex():
        parts = torch.view_as_real(field)
        return torch.view_as_complex((matrix @ parts.reshape(len(parts), -1)).view(-1, *parts.shape[1:]))
    return (matrix @ field.reshape(len(field), -1)).view(-1, *field.shape[1:])
