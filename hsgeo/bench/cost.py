"""`hsgeo bench fusion --cost`: seconds per megapixel and memory of HSR-Diff's network, ours beside the paper's.

Weights do not matter for time, so the networks are untrained; each is measured in a process of its own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from hsgeo.bench.engine import measured

#: bands of the paper's scene (PaviaU by ROSIS) and of its MSI, and coefficients that such scenes have
HSI_BANDS, MSI_BANDS, COEFFICIENTS = 103, 4, 12

#: configuration, and steps of the sampler
RUNS = (("hsr-diff", 1), ("hsr-diff", 10), ("hsr-diff-paper", 100))

#: side of the image where a network is shown the whole, pixels; others are shown one patch
SIDE = 256

#: steps that are run where a sampler takes more: they are alike
MOST = 5


def cost(device: str = "auto") -> Iterator[dict[str, Any]]:
    """Measure each of `RUNS`.

    Yields
    ------
    dict
        configuration, steps, parameters, seconds_per_megapixel, peak_bytes (resident on a CPU, allocated on a GPU),
        device.
    """
    from hsgeo.engine.devices import pick_device

    device = pick_device(device)
    for name, steps in RUNS:
        out, _, peak = measured([sys.executable, "-m", "hsgeo.bench.cost", name, str(steps), device])
        row = json.loads(out)
        yield {"configuration": name, "steps": steps, **row, "peak_bytes": row.pop("allocated") or peak}


def one(name: str, steps: int, device: str) -> dict[str, Any]:
    """Time a sample of a random image: of a tile with its context, or of a patch, which counts without its overlap."""
    import time

    import torch

    from hsgeo.methods.fusion.coordinates import GUIDE, OWN
    from hsgeo.methods.fusion.sampling import OVERLAP, PATCH, context, sample
    from hsgeo.methods.fusion.weights import Weights
    from hsgeo.scene.window import Window
    from hsgeo.tasks.options import load_parameters
    from hsgeo.tasks.training import settings_of

    settings = settings_of(load_parameters(name, []).get("training", {}))
    pixels = settings.space == "pixels"
    channels = (HSI_BANDS, HSI_BANDS + MSI_BANDS, HSI_BANDS) if pixels else (OWN + 1, GUIDE, 1)
    weights = Weights.untrained(settings, channels)
    weights.network.to(device).eval()
    whole, margin = context(weights, steps) < PATCH, context(weights, steps)
    side = SIDE if whole else PATCH - OVERLAP
    core = Window(0, SIDE, 0, SIDE) if whole else Window(*2 * (OVERLAP, PATCH - OVERLAP))  # inside one patch
    outer = core.grow(margin)
    signals = 1 if pixels else COEFFICIENTS
    own = torch.randn(signals, channels[0] - channels[2], *outer.shape, device=device)
    guide = torch.randn(channels[1], *outer.shape, device=device)

    def timed(run: int) -> float:
        start = time.perf_counter()
        sample(weights, own, guide, outer, core, run, 0)
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - start

    timed(min(steps, 2))  # the first one prepares the machine
    seconds = timed(min(steps, MOST))
    if steps > MOST:
        seconds += (steps - MOST) * (seconds - timed(2)) / (MOST - 2)
    return {
        "parameters": sum(p.numel() for p in weights.network.parameters()),
        "seconds_per_megapixel": seconds / (side * side / 1e6),
        "allocated": torch.cuda.max_memory_allocated() if device.startswith("cuda") else 0,
        "device": device,
    }


if __name__ == "__main__":
    print(json.dumps(one(sys.argv[1], int(sys.argv[2]), sys.argv[3])))
