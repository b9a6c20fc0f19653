"""The order of the house: which part may import which, how long files are, and how fast the package loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "hsgeo"

#: what a task puts together
WORKING = {"scene", "sensors", "observation", "unmixing", "diffusion", "networks", "methods", "engine", "quality"} | {
    "simulation"
}

#: each part and the parts it may import; every part may import hsgeo.errors and the version
MAY_IMPORT = {
    "sensors": set(),
    "scene": {"sensors"},
    "observation": {"sensors"},
    "unmixing": set(),
    "diffusion": set(),
    "networks": set(),
    "methods": {"scene", "sensors", "observation", "unmixing", "diffusion", "networks"},
    "engine": {"scene"},
    "quality": {"scene", "observation"},
    "simulation": {"scene", "sensors", "observation", "unmixing"},
    "tasks": WORKING,
    "bench": WORKING | {"tasks"},
    "cli": {"tasks", "engine", "bench"},
}  # fmt: skip
#: modules of a part that `cli` may reach besides `tasks`: the progress bar it owns, and the bench command's own part
CLI_REACH = {"hsgeo.engine.progress", "hsgeo.bench"}
FREE = {"errors", "__version__"}


def imports(path: Path) -> set[str]:
    """Absolute names of all hsgeo modules that a file imports, wherever in the file."""
    package = ["hsgeo", *path.relative_to(PACKAGE).parts[:-1]]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, node.module] if node.module else base)
            found |= {f"{name}.{alias.name}" for alias in node.names} if name == "hsgeo" else {name}
    return {name for name in found if name.split(".")[0] == "hsgeo"}


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_import_runs_against_the_order(path):
    part = path.relative_to(PACKAGE).parts[0]
    if part not in MAY_IMPORT:
        assert part in {"__init__.py", "__main__.py", "errors.py"}
        return
    for name in imports(path):
        target = name.split(".")[1] if "." in name else ""
        if not target or target in FREE or target == part:
            continue
        assert target in MAY_IMPORT[part], f"{path.name} imports {name}"
        if part == "cli" and target in ("engine", "bench"):
            assert any(name.startswith(allowed) for allowed in CLI_REACH), f"{path.name} imports {name}"


def test_the_order_has_no_circle():
    order: list[str] = []
    left = dict(MAY_IMPORT)
    while left:
        free = sorted(part for part, needs in left.items() if needs <= set(order))
        assert free, f"circle among {sorted(left)}"
        order += free
        for part in free:
            del left[part]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_stay_short(path):
    assert len(path.read_text().splitlines()) <= 400


def test_importing_hsgeo_and_its_commands_loads_nothing_heavy():
    heavy = ("torch", "distributed", "rasterio", "xarray")
    code = f"import sys, hsgeo, hsgeo.cli.app; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_part_is_on_the_map():
    text = (PACKAGE / "README.md").read_text()
    for part in MAY_IMPORT:
        assert f"`{part}/`" in text, part
