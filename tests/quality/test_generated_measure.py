"""All measures together, on copies, on a generator without a model, and on real ground that was held back."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hsgeo.bench.protocols import on_grid
from hsgeo.errors import BandError, DataError, ParameterError
from hsgeo.quality.generated import measure as module
from hsgeo.quality.generated import telling
from hsgeo.quality.generated.components import Components
from hsgeo.quality.generated.diversity import nearest_blocks
from hsgeo.quality.generated.measure import Settings, Tile, measure
from hsgeo.quality.generated.pieces import Piece, Real, cut_blocks, spectra
from hsgeo.quality.generated.telling import told_apart

BANDS = 12
ENDMEMBERS = np.random.default_rng(5).uniform(0.05, 0.6, (4, BANDS))


def ground(side, seed):
    """Smooth mixtures of four spectra with a little noise, alike everywhere."""
    rng = np.random.default_rng(seed)
    fields = gaussian_filter(rng.standard_normal((4, side, side)), (0, 3, 3), mode="wrap")
    weights = np.exp(2 * fields / fields.std())
    values = np.tensordot(ENDMEMBERS.T, weights / weights.sum(0), 1)
    return (values + 0.003 * rng.standard_normal(values.shape)).astype(np.float32)


def random_mixtures(count, side, seed):
    """Of the same spectra and noise, every pixel by itself."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(4), (count, side, side))
    values = np.einsum("pb,nyxp->nbyx", ENDMEMBERS, weights)
    return (values + 0.003 * rng.standard_normal(values.shape)).astype(np.float32)


def tiles_of(blocks):
    return [Tile(f"t{i}", on_grid(block, 10)) for i, block in enumerate(blocks)]


@pytest.fixture(scope="module")
def scene():
    return on_grid(ground(96, 0), 10)


def measured(scene, blocks, **settings):
    notes: list[str] = []
    return measure(scene, tiles_of(blocks), Settings(**settings), None, notes).values, notes


def told(scene, blocks):
    pieces = [Piece(scene.values)]
    nearest = nearest_blocks(blocks, Real(scene, np.arange(BANDS)), 4)
    places = nearest.row[:, 0], nearest.column[:, 0], nearest.similarity[:, 0]
    return told_apart(pieces, blocks, places, Components.of(spectra(pieces, 10**6, np.random.default_rng(0))))


def test_copies_are_perfect_but_for_the_diversity(scene):
    places = [(2 * y, 2 * x) for y, x in np.random.default_rng(2).integers(0, 32, (9, 2))]
    values, notes = measured(scene, [scene.values[:, y : y + 32, x : x + 32] for y, x in places], networks=False)
    assert values["point_fidelity"] == pytest.approx(1, abs=1e-6)
    assert values["block_diversity"] == pytest.approx(1, abs=1e-5)
    assert 0.99 < values["own_point_fidelity"] < values["point_fidelity"]
    assert values["own_block_diversity"] < 0.97 and values["memorised_most"] == pytest.approx(1)
    found = {m["tile"]: (m["real_row"], m["real_column"], m["rotation"]) for m in values["memorisation"]}
    assert found == {f"t{i}": (y, x, 0) for i, (y, x) in enumerate(places)}
    real = values["real_blocks"]
    for key in ("spectral_angle_distance", "variogram_distance", "layout_distance"):
        assert values[key] < 3 * real[key] + 0.05, key
    assert values["measured"]["block"] == 32 and values["measured"]["real_blocks"] == 33**2 and notes == []


def test_a_copy_between_the_offsets_of_the_stride_is_found(scene):
    values, _ = measured(scene, [scene.values[:, 3:35, 5:37]], networks=False)
    assert values["block_diversity"] < 0.9999 and values["memorised_most"] == pytest.approx(1)
    assert (values["memorisation"][0]["real_row"], values["memorisation"][0]["real_column"]) == (3, 5)


