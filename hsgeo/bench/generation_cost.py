"""`hsgeo bench generation --cost`: seconds, operations and memory of a tile, and memory of a training.

Weights do not matter for any of them, so networks are untrained; each is measured in a process of its own. Published
for HUD (Shen et al. 2025, table IV): 3.35 GB for tiles of 32 x 32, 18.75 GB of 256 x 256, in training.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from hsgeo.bench.engine import measured

#: side of a tile in pixels, and steps of the sampler; 0 steps is a training on crops of that side
RUNS = tuple((side, steps) for side in (32, 256) for steps in (1000, 50, 20, 10, 0))

#: channels of the state, and bands, of a scene as they are by default with many bands
ENDMEMBERS, DIRECTIONS, BANDS = 8, 24, 198

#: steps that are run where there are more: they are alike
MOST = 5

#: crops in a training step, as published
BATCH = 4


def generation_cost(device: str = "auto") -> Iterator[dict[str, Any]]:
    """Measure each of `RUNS`.

    Yields
    ------
    dict
        side, steps, seconds (of a tile with its spectra, or of a step of training), flops, peak_bytes (resident on a
        CPU, allocated on a GPU), parameters, device.
    """
    from hsgeo.engine.devices import pick_device

    device = pick_device(device)
    for side, steps in RUNS:
        out, _, peak = measured([sys.executable, "-m", "hsgeo.bench.generation_cost", str(side), str(steps), device])
        row = json.loads(out)
        yield {"side": side, "steps": steps, **row, "peak_bytes": row.pop("allocated") or peak, "device": device}


def one(side: int, steps: int, device: str) -> dict[str, Any]:
    """Measure a sample, or with 0 steps a step of a training."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from hsgeo.methods.generation.sampling import Sampler, sampled
    from hsgeo.methods.generation.settings import HudTrainingParams
    from hsgeo.networks import AbundanceUNet

    settings, channels = HudTrainingParams(crop=side, batch=BATCH), ENDMEMBERS + DIRECTIONS
    torch.manual_seed(0)
    network = AbundanceUNet(channels, 0, settings.widths, settings.blocks)
    schedule = settings.schedule()

    def draw(count: int) -> None:
        _decode(sampled(Sampler(network, schedule, channels, count, 0.0, device=device), (side, side), [0]).numpy())

    def teach(count: int) -> None:
        from hsgeo.methods.generation.training import Crops, trained

        state = torch.randn(channels, side + 8, side + 8).numpy()
        trained(network, Crops(state, settings.model_copy(update={"steps": count})), device=device)

    work = draw if steps else teach
    wanted = max(steps, 1)
    run = min(wanted, MOST) if steps else MOST
    work(1)  # the first one prepares the machine
    begin = time.perf_counter()
    work(1)
    first = time.perf_counter() - begin
    begin = time.perf_counter()
    work(run)
    each = (time.perf_counter() - begin - first) / max(run - 1, 1)
    with FlopCounterMode(display=False) as counter:
        work(1)
    flops = counter.get_total_flops() * wanted
    return {
        "seconds": first + each * (wanted - 1) if steps else each,
        "flops": flops,
        "parameters": sum(p.numel() for p in network.parameters()),
        "allocated": torch.cuda.max_memory_allocated() if device.startswith("cuda") else 0,
    }


def _decode(states: Any) -> None:
    """Spectra of states, by an encoding of the right size."""
    import numpy as np

    from hsgeo.methods.generation.encoding import Encoding

    p, q, n = ENDMEMBERS, DIRECTIONS, BANDS
    rng = np.random.default_rng(0)
    encoding = Encoding(
        endmembers=rng.random((p, n)),
        filters=rng.random((q, n)),
        directions=rng.random((q, n)),
        amplitudes=np.ones((p, q)),
        powers=np.ones(p),
        noise=np.eye(n),
        offset=np.zeros(p + q),
        scale=np.ones(p + q),
        low=-np.ones(p + q),
        high=np.ones(p + q),
        weights=np.ones(p),
        least=-np.ones(n),
        most=np.ones(n),
        floor=0.2,
    )
    for state in states:
        encoding.decoded(state, True, rng.standard_normal((n, *state.shape[1:])))


if __name__ == "__main__":
    print(json.dumps(one(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])))
