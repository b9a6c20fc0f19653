"""How many endmembers a scene has: HySime, and the virtual dimensionality HFC and NWHFC, from its second moments."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from hsgeo.errors import DataError

#: added to the correlation of unit bands before it is inverted, so that bands that are one do no harm
RIDGE = 1e-10
#: noise that any scene is taken to have, of the mean power of its bands (50 dB), as the authors of HySime do: below it
#: stand rounding and what the regression leaves
FLOOR = 1e-5
#: false alarms that virtual dimensionality allows
FALSE_ALARM = 1e-3


@dataclass(frozen=True)
class Dimension:
    """A number of endmembers and how it came about.

    Attributes
    ----------
    count : int
    criterion : str
        For people.
    """

    count: int
    criterion: str


def regressed_noise(correlation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Correlations of what regression of each band on all others leaves, and of what it explains.

    The residuals of all regressions are W = Y T with T = C^-1 / diag(C^-1) by columns, C the correlation: so W'W / n =
    T'CT and (Y - W)'(Y - W) / n follow without another look at the scene.

    Returns
    -------
    array (B, B)
        Noise, its diagonal alone, as HySime takes it to be independent from band to band.
    array (B, B)
        Signal.

    References
    ----------
    .. [1] Bioucas-Dias & Nascimento 2008, doi:10.1109/TGRS.2008.918089, Algorithm 1.
    """
    correlation = np.asarray(correlation, np.float64)
    scale = np.sqrt(np.maximum(np.diag(correlation), 0))
    scale[scale == 0] = 1.0
    unit = correlation / np.outer(scale, scale)
    inverse = np.linalg.inv(unit + RIDGE * np.eye(len(unit)))
    turn = inverse / np.diag(inverse)
    explain = np.eye(len(unit)) - turn
    noise = np.diag(np.diag(turn.T @ unit @ turn))
    back = np.outer(scale, scale)
    return noise * back, explain.T @ unit @ explain * back


def hysime(correlation: np.ndarray, pixels: int) -> Dimension:
    """Dimension of the signal's subspace that loses least of the signal for the noise it keeps.

    Along the eigenvectors e of the signal's correlation the mean squared error falls by e'(C - 2 N) e, C being the
    correlation of the spectra and N that of the noise; those where it does fall are counted [1]_.

    Parameters
    ----------
    correlation : array (B, B)
        Mean outer product of the spectra.
    pixels : int
        That it was computed from.

    Raises
    ------
    DataError
        No more pixels than bands: every band is a mixture of the others, and no noise is seen.

    References
    ----------
    .. [1] Bioucas-Dias & Nascimento 2008, Hyperspectral subspace identification, doi:10.1109/TGRS.2008.918089.
    """
    bands = _enough(correlation, pixels)
    noise, signal = regressed_noise(correlation)
    noise = noise + FLOOR * float(np.trace(signal)) / bands * np.eye(bands)
    vectors = np.linalg.eigh(signal)[1]
    gain = np.einsum("bi,bc,ci->i", vectors, correlation - 2 * noise, vectors)
    count = int((gain > 0).sum())
    return Dimension(count, f"HySime: in {count} of {bands} directions there is more signal than noise")


def virtual_dimensionality(
    correlation: np.ndarray, mean: np.ndarray, pixels: int, *, whitened: bool = True, false_alarm: float = FALSE_ALARM
) -> Dimension:
    """Eigenvalues of the correlation that exceed those of the covariance by more than chance: HFC, or NWHFC [1]_.

    Both are the noise's variance where there is no signal; their difference then has the variance 2 (l^2 + k^2) / n, l
    and k being the two.

    Parameters
    ----------
    correlation : array (B, B)
    mean : array (B,)
    pixels : int
    whitened : bool
        Bands are divided by their noise first: NWHFC.
    false_alarm : float
        Chance of counting an eigenvalue without signal.

    Raises
    ------
    DataError
        As `hysime`, with `whitened`.

    References
    ----------
    .. [1] Chang & Du 2004, Estimation of number of spectrally distinct signal sources, doi:10.1109/TGRS.2003.819189.
    """
    correlation, mean = np.asarray(correlation, np.float64), np.asarray(mean, np.float64)
    if whitened:
        bands = _enough(correlation, pixels)
        level = np.sqrt(np.maximum(np.diag(regressed_noise(correlation)[0]), 1e-12 * np.trace(correlation) / bands))
        correlation, mean = correlation / np.outer(level, level), mean / level
    both = np.linalg.eigvalsh(correlation)
    about = np.linalg.eigvalsh(correlation - np.outer(mean, mean))
    deviation = np.sqrt(2 * (both**2 + about**2) / pixels)
    count = int((both - about > NormalDist().inv_cdf(1 - false_alarm) * deviation).sum())
    name = "NWHFC" if whitened else "HFC"
    return Dimension(count, f"{name}: {count} of {len(mean)} eigenvalues tell a signal at {false_alarm:g} false alarms")


def _enough(correlation: np.ndarray, pixels: int) -> int:
    bands = len(correlation)
    if pixels <= bands:
        raise DataError(
            f"the number of endmembers cannot be told from {pixels} pixels of {bands} bands; give --endmembers, or "
            "more pixels."
        )
    return bands
