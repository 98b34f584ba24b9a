"""What old film costs: the rows, and that a network blind to an effect loses nothing by it."""

import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from benchmarks import film
from benchmarks.film import ALL, CLEAN, EMULSIONS, Settings, ageings
from zcolor.models.zhang import Zhang
from zcolor.registry import save_model
from zcolor.training.film import SPECTRA, degraded


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(1)
    net = Zhang(width=1 / 16, working_size=32)
    nn.init.normal_(net.classifier.weight, std=300.0)
    save_model(tmp_path / "tiny.safetensors", net, {})
    return tmp_path / "tiny.safetensors"


def test_every_effect_has_a_row_in_which_it_is_alone():
    rows = ageings()
    assert rows[CLEAN] is None
    assert rows["all but the spectrum"].spectrum_chance == 0 < rows[ALL].spectrum_chance
    alone = {name: row for name, row in rows.items() if name.endswith(" alone")}
    assert len(alone) == 10
    for name, row in alone.items():
        chances = {k: v for k, v in vars(row).items() if k.endswith("_chance") and v}
        assert list(chances) == [f"{name.removesuffix(' alone')}_chance"]


@pytest.mark.parametrize(("k", "emulsion"), list(enumerate(EMULSIONS)))
def test_every_emulsion_has_a_row_without_the_others(k, emulsion):
    rng = np.random.default_rng(0)
    colors = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    pure = degraded(colors, 0, settings=ageings()[f"{emulsion} film"])
    linear = np.where(
        colors <= 0.04045 * 255, colors / 255 / 12.92, ((colors / 255 + 0.055) / 1.055) ** 2.4
    )
    light = linear @ SPECTRA[k]
    display = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    grey = pure if pure.ndim == 2 else pure[..., 0]
    assert np.abs(grey / 255 - display).max() < 1.5 / 255
    everything = ageings()[f"{emulsion} film, all effects"]
    assert everything.spectrum == ageings()[f"{emulsion} film"].spectrum
    assert everything.grain_chance == ageings()[ALL].grain_chance > 0


def test_the_table_says_what_is_lost(weights, tmp_path, capsys, monkeypatch):
    for i, photo in enumerate((data.astronaut(), data.coffee())):
        cv2.imwrite(str(tmp_path / f"{i}.png"), photo[100:228, 100:260, ::-1])
    only = dict(list(ageings().items())[:2])
    monkeypatch.setattr(film, "ageings", lambda: only)
    film.main(Settings((str(tmp_path),), photos=2, model=str(weights), jobs=1))
    lines = capsys.readouterr().out.splitlines()
    head, _, clean, aged = ([c.strip() for c in line.strip("|").split("|")] for line in lines)
    assert len(head) == len(clean) == len(aged) == 7
    assert [clean[0], aged[0]] == [CLEAN, ALL]
    assert all(20 < float(clean[k]) < 100 for k in (1, 2, 4, 5))
    # The random network answers to what it sees, so that ageing changes something.
    assert any(abs(float(aged[k])) > 0 for k in (1, 2, 4, 5))
    assert all(np.isfinite(float(cell)) for cell in aged[1:])
