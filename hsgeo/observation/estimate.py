"""What ties the two images of a pair together, estimated from the images: response, PSF, gain, offset, noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import sqrt

import numpy as np

from hsgeo.errors import BandError, DataError, ParameterError
from hsgeo.sensors import mean_mtf

from .coarse import Group, PatchLike, Samples
from .fine_noise import noise_levels
from .msi_noise import detail_noise
from .noise import SpectralStatistics, signal_edge
from .psf import Psf, psf_from_mtf
from .psf_fit import Agreement, PsfFit, fit_psf
from .response_fit import ResponseProblem
from .srf import BandLike, origin_of, response_matrix

#: FWHM of the HSI's PSF in coarse pixels where nothing is known
_FWHM = 1.1

#: MTF at Nyquist of MSI bands where nothing is known
_GROUP_MTF = 0.3

#: what the HSI cannot explain of the MSI on the coarse grid is larger by this factor on the fine one, where errors of
#: registration and blur weigh more
_FINER = 2.0

#: noise of a usual MSI, relative to a band's root mean square: an SNR of 100, which Sentinel-2 requires of its SWIR
#: bands and exceeds in most others (ESA, Sentinel-2 mission requirements, SNR at the reference radiance)
_USUAL = 0.01

#: coarse pixels that the PSF is sought on, and fewer than which it is not sought
_SEARCH, _FEW = 12000, 30

#: a known response is given a gain and an offset when they lower the residual variance by this factor
_GAINS = 1.5


@dataclass(frozen=True)
class Observation:
    """The linear observation of a pair: X = R Z + offset + noise, Y = Z D + noise, in the HSI's radiometry.

    Bands of the MSI are in its own order. A band that no group holds has a response of zeros and infinite noise.

    Attributes
    ----------
    response : array (b, B)
        R. Rows are >= 0 where they were estimated; they sum to the gain.
    offset : array (b,)
        In units of the MSI.
    psf : Psf
        From the fine grid to the HSI's, in fine pixels.
    group_psfs : tuple of Psf or None
        From the fine grid to each group of MSI bands, in fine pixels; None for a group on the fine grid itself.
    noise_hsi : array (B,)
        Standard deviation of the noise of each HSI band.
    noise_msi : array (b,)
        Standard deviation of what the model X = R Z + offset leaves on the fine grid: the sensor's noise and the
        error of the model itself (registration, blur, a response that no sum of HSI bands gives).
    gain : array (b,)
        Sum of each row of R: 1 where both images have the same radiometry.
    sources : dict
        Where each part comes from, in words.
    residuals : array (b,)
        Root mean square of what the HSI leaves of each MSI band on the coarse grid, relative to the band's.
    sensor_noise : array (b,)
        The part of `noise_msi` that is noise of the MSI's pixels.
    """

    response: np.ndarray
    offset: np.ndarray
    psf: Psf
    group_psfs: tuple[Psf | None, ...]
    noise_hsi: np.ndarray
    noise_msi: np.ndarray
    gain: np.ndarray
    sources: dict[str, str] = field(default_factory=dict)
    residuals: np.ndarray = field(default_factory=lambda: np.empty(0))
    sensor_noise: np.ndarray = field(default_factory=lambda: np.empty(0))


def estimate_observation(
    patches: Sequence[PatchLike],
    ratio: int,
    group_ratios: Sequence[int],
    *,
    wavelengths: np.ndarray | None = None,
    fwhm: np.ndarray | None = None,
    msi_bands: Sequence[BandLike] | None = None,
    hsi_mtf: float | None = None,
    given_response: np.ndarray | None = None,
    given_psf: Psf | None = None,
    basis: np.ndarray | None = None,
    group_bands: Sequence[Sequence[int]] | None = None,
    group_offsets: Sequence[tuple[float, float]] | None = None,
    shift: bool = False,
) -> Observation:
    """Estimate from sample patches whatever is not given.

    Parameters
    ----------
    patches : sequence
        Windows of both images: ``hsi`` (B, h, w) and ``msi``, one (b_k, h * s / r_k, w * s / r_k) per group, NaN
        where there is no data. Only coarse pixels whose PSF falls on data are used.
    ratio : int
        s, fine pixels per HSI pixel.
    group_ratios : sequence of int
        r_k, fine pixels per pixel of each group of MSI bands. s / r_k need not be whole.
    wavelengths, fwhm : array (B,), optional
        Of the HSI bands, in nm.
    msi_bands : sequence of b bands, optional
        Tables or centres and widths: responses are then sought near these, unless the images speak against it.
    hsi_mtf : float, optional
        Modulation transfer of the HSI at its Nyquist frequency: the expected PSF, which the images refine.
    given_response : array (b, B), optional
        Kept; a gain and an offset per band are added where the two radiometries plainly differ.
    given_psf : Psf, optional
        Kept.
    basis : array (B, p), optional
        Subspace of the HSI's spectra, strongest directions first; found from the patches otherwise.
    group_bands : sequence of sequences of int, optional
        Positions in the MSI of each group's bands; group after group otherwise. `msi_bands`, `given_response` and
        the result follow the MSI's own order.
    group_offsets : sequence of (dy, dx), optional
        Fine pixels by which each group's values lie off its pixels; they go into the PSFs of groups coarser than the
        fine grid.
    shift : bool
        Let the PSF's centre be shifted against the coarse pixel, by what the images say.

    Raises
    ------
    DataError
        The patches have no pixel that both images show.
    ParameterError
        Shapes do not fit.
    """
    positions = _positions(patches, group_bands, group_ratios)
    total = max(
        1 + max(i for group in positions for i in group),
        0 if msi_bands is None else len(msi_bands),
        0 if given_response is None else len(given_response),
    )
    statistics = _statistics(patches)
    noise_hsi = _hsi_noise(statistics, patches)
    basis = _basis(statistics, noise_hsi) if basis is None else np.asarray(basis, dtype=np.float64)
    coefficients, errors = _coefficients(patches, noise_hsi, basis)
    bands = len(basis)
    if given_response is not None and np.shape(given_response) != (total, bands):
        raise ParameterError(f"the response given is {np.shape(given_response)}, not {(total, bands)}.")
    table = _table(msi_bands, wavelengths, fwhm, total, bands)
    finest = _mean_mtf(msi_bands, [i for r, p in zip(group_ratios, positions, strict=True) if r == 1 for i in p])
    group_psfs = tuple(
        _group_psf(r, _mean_mtf(msi_bands, p), finest, offset)
        for r, p, offset in zip(group_ratios, positions, group_offsets or [(0.0, 0.0)] * len(positions), strict=True)
    )
    groups = [Group.of(patches, k, ratio, r, group_psfs[k]) for k, r in enumerate(group_ratios)]

    prior, expected = _expected_psf(ratio, hsi_mtf, finest)
    widest = given_psf or Psf(1.5 * prior.fwhm_y, 1.5 * prior.fwhm_x)
    samples = Samples(coefficients, groups, widest, enough=3 * basis.shape[1] + 50)
    if not any(samples.count(k) for k in range(len(groups))):
        raise DataError("no pixel has data of both images; check the nodata values and the overlap.")
    if given_psf is not None:
        psf, said = given_psf, "given"
    else:
        psf, said = _find_psf(samples, basis, prior, expected, given_response, positions, shift)

    out = _Parts(total, bands, [origin_of(band) for band in msi_bands or ()])
    places = np.arange(bands, dtype=float) if wavelengths is None else _filled(wavelengths)
    for k, group in enumerate(groups):
        _fit_group(out, k, group, samples, psf, positions[k], basis, errors, places, table, given_response)
    sources = {
        "psf": said,
        "noise_hsi": "estimated from the regression of each band on the others, finest structure apart",
        "noise_msi": "estimated from the finest calm detail and what the HSI leaves, the response's misfit included",
        **out.sources(given_response is not None),
    }
    return Observation(
        out.response,
        out.offset,
        psf,
        group_psfs,
        noise_hsi,
        out.noise,
        out.response.sum(1),
        sources,
        out.residuals,
        out.sensor,
    )


class _Parts:
    """Arrays that the groups fill in."""

    def __init__(self, total: int, bands: int, shapes: Sequence[str]) -> None:
        self.shapes = shapes
        self.response = np.zeros((total, bands))
        self.offset = np.zeros(total)
        self.noise, self.sensor = np.full(total, np.inf), np.full(total, np.inf)
        self.residuals = np.full(total, np.nan)
        self.origin: dict[int, str] = {}

    def sources(self, given: bool) -> dict[str, str]:
        worst = np.nanmax(self.residuals, initial=0.0)
        median = float(np.nanmedian(self.residuals)) if np.isfinite(self.residuals).any() else 0.0
        left = f"residual {median:.2%} (median), {worst:.2%} (worst band)"
        kinds = list(dict.fromkeys(self.origin.values()))
        parts = [k if len(kinds) == 1 else f"{k} ({list(self.origin.values()).count(k)} bands)" for k in kinds]
        gain = self.response.sum(1)[sorted(self.origin)]
        same = given and all(v == "given" for v in self.origin.values())
        return {
            "response": f"{'; '.join(parts)}, {left}",
            "gain": "1 (given response)" if same else f"estimated, {gain.min():.4g} to {gain.max():.4g}",
            "offset": "0 (given response)" if same else "estimated",
        }


def _fit_group(
    out: _Parts,
    k: int,
    group: Group,
    samples: Samples,
    psf: Psf,
    rows: Sequence[int],
    basis: np.ndarray,
    errors: np.ndarray,
    places: np.ndarray,
    table: np.ndarray | None,
    given: np.ndarray | None,
) -> None:
    """Response, offset and noise of one group's bands."""
    noise = detail_noise([np.where(m > 0, x, np.nan) for x, m in zip(group.values, group.known, strict=True)])
    out.noise[list(rows)] = out.sensor[list(rows)] = noise
    msi = samples.msi(k, psf)
    if samples.count(k) < 3:
        known = given if given is not None else table
        for row, band in zip(rows, msi, strict=True):
            if known is None or band.size == 0:
                out.noise[row] = np.inf
                continue
            seen = float((known[row] @ basis @ samples.coefficients[k]).mean())
            gain = 1.0 if known is given or seen == 0 else max(float(band.mean()) / seen, 0.0)
            out.response[row] = gain * known[row]
            out.origin[row] = "given" if known is given else f"from {out.shapes[row]}"
        return
    problem = ResponseProblem(samples.coefficients[k], basis, places)
    for row, band, sensor in zip(rows, msi, noise, strict=True):
        if given is None:
            fit = problem.fit(band) if table is None else problem.fit(band, table[row], out.shapes[row])
            response, offset, left, origin = fit.response, fit.offset, fit.variance, fit.origin
        else:
            response, offset, left, origin = _radiometry(problem, band, given[row])
        weights, square = response @ basis, float((band**2).mean())
        from_hsi, through = float(weights @ errors @ weights), group.noise_gain(psf)
        # on the coarse grid the noise cannot have more variance than was left: what is more is scene; the difference
        # of two large variances is no proof of a noise below the usual
        most = (left * (1 + 3 / sqrt(problem.freedom)) - from_hsi) / through
        sensor = min(sensor, max(sqrt(max(most, 0.0)), _USUAL * sqrt(square)))
        explained = from_hsi + through * sensor**2
        out.sensor[row] = sensor
        out.response[row], out.offset[row], out.origin[row] = response, offset, origin
        out.residuals[row] = sqrt(left / max(square, 1e-300))
        out.noise[row] = sqrt(sensor**2 + _FINER**2 * max(left - explained, 0.0))


