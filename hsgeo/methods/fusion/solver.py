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
from copy import copy
from dataclasses import dataclass
from itertools import product
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


@dataclass(frozen=True)
class Evidence:
    """Data in the frequency domain: what is diagonal there (p, H, W // 2 + 1), and the coarser sensors' spectra."""

    fine: torch.Tensor
    coarse: dict[int, torch.Tensor]


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
    """

    def __init__(
        self,
        shape: tuple[int, int],
        sensors: Sequence[Sensor],
        covariance: np.ndarray,
        spectrum: Spectrum,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.shape, self.sensors = shape, tuple(sensors)
        self.device, self.dtype = torch.device(device), dtype
        self.complex = torch.complex64 if dtype == torch.float32 else torch.complex128
        self.period = math.lcm(*(s.ratio for s in sensors))
        height, width = shape
        self.half = width // 2 + 1
        fine = [s for s in sensors if s.ratio == 1]
        gram = sum((s.matrix.T @ s.matrix for s in fine), np.zeros_like(covariance))
        m, v = eigh(gram, np.linalg.inv(covariance))
        self.basis = self.tensor(v)
        self._m = np.maximum(m, 0)
        fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        self._phi = spectrum(fy, fx)
        self._seen = np.ones((height, self.half))
        for s in fine:
            self._seen = np.abs(np.outer(s.transfer(height, 0), s.transfer(width, 1)[: self.half])) ** 2
        self._coarse = [j for j, s in enumerate(sensors) if s.ratio > 1]
        self._g = [(s.transfer(height, 0), s.transfer(width, 1)) for s in sensors]
        self._gains = [self._gain(j) for j in range(len(sensors))]
        self._mixed = [self.tensor(s.matrix @ v) for s in sensors]
        self._cache: dict[tuple[float, bool], tuple[torch.Tensor, torch.Tensor]] = {}
        self._whole: ClosedForm | None = None
        self._kept = torch.ones(0, dtype=torch.bool)

    # ------------------------------------------------------------------------------------------- between the domains

    def take(self, data: Sequence[torch.Tensor], alone: bool = False) -> Evidence:
        """The data (n_j, H / r_j, W / r_j) of all sensors, ready to be solved for.

        With `alone`, for a solution whose prior and only sensor but the last are the adjoint of the others' data:
        the preconditioner of gaps.
        """
        fine = torch.zeros(len(self._m), self.shape[0], self.half, dtype=self.complex, device=self.device)
        coarse = {}
        for j, (sensor, y) in enumerate(zip(self.sensors, data, strict=True)):
            spectrum = torch.fft.rfft2(y)
            gy, gx = self._gains[j]
            if sensor.ratio == 1:
                spectrum = mix(self._mixed[j].T, spectrum)
                fine += spectrum if sensor.psf is None else spectrum * (gy * gx).conj()
                continue
            full = self._full(spectrum, y.shape[-1])
            if j in self._coupled(alone):
                coarse[j] = full
            else:
                fine += self._spread(mix(self._mixed[j].T, full), j)
        return Evidence(fine, coarse)

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

    def solve(self, evidence: Evidence, level: float = 1.0, alone: bool = False, keep: bool = True) -> torch.Tensor:
        """Posterior mean b, half spectrum (p, H, W // 2 + 1); with `alone`, as if the last sensor were the only one.

        What a level needs is computed once, unless it is not to be kept.

        First the mean given the sensor on the fine grid, then what the others see beyond it: no large terms cancel,
        so that float32 serves.
        """
        lam, inverse = self._at(level, alone) if keep else self._systems(level, alone)
        b = lam * evidence.fine
        coupled = self._coupled(alone)
        if not coupled:
            return b
        stacked = []
        for j in coupled:
            expected = mix(self._mixed[j], self._fold(b, j))
            beyond = evidence.coarse[j] - expected if j in evidence.coarse else -expected
            stacked.append(self._stack(beyond, j))
        seen = torch.cat(stacked, -1) if len(stacked) > 1 else stacked[0]
        if inverse.is_complex():
            c = torch.einsum("...nm,...m->...n", inverse, seen)
        else:
            c = torch.view_as_complex((inverse @ torch.view_as_real(seen)).contiguous())
        start = 0
        for j, part in zip(coupled, stacked, strict=True):
            own = self._unstack(c[..., start : start + part.shape[-1]], j)
            b += self._spread(mix(self._mixed[j].T, own), j).mul_(lam)
            start += part.shape[-1]
        return b

    def narrowed(self) -> ClosedForm:
        """The same solver for those components of b alone that any sensor but the last sees.

        What those sensors would see of the field needs no other component, and they are as few as the MSI has bands.
        """
        seen = torch.cat([m.abs() for m in self._mixed[:-1]])
        kept = (seen > 1e-6 * seen.amax(1, keepdim=True)).any(0)
        if bool(kept.all()):
            return self
        view = copy(self)
        view.basis, view._m = self.basis[:, kept], self._m[kept.cpu().numpy()]
        view._mixed = [m[:, kept].contiguous() for m in self._mixed]
        view._whole, view._kept, view._cache = self, kept, {}
        return view

    def _coupled(self, alone: bool) -> list[int]:
        """The sensors that are solved for together, given the one on the fine grid."""
        return self._coarse[-1:] if alone else self._coarse

    # -------------------------------------------------------------------------------------- folding of the spectrum

    def _fold(self, b: torch.Tensor, j: int) -> torch.Tensor:
        """Blur and decimation: half spectrum (p, H, half) -> full spectrum of the coarse grid (p, h, w)."""
        r = self.sensors[j].ratio
        gy, gx = self._gains[j]
        h = self.shape[0] // r
        aliases, weight = b.view(b.shape[0], r, h, -1), gy.view(r, h, 1)
        rows = aliases[:, 0] * weight[0]
        for k in range(1, r):
            rows.addcmul_(aliases[:, k], weight[k])
        full = self._full(rows.mul_(gx), self.shape[1])
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

    def _at(self, level: float, alone: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """(lambda (p, H, half), inverse of the coupled systems) at a level."""
        key = level, alone
        if key not in self._cache:
            self._cache[key] = self._systems(level, alone)
        return self._cache[key]

    def _systems(self, level: float, alone: bool) -> tuple[torch.Tensor, torch.Tensor]:
        if self._whole is not None:
            variance, systems = self._whole._at(level, alone)
            return variance[self._kept], systems
        m = 0 * self._m if alone else self._m
        lam = 1 / (m[:, None, None] * self._seen + 1 / (level * self._phi))
        coupled = self._coupled(alone)
        solved = np.linalg.inv(self._coupling(lam, coupled)) if coupled else np.zeros(1)
        return self.tensor(lam), self.tensor(solved)

    def _coupling(self, lam: np.ndarray, coarse: Sequence[int]) -> np.ndarray:
        """I + sum over aliases of G C V lambda V' C' G* / r^2 per frequency of the common grid, (h0, w0//2+1, n, n)."""
        height, width = self.shape
        h0, w0 = height // self.period, width // self.period
        half0, single = w0 // 2 + 1, len(coarse) == 1
        wide = np.concatenate([lam, _mirrored(lam, width)], -1)
        sums: dict[tuple[int, int, int, int], np.ndarray] = {}
        for ay in range(self.period):
            for ax in range(self.period):
                area = slice(ay * h0, ay * h0 + h0), slice(ax * w0, ax * w0 + half0)
                for j, k in product(coarse, repeat=2):
                    gain = self._alias(j, *area) * self._alias(k, *area).conj() / self.sensors[j].ratio ** 2
                    key = j, k, self._slot(j, ay, ax), self._slot(k, ay, ax)
                    sums[key] = sums.get(key, 0.0) + (gain.real if single else gain) * wide[:, *area]
        starts = np.cumsum([0, *(len(self._mixed[j]) * self._slots(j) for j in coarse)])
        first = dict(zip(coarse, starts[:-1], strict=True))
        out = np.zeros((h0, half0, starts[-1], starts[-1]), float if single else complex)
        out[..., range(starts[-1]), range(starts[-1])] = 1.0
        for (j, k, own, other), gain in sums.items():
            vj, vk = (self._mixed[i].double().cpu().numpy() for i in (j, k))
            rows = first[j] + np.arange(len(vj)) * self._slots(j) + own
            columns = first[k] + np.arange(len(vk)) * self._slots(k) + other
            out[:, :, rows[:, None], columns[None, :]] += (vj * gain.transpose(1, 2, 0)[:, :, None]) @ vk.T
        return out

    def _slots(self, j: int) -> int:
        """Frequencies of sensor j that belong to one of the common grid."""
        return (self.period // self.sensors[j].ratio) ** 2

    def _slot(self, j: int, ay: int, ax: int) -> int:
        """Which of them the fine alias (ay, ax) folds onto."""
        q = self.period // self.sensors[j].ratio
        return (ay % q) * q + ax % q

    def _alias(self, j: int, rows: slice, columns: slice) -> np.ndarray:
        gy, gx = self._g[j]
        return np.outer(gy[rows], gx[columns])

    def _gain(self, j: int) -> tuple[torch.Tensor, torch.Tensor]:
        gy, gx = self._g[j]
        return self.tensor(gy[:, None]), self.tensor(gx[None, : self.half])

    def tensor(self, values: np.ndarray) -> torch.Tensor:
        """On the solver's device, in its precision."""
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
