"""The residual shift between the two images of a pair, to a tenth of a fine pixel, with a figure for its reliability.

Both images are brought to the same footing: the MSI is blurred to the HSI's resolution, the HSI's bands are combined
into the bands of the MSI by regression on the coarse grid. The shift is the one at which the blurred MSI, sampled at
the centres of the coarse pixels, is best explained by the HSI (largest R2). The blurred MSI is so smooth that cubic
splines give it between its pixels exactly, so the coarse sampling of the HSI biases nothing.

1. Search: R2 on a grid of shifts half a coarse pixel apart, over all windows together.
2. Refinement: in each window the prediction is regressed on the MSI and its two derivatives (Lucas & Kanade 1981),
   repeated until it stands still; gain and offset of each band are free.
3. Vote: windows far from the median are put aside, the others averaged by their information matrices; their scatter
   gives the standard error.

Sign: a shift (dy, dx) means that the MSI shows things dy fine pixels further down and dx further right than the HSI
does; the corrected MSI at (row, column) is the MSI at (row + dy, column + dx).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .matching import COVER, MARGIN, REACH, Field, Pool, explained, fit_linear, in_parts, matched_components, pairs

if TYPE_CHECKING:
    from .pair import AlignedPair

#: a shift is applied from this reliability on
GATE = 0.5
#: shifts below this many fine pixels are left alone: resampling for them would cost more than it gives
SMALLEST = 0.1


@dataclass(frozen=True)
class Shift:
    """Where the MSI lies against the HSI.

    Attributes
    ----------
    dy, dx : float
        In fine pixels; positive where the MSI shows things further down and further right than the HSI does.
    reliability : float
        0 to 1.
    applied : bool
        Whether the reading of the MSI takes it out.
    reason : str
        Why it was applied, or not.
    error : float
        Standard error of the less certain component, in fine pixels.
    correlation : float
        Between the blurred MSI and its prediction from the HSI, after taking the shift out.
    before : float
        The same without.
    windows : tuple of (dy, dx)
        What each window that voted with the majority found.
    """

    dy: float
    dx: float
    reliability: float
    applied: bool
    reason: str
    error: float = np.nan
    correlation: float = np.nan
    before: float = np.nan
    windows: tuple[tuple[float, float], ...] = ()

    @classmethod
    def none(cls, reason: str) -> Shift:
        """No shift was looked for, or none can be found."""
        return cls(0.0, 0.0, 0.0, False, reason)


@dataclass(frozen=True)
class Sample:
    """A window of both images: hsi (B, h, w), msi (b, H, W) on the fine grid with `MARGIN` coarse pixels around."""

    hsi: np.ndarray
    msi: np.ndarray


def find_shift(pair: AlignedPair, seed: int = 0) -> Shift:
    """The shift of a pair's MSI against its HSI, from windows spread over the overlap.

    Parameters
    ----------
    pair : AlignedPair
        Its own shift is ignored.
    seed : int
        Moves the windows.
    """
    from .grids import grouped
    from .pair import cells, tries
    from .resample import Resampler

    group = pair.groups[0]
    # six pixels to a coarse one hold all of an image blurred to the coarse pixel
    step = max(d for d in range(1, pair.ratio + 1) if pair.ratio % d == 0 and (d == 1 or pair.ratio // d >= 6))
    if group.ratio > step:
        return Shift.none("no band of the MSI is at the fine GSD")
    ratio = pair.ratio // step
    reader = Resampler.onto(group.scene, group.source, grouped(pair.fine, step))
    height, width = pair.coarse.shape
    side = int(np.clip((2**23 / (len(group.bands) * ratio**2)) ** 0.5 - 2 * MARGIN, 12, 48))
    number = 1 if max(height, width) <= side else min(16, max(4, height * width // side**2))
    good = pair.hsi["good"].values
    good = good if good.any() else np.ones_like(good)
    samples = []
    for cell in cells(height, width, number):
        shape = min(side, cell.shape[0]), min(side, cell.shape[1])
        for window in tries(cell, shape, 1, seed, 3):
            hsi = pair.read_hsi(window)[good]
            if np.isfinite(hsi).any(axis=0).mean() < 0.3:
                continue
            msi = reader.read(window.grow(MARGIN).scale(ratio))
            if np.isfinite(msi).any(axis=0).mean() > 0.3:
                samples.append(Sample(hsi, msi))
                break
    if not samples:
        return Shift.none("no window has data of both images")
    waves = pair.hsi["wavelength"].values[good], group.scene["wavelength"].values
    shift = estimate_shift(samples, ratio, hsi_wavelengths=waves[0], msi_wavelengths=waves[1])
    windows = tuple((dy * step, dx * step) for dy, dx in shift.windows)
    return replace(shift, dy=shift.dy * step, dx=shift.dx * step, error=shift.error * step, windows=windows)


def estimate_shift(
    samples: Sequence[Sample],
    ratio: int,
    *,
    hsi_wavelengths: np.ndarray | None = None,
    msi_wavelengths: np.ndarray | None = None,
) -> Shift:
    """Estimate the shift of the MSI against the HSI.

    Parameters
    ----------
    samples : sequence of Sample
        Windows of both, NaN where nothing is known.
    ratio : int
        Fine pixels along a coarse pixel.
    hsi_wavelengths, msi_wavelengths : array (B,), (b,), optional
        In nm, NaN where unknown; HSI bands near those of the MSI are then preferred.

    Returns
    -------
    Shift
        Applied where reliable, larger than three times its standard error and than a tenth of a fine pixel.
    """
    fields = [Field.of(sample.msi, ratio) for sample in samples]
    matched = matched_components([s.hsi for s in samples], hsi_wavelengths, msi_wavelengths)
    if not fields or matched is None:
        return Shift.none("too few pixels that both images show")
    most = max(1, int((36 / len(fields)) ** 0.5))
    pool = [(h, f, where) for m, f in zip(matched, fields, strict=True) for h, where in in_parts(m, most)]
    if not any(f.alive.any() for f in fields):
        return Shift.none("the MSI has no structure")
    origin = np.zeros(2)
    best, at_edge = _search(matched, fields, ratio)
    before = explained(pool, origin)
    votes: list[Vote] = []
    centre = best
    for _ in range(3):
        weights = _regress(pool, centre)
        if weights is None:
            return Shift.none("too few pixels that both images show")
        votes = [v for h, f, where in pool if (v := _refine(h, f, where, weights, centre, ratio)) is not None]
        if not votes:
            return Shift.none("no window shows structure in both directions")
        previous = centre
        centre, covariance, kept = _agree(votes, ratio)
        if np.abs(centre - previous).max() < 0.01:
            break
    after = explained(pool, centre)
    return _judge(centre, covariance, votes, kept, before, after, at_edge, ratio)


@dataclass(frozen=True)
class Vote:
    """What one window says: shift (2,), information matrix (2, 2)."""

    shift: np.ndarray
    information: np.ndarray


def _search(
    components: Sequence[np.ndarray], fields: Sequence[Field], ratio: int, most: int = 20000
) -> tuple[np.ndarray, bool]:
    """The best shift on a grid half a coarse pixel apart, and whether it lies at the edge of the search."""
    reach = 2 * min(REACH, max(1, min(min(f.shape) for f in fields) // 3))
    taken = -(-sum(c[0].size for c in components) // most)
    lattice = [
        (c, *f.lattice((slice(0, c.shape[1]), slice(0, c.shape[2]))))
        for c, f in zip(components[::taken], fields[::taken], strict=True)
    ]
    scores = np.full((2 * reach + 1, 2 * reach + 1), -np.inf)
    for row, col in np.ndindex(*scores.shape):
        left, right = [], []
        for part, values, cover in lattice:
            height, width = part.shape[1:]
            down, across = 2 * REACH + row - reach, 2 * REACH + col - reach
            cut = slice(down, down + 2 * height - 1, 2), slice(across, across + 2 * width - 1, 2)
            known = (cover[cut] > COVER) & np.isfinite(part).all(axis=0)
            left.append(part[:, known].T)
            right.append(values[(slice(None), *cut)][:, known].T)
        fit = fit_linear(np.concatenate(left), np.concatenate(right))
        if fit is not None:
            scores[row, col] = fit[1].mean()
    row, col = (int(i) for i in np.unravel_index(int(scores.argmax()), scores.shape))
    edge = (0, 2 * reach)
    return np.array([row - reach, col - reach]) * ratio / 2, row in edge or col in edge


def _regress(pool: Pool, shift: np.ndarray) -> np.ndarray | None:
    fit = fit_linear(*pairs(pool, shift))
    return None if fit is None else fit[0]


def _refine(
    components: np.ndarray,
    field: Field,
    where: tuple[slice, slice],
    weights: np.ndarray,
    start: np.ndarray,
    ratio: int,
) -> Vote | None:
    """Follow the gradient in one window to where the MSI fits the HSI's prediction; None where it runs away."""
    predicted = np.tensordot(weights[:-1].T, components, axes=1) + weights[-1][:, None, None]
    shift, step = start.copy(), 0.25 * ratio
    information = np.zeros((2, 2))
    for _ in range(12):
        values, known = field.at(shift, where)
        known &= np.isfinite(predicted).all(axis=0)
        slopes = []
        for axis in (0, 1):
            move = np.eye(2)[axis] * step
            ahead, behind = field.at(shift + move, where), field.at(shift - move, where)
            known &= ahead[1] & behind[1]
            slopes.append((ahead[0] - behind[0]) / (2 * step))
        count = int(known.sum())
        if count < 16:
            return None
        normal, right = np.zeros((2, 2)), np.zeros(2)
        for k in np.flatnonzero(field.alive):
            x, p = values[k][known], predicted[k][known]
            gradient = np.column_stack([s[k][known] for s in slopes])
            plain = np.column_stack([x, np.ones(count)])
            both, _, rank, _ = np.linalg.lstsq(plain, np.column_stack([p, gradient]), rcond=None)
            if rank < 2 or both[0, 0] <= 0:
                continue
            rest = np.column_stack([p, gradient]) - plain @ both
            residual, slope = rest[:, 0], both[0, 0] * rest[:, 1:]
            # neighbouring pixels share most of their errors; count every fourth
            noise = max(float(residual @ residual) / max(count - 4, 1), 1e-12 * float(p.var())) * 4
            normal += slope.T @ slope / noise
            right += slope.T @ residual / noise
        if np.linalg.eigvalsh(normal)[0] <= 1e-6 / ratio**2:
            return None
        move = np.linalg.solve(normal, right)
        length = float(np.hypot(*move))
        move *= min(1.0, 0.5 * ratio / max(length, 1e-12))
        shift, information = shift + move, normal
        if np.abs(shift - start).max() > 1.5 * ratio:
            return None
        if length < 1e-3:
            break
    return Vote(shift, information)


