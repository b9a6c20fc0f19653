from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsgeo.engine import memory
from hsgeo.engine.memory import available_memory, choose_tile, format_size, parse_size, peak_rss, tree_rss
from hsgeo.errors import ParameterError

GIB = 1 << 30


@pytest.mark.parametrize(("text", "size"), [
    ("4GiB", 4 * GIB), ("4 gib", 4 * GIB), ("2g", 2 * 10**9), ("500MB", 500 * 10**6), ("0.5GiB", GIB // 2),
    (1024, 1024), ("1e9", 10**9), ("8Ki", 8192), ("123", 123), ("64b", 64),
])  # fmt: skip
def test_sizes_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "four", "4Gi B", "-1GiB", "0", "4XiB", "i", "nan", "1 2"])
def test_what_is_not_a_size_is_refused(text):
    with pytest.raises(ParameterError):
        parse_size(text)


def test_sizes_are_written():
    assert [format_size(n) for n in (12, 2048, 3 * GIB, 5 << 40)] == ["12 bytes", "2 KiB", "3 GiB", "5 TiB"]


@settings(deadline=None, derandomize=True)
@given(
    st.integers(256 << 20, 64 * GIB), st.integers(1, 8000), st.integers(0, 40), st.integers(1, 12), st.integers(1, 8)
)
def test_a_tile_stays_within_its_share(limit, per_pixel, halo, multiple, tasks):
    try:
        tile = choose_tile(limit, per_pixel, halo=halo, multiple=multiple, tasks=tasks)
    except ParameterError as error:
        assert "give at least" in str(error)
        return
    processes = tasks + 1 if tasks > 1 else 1
    assert tile % multiple == 0 and 0 < tile <= 1024
    assert tasks * (tile + 2 * halo) ** 2 * per_pixel <= max(limit - processes * memory.BASE, limit / 4)


def test_tiles_line_up_with_file_blocks_where_they_can():
    assert choose_tile("4GiB", 3000) == 1024
    assert choose_tile("2GiB", 3000) == 512
    assert choose_tile("4GiB", 3000, multiple=3) == 768
    assert choose_tile("4GiB", 3000, multiple=10) % 640 == 0
    assert choose_tile("4GiB", 3000, multiple=37) % 37 == 0
    assert choose_tile("4GiB", 3000, multiple=3, shape=(7, 5)) == 9
    assert choose_tile("4GiB", 3000, shape=(700, 300)) == 700


def test_more_tasks_mean_smaller_tiles_and_more_memory_larger_ones():
    one, four = choose_tile("8GiB", 8000), choose_tile("8GiB", 8000, tasks=4)
    assert four < one
    assert choose_tile("1GiB", 20000) <= choose_tile("3GiB", 20000)


def test_the_message_names_what_would_be_enough():
    with pytest.raises(ParameterError) as caught:
        choose_tile("10MiB", 10000, halo=20)
    enough = str(caught.value).rsplit("at least ", 1)[1].rstrip(".")
    assert choose_tile(enough, 10000, halo=20) >= 16


def test_available_memory_heeds_the_container(tmp_path):
    assert 0 < available_memory(tmp_path) < 1 << 50
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert available_memory(tmp_path) == 600000
    (tmp_path / "memory.max").write_text("max\n")
    assert available_memory(tmp_path) > 600000


def test_resident_sizes():
    assert tree_rss() > 10 << 20
    assert peak_rss() > 10 << 20


def test_the_engine_loads_neither_torch_nor_distributed():
    code = (
        "import sys, numpy as np; from hsgeo.engine.run import run, Output; from hsgeo.engine.plan import TilePlan;"
        "import hsgeo.engine.progress, tempfile;"
        "t = tempfile.mkdtemp();"
        "r = run(lambda b, d: np.ones(b.core.shape), TilePlan(9, 9, tile=4), {'a': Output(1, 'uint8')}, t + '/s',"
        " identity={}, devices='cpu');"
        "assert (r.arrays['a'][...] == 1).all();"
        "print([m for m in ('torch', 'distributed', 'rasterio', 'xarray') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
