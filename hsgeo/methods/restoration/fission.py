"""How much of one method's result goes into another's, decided by noise that one of two copies of the data has not.

Of data z = x + n with white noise of variance 1 and a further such noise m, z + a m and z - m / a tell of x with errors
that are independent (data fission, Leiner et al. 2022, arXiv:2112.11079; recorrupted pairs, Pang et al. 2021,
doi:10.1109/CVPR46437.2021.00208). What is made of the first is judged by the second without bias, if the best of many a
little too well.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

#: a; the first copy has 1 + a^2 of the noise's variance, the second 1 + 1 / a^2
SPLIT = 0.5

#: what is expected of a share before anything is seen, and how far off that is: two methods that are as good as one
#: another and share a part of their errors are best mixed by halves or less
EXPECTED, SPREAD = 0.4, 0.15


@dataclass(frozen=True)
class Split:
    """Two copies of data (p, h, w) with white noise of variance 1; see `split`.

    Attributes
    ----------
    first, second : tensor (p, h, w)
    level : float
        Standard deviation of the first one's noise.
    """

    first: torch.Tensor
    second: torch.Tensor
    level: float


def split(data: torch.Tensor, noise: torch.Tensor) -> Split:
    """Split data, by white noise of variance 1 and of their shape."""
    return Split(data + SPLIT * noise, data - noise / SPLIT, (1 + SPLIT**2) ** 0.5)


@dataclass
class Mixing:
    """The best iterate of a process that runs on the first copy, and its share beside another method's result there.

    With s the other result and d the iterate, s + w (d - s) is better than s by 2 w <x - s, d - s> - w^2 |d - s|^2, in
    which the second copy stands in for x. The share is the best one, drawn to `EXPECTED` as its own error bids.

    Parameters
    ----------
    other : tensor (p, h, w)
        What the other method makes of the first copy.
    second : tensor (p, h, w)
    seen : bool tensor (h, w)
        Pixels that have data.
    patience : int
        Iterates without a gain after which no more is expected.

    Attributes
    ----------
    image : tensor (p, h, w), or None
        The best iterate; None before the first.
    share, gain, step : float, float, int
        Its share, what the mean squared error falls by, and its number.
    """

    other: torch.Tensor
    second: torch.Tensor
    seen: torch.Tensor
    patience: int
    image: torch.Tensor | None = field(default=None, init=False)
    share: float = field(default=0.0, init=False)
    gain: float = field(default=-torch.inf, init=False)
    step: int = field(default=0, init=False)

    def __call__(self, step: int, iterate: torch.Tensor) -> bool:
        """Judge an iterate; whether the process may stop."""
        apart = (iterate - self.other)[:, self.seen].double()
        missed = (self.second - self.other)[:, self.seen].double()
        power, slope = float(apart.square().mean()), float((apart * missed).mean())
        certainty = power * apart.numel() / (1 + 1 / SPLIT**2)  # of slope / power, the inverse of its variance
        share = (slope * certainty / power if power else 0.0) + EXPECTED / SPREAD**2
        share = min(max(share / (certainty + 1 / SPREAD**2), 0.0), 1.0)
        gain = 2 * share * slope - share**2 * power
        if gain > self.gain:
            self.image, self.share, self.gain, self.step = iterate, share, gain, step
        return step - self.step >= self.patience
