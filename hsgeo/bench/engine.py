"""`hsgeo bench engine`: a whole fusion beside a plain block copy of its output, in one run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from hsgeo.bench.large import write_large_pair
from hsgeo.errors import HsgeoError, ParameterError

COPY = """
import sys, rasterio, rasterio.enums
source, target, levels = sys.argv[1], sys.argv[2], [int(n) for n in sys.argv[3:]]
with rasterio.open(source) as a:
    profile = a.profile | {"num_threads": "ALL_CPUS", "bigtiff": "if_safer", "predictor": 2, "zstd_level": 3}
    with rasterio.open(target, "w", **profile) as b:
        for _, window in a.block_windows(1):
            b.write(a.read(window=window), window=window)
if levels:
    options = {"ZSTD_LEVEL_OVERVIEW": "3", "PREDICTOR_OVERVIEW": "2", "GDAL_TIFF_OVR_BLOCKSIZE": "256"}
    with rasterio.Env(GDAL_NUM_THREADS="ALL_CPUS", **options), rasterio.open(target, "r+") as b:
        b.build_overviews(levels, rasterio.enums.Resampling.average)
"""


def bench_engine(
    rows: int = 3000, columns: int = 3000, bands: int = 224, ratio: int = 3, *, folder: str | None = None,
    arguments: tuple[str, ...] = (), keep: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Fuse a synthetic pair of the given output size, copy the output, and compare.

    Parameters
    ----------
    rows, columns, bands : int
        Of the output.
    ratio : int
        Of the two GSDs.
    folder : path, optional
        Where the files lie; a temporary folder in the current one otherwise (the output's size is needed three times).
    arguments : tuple of str
        Passed on to ``hsgeo fuse``.
    keep : bool
        Leave the files.

    Returns
    -------
    dict
        Sizes, seconds and peak resident memory of the fusion, by stage, and of two copies: of the blocks alone, and
        with the overviews that the fused file has; ``ratio`` is the fusion's time over the copy's.
    """
    if rows < 4 * ratio or columns < 4 * ratio:
        raise ParameterError(f"the benchmark needs at least {4 * ratio} rows and columns.")
    base = Path(folder) if folder else Path(tempfile.mkdtemp(prefix="hsgeo-bench-", dir="."))
    base.mkdir(parents=True, exist_ok=True)
    try:
        hsi, msi = write_large_pair(base, rows, columns, bands, ratio)
        fused, copy = base / "fused.tif", base / "copy.tif"
        command = [sys.executable, "-m", "hsgeo", "fuse", str(hsi), str(msi), "-o", str(fused), "--overwrite", "--json"]
        out, seconds, peak = measured([*command, *arguments])
        report = json.loads(out)
        copies = {}
        for name, levels in (("copy", []), ("copy_with_overviews", overview_levels(fused))):
            copy.unlink(missing_ok=True)
            _, took, most = measured([sys.executable, "-c", COPY, str(fused), str(copy), *map(str, levels)])
            copies[name] = {"seconds": took, "peak_bytes": most, "bytes": copy.stat().st_size, "ratio": seconds / took}
        return {
            "output": {"rows": rows, "columns": columns, "bands": bands, "bytes": rows * columns * bands * 2},
            "file_bytes": fused.stat().st_size,
            "fuse": {"seconds": seconds, "peak_bytes": peak, "stages": report["stages"], "tiles": report["tiles"]},
            **copies,
        }
    finally:
        if not keep and not folder:
            shutil.rmtree(base, ignore_errors=True)


def overview_levels(path: Path) -> list[int]:
    """Decimation factors of a file's overviews."""
    import rasterio

    with rasterio.open(path) as source:
        return source.overviews(1)


def measured(command: list[str]) -> tuple[str, float, int]:
    """Run a command; its stdout, wall seconds and peak resident bytes.

    Raises
    ------
    HsgeoError
        The command failed.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        if process.returncode:
            raise HsgeoError(f"{' '.join(command[:5])} failed: {err.read().decode(errors='replace').strip()[-400:]}")
        scale = 1 if sys.platform == "darwin" else 1024
        return out.read().decode(), seconds, usage.ru_maxrss * scale
