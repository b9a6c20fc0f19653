"""The command line: parses and calls `hsgeo.tasks`, nothing else."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> None:
    """Run `hsgeo`; exit code 0 done, 1 our fault, 2 wrong usage or input, 130 interrupted."""
    from hsgeo.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
