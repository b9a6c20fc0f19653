"""Callables that worker processes can import, and a small program that runs the engine until someone stops it.

python -m tests.engine.jobs STORE [--resume] [--pause SECONDS] [--threads N] [--workers N]
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hsgeo.engine.plan import TilePlan
from hsgeo.engine.run import Output, run

PLAN = TilePlan(40, 40, tile=10, halo=1)
OUTPUTS = {"image": Output(3, "int16", -1)}
IDENTITY = {"what": "a ramp"}


@dataclass
class Ramp:
    """Values that follow from the place; takes its time."""

    pause: float = 0.0

    def __call__(self, block, device):
        for _ in range(10):
            time.sleep(self.pause / 10)
        y, x = np.mgrid[block.outer.y0 : block.outer.y1, block.outer.x0 : block.outer.x1]
        return {"image": np.stack([100 * y + x, y * x, y - x]), "stats": {"pid": os.getpid(), "device": device}}


@dataclass
class Environment:
    """Reports the process it runs in."""

    def __call__(self, block, device):
        time.sleep(0.1)
        names = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "HSGEO_TORCH_THREADS")
        stats = {"pid": os.getpid(), "device": device, **{n: os.environ.get(n) for n in names}}
        return {"image": np.zeros((3, *block.core.shape)), "stats": stats}


@dataclass
class Deadly:
    """Kills its own process the first `times` times that it comes to one block."""

    folder: str
    times: int
    pause: float = 0.0

    def __call__(self, block, device):
        if (block.row, block.col) == (1, 1):
            marks = list(Path(self.folder).iterdir())
            if len(marks) < self.times:
                (Path(self.folder) / str(len(marks))).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return Ramp(self.pause)(block, device)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    a = parser.parse_args()
    try:
        report = run(
            Ramp(a.pause), PLAN, OUTPUTS, a.store, identity=IDENTITY, resume=a.resume, threads=a.threads,
            workers=a.workers, devices="cpu",
        )  # fmt: skip
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    print(report.done, report.skipped)


if __name__ == "__main__":
    main()
