"""``python -m hsgeo``."""

from hsgeo.cli import main

main()