def test_turned_copies_count_where_turns_do(scene):
    turned = [np.rot90(scene.values[:, 8:40, 20:52], axes=(1, 2)).copy(), scene.values[:, 0:32, 4:36]]
    still = measured(scene, turned, networks=False)[0]
    moved = measured(scene, turned, networks=False, orientations=4)[0]
    assert moved["block_diversity"] == pytest.approx(1, abs=1e-5) and still["block_diversity"] < 0.99
    assert still["memorised_most"] == pytest.approx(1)
    assert {m["rotation"] for m in still["memorisation"]} == {0, 90}


def test_random_mixtures_pass_the_published_measures_and_no_other(scene):
    values, notes = measured(scene, random_mixtures(8, 32, 1))
    assert values["point_fidelity"] > 0.999 and values["block_diversity"] < values["own_block_diversity"] + 0.02
    real = values["real_blocks"]
    for key in ("variogram_distance", "layout_distance", "fid"):
        assert values[key] > 3 * real[key], key
    assert values["variogram_distance"] > 0.5
    assert values["told_apart"] > 0.95 and values["told_apart_error"] < 0.05
    assert values["details"]["classifier_accuracy"] > 0.6 and 1 <= values["inception_score"] < real["inception_score"]
    assert notes == []


def test_real_ground_that_was_held_back_cannot_be_told(scene):
    blocks, _ = cut_blocks([Piece(ground(96, 7))], 32)
    found = told(scene, blocks)
    assert found.block == 8 and found.real == 144 and found.generated == 144
    assert abs(found.accuracy - 0.5) < 3 * found.error < 0.25


def test_what_is_tested_was_not_learned_from(scene, monkeypatch):
    learned: list[set[complex]] = []

    def pixels(blocks):
        return set((blocks[:, 0] + 1j * blocks[:, 1]).ravel().tolist())

    def taught(crops, generated, side, seed, device):
        real = np.stack([crops.at(*place)[0][:2] for place in crops.places])
        learned.append(pixels(real) | pixels(generated))

    def logits(net, blocks, device):
        assert learned[-1] and not learned[-1] & pixels(blocks)
        return np.zeros(len(blocks))

    monkeypatch.setattr(telling, "_taught", taught)
    monkeypatch.setattr(telling, "_logits", logits)
    found = told(scene, cut_blocks([Piece(ground(96, 7))], 32)[0])
    assert len(learned) == 4 and found.real == found.generated == 144 and found.accuracy == 0.5


def test_what_is_told_is_the_same_every_time(scene, monkeypatch):
    monkeypatch.setattr(telling, "STEPS", 5)
    blocks = random_mixtures(4, 32, 1)
    assert told(scene, blocks) == told(scene, blocks)


def test_missing_noise_is_told(scene):
    clean = gaussian_filter(ground(96, 7), (1, 0, 0))
    assert told(scene, cut_blocks([Piece(clean)], 32)[0]).accuracy > 0.8


