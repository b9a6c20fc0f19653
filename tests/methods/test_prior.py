"""The prior's spectrum, against its definition and in space."""

from __future__ import annotations

import numpy as np
import pytest

from hsgeo.methods.fusion.prior import FallingSpectrum


@pytest.mark.parametrize("ratio", [2, 3, 4, 10])
def test_the_spectrum_falls_as_it_says_and_its_kernel_faster_than_any_power(ratio: int) -> None:
    corner, n = 0.75 / ratio, 64 * ratio
    fy, fx = np.fft.fftfreq(n)[:, None], np.fft.fftfreq(n)[None]
    spectrum = FallingSpectrum(corner)(fy, fx)
    assert spectrum.mean() == pytest.approx(1, rel=1e-3)
    power = (1 + (fy**2 + fx**2) / corner**2) ** -1.25
    np.testing.assert_allclose(spectrum, power / power.mean(), rtol=0.1)
    kernel = np.abs(np.fft.ifft2(spectrum).real) / spectrum.mean()
    assert kernel[8 * ratio : 56 * ratio].max() < 1e-6 and kernel[12 * ratio : 52 * ratio].max() < 1e-9
