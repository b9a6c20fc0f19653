"""Abundances of known endmembers: fully constrained least squares, exact, for many pixels at a time; or the linear fit.

Of pixels y and endmembers E the fully constrained fit minimises ||y - E a||^2 over a >= 0 with 1'a = 1 [1]_. Its
optimality conditions are a linear complementarity problem, which block principal pivoting solves in finitely many
steps [2]_, each pixel with a set of its own of endmembers that it is free to use.

The least squares over a set with 1'a = 1 is u / (1'u) of the non-negative problem ||(E - y1') u||^2 + (1'u - 1)^2, and
the duals of both have the same signs, so that what is proven of that problem holds here.

References
----------
.. [1] Heinz & Chang 2001, Fully constrained least squares linear spectral mixture analysis, doi:10.1109/36.911111.
.. [2] Kim & Park 2011, Fast nonnegative matrix factorization: an active-set-like method, doi:10.1137/110821172, sec. 4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hsgeo.errors import DataError, ParameterError

if TYPE_CHECKING:
    import torch

#: numbers of the matrices that are solved at a time
ROOM = 2**21
#: rounds in which the wrong set may stay as wrong before its endmembers are changed one by one
PATIENCE = 3
#: rounds after which a pixel is solved alone
ROUNDS = 100
#: share of the endmembers' spread that is added to a matrix before it is factorised; what it costs is put back
RIDGE = 1e-13
#: abundances below 0, and slopes of the objective relative to the pixel, that are rounding
NEGATIVE, STEEP = 1e-12, 1e-14


def fcls(pixels: np.ndarray, endmembers: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Fully constrained abundances: none below 0, each pixel's sum 1; exact, in float64.

    Parameters
    ----------
    pixels : array (n, B)
        Spectra; one with NaN or infinity in any band has no abundances.
    endmembers : array (p, B)
        In the same unit.
    device : str
        A torch device.

    Returns
    -------
    float64 array (n, p)
        NaN for pixels without all bands. Where endmembers mix into each other exactly, one of several equal fits.

    Raises
    ------
    ParameterError
        The numbers of bands differ.
    DataError
        An endmember is not finite.
    """
    import torch

    pixels, endmembers = _checked(pixels, endmembers)
    p = len(endmembers)
    out = np.full((len(pixels), p), np.nan)
    known = np.flatnonzero(np.isfinite(pixels).all(1))
    if p == 1:
        out[known] = 1.0
        return out
    # 1'a = 1: a spectrum taken off all changes nothing, and a row of equal numbers adds a constant to the objective
    centre = endmembers.mean(0)
    around = (endmembers - centre).T
    spread = float(np.linalg.norm(around)) / p or 1.0
    rows = np.vstack([around / spread, np.ones(p), np.zeros((max(0, p - len(around) - 1), p))])
    q, r = np.linalg.qr(rows)
    q = q[: len(around) + 1]
    factor = torch.from_numpy(np.ascontiguousarray(r)).to(device)
    step = max(1, ROOM // p**2)
    for start in range(0, len(known), step):
        part = known[start : start + step]
        target = ((pixels[part].astype(np.float64) - centre) / spread) @ q[:-1] + q[-1]
        found, left = _pivoted(factor, torch.from_numpy(target).to(device))
        solved = found.cpu().numpy()
        for i in left.cpu().numpy():
            solved[i] = _alone(r, target[i])
        out[part] = solved
    return out


def linear(pixels: np.ndarray, endmembers: np.ndarray) -> np.ndarray:
    """Unconstrained abundances (E'E)^-1 E'y, the linear approximation of the constrained fit [1]_.

    Parameters
    ----------
    pixels : array (n, B)
    endmembers : array (p, B)

    Returns
    -------
    float64 array (n, p)
        May be below 0 and sum to anything; NaN for pixels without all bands.

    Raises
    ------
    ParameterError, DataError
        As `fcls`.

    References
    ----------
    .. [1] HUD, hyperspectral unmixing diffusion, eq. 3.
    """
    pixels, endmembers = _checked(pixels, endmembers)
    out = np.full((len(pixels), len(endmembers)), np.nan)
    known = np.isfinite(pixels).all(1)
    out[known] = pixels[known].astype(np.float64) @ np.linalg.pinv(endmembers)
    return out


def _checked(pixels: np.ndarray, endmembers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pixels, endmembers = np.asarray(pixels), np.asarray(endmembers, np.float64)
    if pixels.ndim != 2 or endmembers.ndim != 2 or not len(endmembers) or pixels.shape[1] != endmembers.shape[1]:
        raise ParameterError(
            f"pixels (n, B) and endmembers (p, B) of the same bands are needed, not {pixels.shape} and "
            f"{endmembers.shape}."
        )
    if not np.isfinite(endmembers).all():
        raise DataError("an endmember has no value in some band; leave that band out of the fit.")
    return pixels, endmembers


def _pivoted(factor: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Block principal pivoting on all pixels.

    Parameters
    ----------
    factor : tensor (p, p)
        R of E = Q R.
    target : tensor (n, p)
        Q'y.

    Returns
    -------
    tensor (n, p)
        Abundances.
    tensor (m,)
        Pixels that are not solved.
    """
    import torch

    n, p = target.shape
    gram = factor.T @ factor
    out = torch.zeros_like(target)
    todo = torch.arange(n, device=target.device)
    free = torch.ones(n, p, dtype=torch.bool, device=target.device)
    fewest = torch.full((n,), p + 1, device=target.device)
    patience = torch.full((n,), PATIENCE, device=target.device)
    last = torch.arange(p, device=target.device)
    for _ in range(ROUNDS):
        found, slope = _on_set(factor, gram, target[todo], free)
        steep = STEEP * (1 + target[todo].norm(dim=1, keepdim=True))
        wrong = torch.where(free, found < -NEGATIVE, slope < -steep)
        count = wrong.sum(1)
        done = count == 0
        out[todo[done]] = found[done].clamp_min(0)
        if bool(done.all()):
            todo = todo[:0]
            break
        on = ~done
        todo, free, wrong, count = todo[on], free[on], wrong[on], count[on]
        fewest, patience = fewest[on], patience[on]
        better = count < fewest
        patience = torch.where(better, PATIENCE, patience - 1)
        fewest = torch.minimum(fewest, count)
        # Murty's rule, the last wrong one alone, cannot cycle
        one = last == (wrong * (last + 1)).amax(1, keepdim=True) - 1
        free = free ^ torch.where((patience >= 0)[:, None], wrong, one)
    return out / out.sum(1, keepdim=True).clamp_min(1e-300), todo


def _on_set(
    factor: torch.Tensor, gram: torch.Tensor, target: torch.Tensor, free: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Least squares with sum 1 over the endmembers that each pixel is free to use, and half the objective's slopes.

    Returns
    -------
    tensor (n, p)
        0 where not free.
    tensor (n, p)
        What more of an endmember, instead of the present mixture, would add to the objective; 0 where free.
    """
    import torch

    inside = free.to(target.dtype)
    matrix = gram * inside[:, :, None] * inside[:, None, :]
    diagonal = torch.diagonal(matrix, dim1=1, dim2=2)
    diagonal += (1 - inside) + RIDGE * inside
    lower, failed = torch.linalg.cholesky_ex(matrix)
    if bool(failed.any()):  # endmembers that are one within rounding
        diagonal += 1e3 * RIDGE * (failed > 0)[:, None] * inside
        lower = torch.linalg.cholesky_ex(matrix)[0]
    ones = torch.cholesky_solve(inside[:, :, None], lower)[:, :, 0]
    found = ones / ones.sum(1, keepdim=True)
    for _ in range(3):  # the second and third time are refinements: residuals by R, not by R'R
        pull = ((target - found @ factor.T) @ factor) * inside
        move = torch.cholesky_solve(pull[:, :, None], lower)[:, :, 0]
        found = found + move - ones * (move.sum(1, keepdim=True) / ones.sum(1, keepdim=True))
    found = found * inside
    found = found / found.sum(1, keepdim=True)
    pull = (target - found @ factor.T) @ factor
    return found, ((found * pull).sum(1, keepdim=True) - pull) * (1 - inside)


def _alone(factor: np.ndarray, target: np.ndarray) -> np.ndarray:
    """One pixel, exactly: u / 1'u of the non-negative least squares (R - z1') u = 0, 1'u = 1 (this module's words)."""
    from scipy.optimize import nnls

    off = factor - target[:, None]
    norms = np.linalg.norm(off, axis=0)
    off = off / max(float(norms.min()), 1e-3 * float(norms.max()))
    u, _ = nnls(np.vstack([off, np.ones(len(factor))]), np.r_[np.zeros(len(factor)), 1.0], maxiter=100 * len(factor))
    return u / u.sum()