def _agree(votes: Sequence[Vote], ratio: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """The shift of the majority, its covariance, and who belongs to it."""
    shifts = np.array([v.shift for v in votes])
    errors = np.array([np.sqrt(np.diag(np.linalg.inv(v.information))) for v in votes])
    centre = np.array([_weighted_median(shifts[:, axis], 1 / errors[:, axis]) for axis in (0, 1)])
    kept = list(range(len(votes)))
    for _ in range(3):
        tolerance = np.maximum(3 * errors, 0.1 * ratio)
        near = [i for i in range(len(votes)) if (np.abs(shifts[i] - centre) <= tolerance[i]).all()]
        kept = near or [int(np.abs(shifts - centre).sum(axis=1).argmin())]
        total = sum(votes[i].information for i in kept)
        centre = np.linalg.solve(total, sum(votes[i].information @ shifts[i] for i in kept))
    covariance = np.linalg.inv(total)
    if len(kept) > 1:
        squares = [(shifts[i] - centre) @ votes[i].information @ (shifts[i] - centre) for i in kept]
        covariance *= max(1.0, float(sum(squares)) / (2 * (len(kept) - 1)))
    return centre, covariance, kept


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values)
    passed = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(passed, passed[-1] / 2)])


def _judge(
    centre: np.ndarray,
    covariance: np.ndarray,
    votes: Sequence[Vote],
    kept: Sequence[int],
    before: float,
    after: float,
    at_edge: bool,
    ratio: int,
) -> Shift:
    """Reliability, and whether to apply."""
    error = float(np.sqrt(np.linalg.eigvalsh(covariance)[-1]))
    correlation = float(np.sqrt(max(after, 0.0)))
    share = sum(float(np.trace(votes[i].information)) for i in kept) / sum(
        float(np.trace(v.information)) for v in votes
    )
    agreement = np.clip((share - 0.4) / 0.4, 0, 1)
    company = min(1.0, len(kept) / 3)
    fit = np.clip((correlation - 0.5) / 0.3, 0, 1)
    precision = 1 / (1 + (error / 0.3) ** 2)
    reliability = 0.0 if at_edge else float(agreement * company * fit * precision)
    size = float(np.hypot(*centre))
    significant = float(centre @ np.linalg.solve(covariance, centre)) > 11.8  # 3 sigma, two degrees of freedom
    if at_edge:
        reason = "the best fit lies at the edge of the search"
    elif reliability < GATE:
        causes = {
            "the images correlate too little": fit,
            "windows disagree": agreement,
            "too few windows to compare": company,
            "its error is large": precision,
        }
        reason = f"not reliable: {min(causes, key=lambda k: causes[k])}"
    elif size < SMALLEST:
        reason = f"below {SMALLEST:g} fine pixels"
    elif not significant:
        reason = "not significant against its standard error"
    elif after <= before:
        reason = "the images do not correlate better with it"
    else:
        reason = "reliable and significant"
    return Shift(
        dy=float(centre[0]),
        dx=float(centre[1]),
        reliability=round(reliability, 3),
        applied=reason == "reliable and significant",
        reason=reason,
        error=error,
        correlation=correlation,
        before=float(np.sqrt(max(before, 0.0))),
        windows=tuple((float(votes[i].shift[0]), float(votes[i].shift[1])) for i in kept),
    )
