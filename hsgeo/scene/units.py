"""Whether spectra are in one unit, as far as their brightness tells: counts, per cent and reflectance lie far apart."""

from __future__ import annotations

import numpy as np

#: times as bright from which on spectra are in other units; scenes differ less
FAR = 30.0


def other_units(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """How many times as bright spectra (n, B) are as others (m, B), in the median; None where that is no other unit.

    Spectra with a missing band count nothing.
    """
    known = [v[np.isfinite(v).all(1)] for v in (ours, theirs)]
    if not all(map(len, known)):
        return None
    one, two = (float(np.median(np.linalg.norm(v, axis=1))) for v in known)
    ratio = one / two if one > 0 and two > 0 else 1.0
    return None if 1 / FAR < ratio < FAR else ratio