def _radiometry(problem: ResponseProblem, band: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, float, float, str]:
    """A response that is given, with a gain and an offset only where the images demand them."""
    weights = given @ problem.basis
    plain = band - problem.mean @ weights - problem.centred @ weights
    gain, offset = problem.scaled(band, given)
    left = problem.residual(band, gain * weights)
    if gain > 0 and float((plain**2).mean()) > _GAINS * left:
        return gain * given, offset, left, "given, gain and offset estimated"
    return given, 0.0, float((plain**2).mean()), "given"


def _find_psf(
    samples: Samples,
    basis: np.ndarray,
    prior: Psf,
    expected: str,
    given: np.ndarray | None,
    positions: Sequence[Sequence[int]],
    shift: bool,
) -> tuple[Psf, str]:
    pixels = [samples.count(k) for k in range(len(samples.groups))]
    if min(pixels) < _FEW:
        return prior, f"{expected} (too few pixels to estimate it)"
    samples = samples.thinned(_SEARCH)
    regressors: list[list[np.ndarray] | np.ndarray] = []
    for k, rows in enumerate(positions):
        c = samples.coefficients[k]
        if given is None:
            regressors.append(c[: max(1, min(len(c), c.shape[1] // 8))].T)
        else:
            regressors.append([(given[row] @ basis @ c)[:, None] for row in rows])
    fit: PsfFit = fit_psf(Agreement(samples, regressors), prior, shift=shift)
    width = f"FWHM {fit.psf.fwhm_y:.2f} x {fit.psf.fwhm_x:.2f} fine pixels"
    if fit.from_data:
        return fit.psf, f"estimated, {width} (standard error {max(fit.error, 0.001):.1%})"
    return fit.psf, f"{expected}, {width} (the images say little)"


def _expected_psf(ratio: int, mtf: float | None, finest: float | None) -> tuple[Psf, str]:
    """The PSF between the two images by their MTFs at Nyquist, and how that is said."""
    if mtf is None:
        return Psf(_FWHM * ratio, _FWHM * ratio), f"assumed {_FWHM:g} HSI pixels"
    psf = psf_from_mtf(mtf, ratio, finest)
    least = 0.4 * ratio
    return Psf(max(psf.fwhm_y, least), max(psf.fwhm_x, least)), f"from the MTF {mtf:g} at Nyquist"


def _group_psf(ratio: int, mtf: float | None, finest: float | None, offset: tuple[float, float]) -> Psf | None:
    if ratio == 1:
        return None
    return replace(psf_from_mtf(mtf or _GROUP_MTF, ratio, finest or _GROUP_MTF), shift_y=offset[0], shift_x=offset[1])


def _mean_mtf(msi_bands: Sequence[BandLike] | None, rows: Sequence[int]) -> float | None:
    return mean_mtf(msi_bands[i] for i in rows) if msi_bands else None


def _table(
    msi_bands: Sequence[BandLike] | None,
    wavelengths: np.ndarray | None,
    fwhm: np.ndarray | None,
    total: int,
    bands: int,
) -> np.ndarray | None:
    if msi_bands is None or wavelengths is None or len(msi_bands) != total or len(wavelengths) != bands:
        return None
    try:
        return response_matrix(msi_bands, wavelengths, fwhm)
    except BandError:
        return None


def _statistics(patches: Sequence[PatchLike]) -> SpectralStatistics:
    bands = patches[0].hsi.shape[0]
    statistics = SpectralStatistics(bands)
    for patch in patches:
        statistics.update(np.asarray(patch.hsi).reshape(bands, -1).T)
    if statistics.n == 0:
        raise DataError("no HSI pixel of the sample has data in all its bands; check the good-band flags and nodata.")
    return statistics


def _hsi_noise(statistics: SpectralStatistics, patches: Sequence[PatchLike]) -> np.ndarray:
    if statistics.n < 3 or statistics.bands < 3:
        return np.maximum(0.01 * np.sqrt(np.diag(statistics.correlation)), 1e-12)
    return noise_levels(statistics, [np.asarray(p.hsi) for p in patches])


def _coefficients(
    patches: Sequence[PatchLike], noise: np.ndarray, basis: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Coefficients of each patch (p, h, w), and the covariance of their noise (p, p)."""
    if basis.shape[0] != noise.size:
        raise ParameterError(f"the basis has {basis.shape[0]} bands, the HSI {noise.size}.")
    project = np.linalg.pinv(basis / noise[:, None]) / noise
    images = [np.tensordot(project, np.asarray(p.hsi, dtype=np.float64), 1) for p in patches]
    return images, (project * noise**2) @ project.T


def _basis(statistics: SpectralStatistics, noise: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(statistics.correlation / np.outer(noise, noise))
    p = int(np.clip((values > signal_edge(noise.size, statistics.n)).sum(), min(3, noise.size), min(30, noise.size)))
    return noise[:, None] * vectors[:, ::-1][:, :p]


def _positions(
    patches: Sequence[PatchLike], group_bands: Sequence[Sequence[int]] | None, group_ratios: Sequence[int]
) -> list[list[int]]:
    if not patches:
        raise DataError("there is no part of the scene that both images show.")
    sizes = [len(x) for x in patches[0].msi]
    if len(sizes) != len(group_ratios):
        raise ParameterError(f"{len(group_ratios)} ratios for {len(sizes)} groups of MSI bands.")
    if group_bands is None:
        ends = np.cumsum([0, *sizes])
        return [list(range(a, b)) for a, b in pairwise(ends)]
    out = [[int(i) for i in g] for g in group_bands]
    if [len(g) for g in out] != sizes:
        raise ParameterError(f"positions for {[len(g) for g in out]} bands, groups of {sizes}.")
    return out


def _filled(wavelengths: np.ndarray) -> np.ndarray:
    """Wavelengths with gaps interpolated along the band number; band numbers where hardly any is known."""
    nm = np.asarray(wavelengths, dtype=np.float64)
    known, index = np.isfinite(nm), np.arange(nm.size, dtype=float)
    if known.sum() < 2:
        return index
    return nm if known.all() else np.interp(index, index[known], nm[known])
