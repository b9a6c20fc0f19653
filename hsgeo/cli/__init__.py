"""The command line: parses and calls `hsgeo.tasks`, nothing else."""

from __future__ import annotations

import os
import sys

#: How the libraries below share the cores, set before they are loaded and only where the user has not. Threads that
#: wait by spinning took half of the processor time of a fusion, and a thread pool of numpy's own beside torch's four
#: fifths of that of a fit (2 cores, 224 bands); fresh arrays on large pages halve the system time (Linux).
THREADING = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1", "THP_MEM_ALLOC_ENABLE": "1"}
#: MB of decoded blocks that GDAL keeps; by its own default a twentieth of the machine, which grows with the scene
CACHE = {"GDAL_CACHEMAX": "256"}


def main(arguments: list[str] | None = None) -> None:
    """Run `hsgeo`; exit code 0 done, 1 our fault, 2 wrong usage or input, 130 interrupted."""
    for name, value in (THREADING | CACHE).items():
        os.environ.setdefault(name, value)
    from hsgeo.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