def test_labels_and_class_maps(scene):
    classes = (np.indices((96, 96))[0] // 6 % 2 + 1).astype(np.float32)
    labels = on_grid(classes[None] * 10, 10)
    cut = [scene.values[:, :32, :32], scene.values[:, 32:64, 32:64]]
    maps = [on_grid(classes[None, :32, :32] * 10, 10), on_grid(np.full((1, 32, 32), 10), 10)]
    tiles = [Tile("a", on_grid(cut[0], 10), maps[0]), Tile("b", on_grid(cut[1], 10), maps[1])]
    settings, notes = Settings(networks=False), []
    only = measure(scene, tiles[:1], settings, labels, notes).values
    both = measure(scene, tiles, settings, labels, notes).values
    assert only["layout_distance"] < 0.1 < both["layout_distance"] and notes == []
    assert both["class_frequency_distance"] == pytest.approx(0.25, abs=0.05)
    assert both["details"]["classes"]["source"] == "the label raster"
    bare = measure(scene, tiles_of(cut), settings, labels, notes).values
    assert bare["layout_distance"] is None and "NAME_classes.tif" in notes[0]


def test_gaps_and_bad_bands_are_left_out(scene):
    holed = scene.copy(deep=True)
    holed.values[:, 40:44, 50] = np.nan
    holed.values[3] = np.nan
    blocks = np.stack([scene.values[:, :32, :32], scene.values[:, 60:92, 60:92]])
    blocks[1, :, 5, 6] = np.nan
    blocks[:, 3] = 7
    values, _ = measured(holed, blocks, networks=False, block=16)
    assert values["measured"]["bands"] == BANDS - 1 and values["measured"]["blocks"] == 7
    assert values["measured"]["pixels"] == 2 * 32**2 - 1
    assert values["point_fidelity"] == pytest.approx(1, abs=1e-6)
    assert values["block_diversity"] == pytest.approx(1, abs=1e-5)


def test_small_tiles_go_without_networks(scene):
    values, notes = measured(scene, [scene.values[:, :7, :6]], stride=5)
    assert values["measured"]["block"] == 6 and values["told_apart"] is None and values["fid"] is None
    assert len(notes) == 2 and all("left out" in note for note in notes)


def test_much_is_measured_by_a_part(scene, monkeypatch):
    monkeypatch.setattr(module, "PIXELS", 100)
    monkeypatch.setattr(module, "BLOCKS", 3)
    values, _ = measured(scene, [scene.values], networks=False)
    assert values["measured"]["pixels"] == 100 and values["measured"]["blocks"] == 3
    monkeypatch.setattr(module, "WORK", 8 * 33 * 48**2 * BANDS * 20**2)
    monkeypatch.setattr(module, "BLOCKS", 256)
    monkeypatch.setattr(module, "FEWEST", (2, 40))
    monkeypatch.setattr(module, "OFFSETS", 96**2 / 25)
    values, _ = measured(scene, [scene.values], networks=False, block=10, stride=2)
    assert values["measured"]["pixels"] == 100 and values["measured"]["blocks"] == 81
    values, _ = measured(scene, [scene.values], networks=False, block=20)
    assert values["measured"]["stride"] == 5 and values["measured"]["blocks"] == 16
    monkeypatch.setattr(module, "WORK", 1)
    values, _ = measured(scene, [scene.values], networks=False, block=20)
    assert values["measured"]["pixels"] == 40 and values["measured"]["blocks"] == 2


def test_what_does_not_fit_is_refused(scene):
    with pytest.raises(BandError, match=r"has 5 bands, .* 12"):
        measured(scene, [scene.values[:5]])
    named = scene.assign_coords(wavelength=("band", np.linspace(400.0, 900, BANDS)))
    other = on_grid(scene.values, 10, np.linspace(400.0, 950, BANDS))
    with pytest.raises(BandError, match="nm"):
        measure(named, [Tile("a", other)], Settings(), None, [])
    with pytest.raises(DataError, match="no good band"):
        measured(scene, [scene.values * np.nan])
    with pytest.raises(ParameterError, match="smaller than a block of 40"):
        measured(scene, [scene.values[:, :32, :32]], block=40)
    cells = scene.values.copy()
    cells[:, :, 33::40] = cells[:, 33::40] = np.nan  # one block alone
    assert measured(on_grid(cells, 10), [scene.values[:, :32, :32]], networks=False)[0]["real_blocks"]["fid"] is None
    gaps = scene.values.copy()
    gaps[:, ::3] = np.nan
    with pytest.raises(DataError, match="holds no block"):
        measured(on_grid(gaps, 10), [scene.values[:, :32, :32]])
    with pytest.raises(DataError, match="hold no block"):
        measured(scene, [gaps])
    for wrong in ({"block": 2}, {"stride": 0}, {"orientations": 2}):
        with pytest.raises(ParameterError):
            Settings(**wrong)
