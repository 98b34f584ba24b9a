"""The study of shortcuts: data, networks, measures, resuming, page."""

import json
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from tqdm import tqdm

from studies import digits
from studies.digits import (
    NETWORKS,
    DigitNet,
    Digits,
    DigitsSettings,
    comparison,
    error_percent,
    first_gradients,
    load_digits,
    main,
    run,
    train_one,
)

THIN = (2, 2, 4, 4)


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Two epochs over forty pictures of ten kinds, each a pattern of its own with little noise."""
    y = torch.arange(40) % 10
    x = torch.randn(10, 1, 8, 8)[y] + torch.randn(40, 1, 8, 8) / 10
    monkeypatch.setattr(digits, "load_digits", lambda s, seed: Digits((x, y), (x[:10], y[:10])))
    return DigitsSettings(
        epochs=2,
        seeds=1,
        channels=THIN,
        batch=20,
        runs=tmp_path / "runs",
        pages=tmp_path / "pages",
    )


# ---- data ------------------------------------------------------------------------------------


def test_digits_are_split_evenly_and_whole():
    s = DigitsSettings()
    found = load_digits(s, seed=1)
    (x, y), (test_x, test_y) = found.train, found.test
    assert len(x) == len(y) == 1437
    assert len(test_x) == len(test_y) == 360
    assert x.shape[1:] == test_x.shape[1:] == (1, 8, 8)
    assert x.mean().item() == pytest.approx(0, abs=1e-3)
    assert x.std().item() == pytest.approx(1, abs=1e-3)
    shares = Counter(test_y.tolist())
    assert all(abs(shares[digit] - (y == digit).sum() / 4) < 1 for digit in range(10))
    everything = {tuple(np.round(p.flatten().numpy(), 4)) for p in torch.cat((x, test_x))}
    assert len(everything) == 1797  # no digit is in both parts, none is lost


def test_another_seed_is_another_split_and_a_larger_side_the_same_digits():
    s = DigitsSettings()
    first, again, other = (load_digits(s, seed).test[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    large = load_digits(replace(s, side=16), 0)
    assert large.test[0].shape[-2:] == (16, 16)
    assert torch.equal(large.test[1], first)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(
        ModuleNotFoundError, match=r'scikit-learn: .* -m pip install "zcolor\[study\]"'
    ):
        load_digits(DigitsSettings(), 0)


# ---- networks --------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "depth"), NETWORKS)
def test_depth_counts_layers_with_weights(kind, depth):
    net = DigitNet(depth, shortcuts=kind == "residual", channels=THIN)
    assert len(net.layers()) == depth
    assert isinstance(net.layers()[-1], nn.Linear)
    assert net(torch.rand(3, 1, 8, 8)).shape == (3, 10)


@pytest.mark.parametrize("depth", [18, 34])
def test_plain_lacks_the_projections_alone(depth):
    residual, plain = (DigitNet(depth, shortcuts=s, channels=THIN) for s in (True, False))
    shapes = {name: value.shape for name, value in residual.state_dict().items()}
    left = {name: value.shape for name, value in plain.state_dict().items()}
    assert left == {name: s for name, s in shapes.items() if ".downsample." not in name}


def test_what_gets_past_a_block_that_is_closed():
    pictures = torch.randn(2, 1, 8, 8)
    for shortcuts in (True, False):
        net = DigitNet(18, shortcuts=shortcuts, channels=THIN).eval()
        nn.init.zeros_(net.stages[1][1].conv2.weight)
        with torch.no_grad():
            first, second = net(pictures)
        assert torch.equal(first, second) is not shortcuts


def test_gradients_at_the_start_by_hand():
    torch.manual_seed(4)
    net = DigitNet(18, shortcuts=True, channels=THIN)
    x, y = torch.randn(6, 1, 8, 8), torch.arange(6)
    shares = first_gradients(net, x, y)
    assert len(shares) == 18
    assert all(p.grad is None for p in net.parameters())
    p = net(x).softmax(dim=1)
    features = {}
    net.classifier.register_forward_pre_hook(lambda _, given: features.update(x=given[0]))
    net(x)
    # Softmax and cross-entropy: the mean of (p - one hot) times what enters the last layer.
    wanted = (p - nn.functional.one_hot(y, 10)).T @ features["x"] / 6
    assert shares[-1] == pytest.approx((wanted.norm() / net.classifier.weight.norm()).item(), 1e-3)


def test_error_is_the_share_of_wrong_answers():
    class Fixed(nn.Module):
        def forward(self, x):
            return torch.eye(10)[x]

    x, y = torch.tensor([1, 2, 3, 4]), torch.tensor([1, 2, 0, 4])
    assert error_percent(Fixed(), x, y) == 25


# ---- the study -------------------------------------------------------------------------------


def test_training_learns(tiny):
    s = replace(tiny, epochs=12, lr=0.1, channels=(8, 8, 16, 16))
    data = digits.load_digits(s, 0)
    with tqdm(disable=True) as bar:
        result = train_one("residual", 18, 0, s, data, bar)
    assert result["loss"][-1] < 1 < result["loss"][0]
    assert result["train"][-1] < 60 < result["train"][0]
    assert len(result["loss"]) == len(result["test"]) == 12


def test_the_page_and_that_nothing_is_done_twice(tiny, monkeypatch):
    page = main(tiny)
    text = page.read_text()
    kept = json.loads((tiny.runs / "results.json").read_text())["results"]
    assert set(kept) == {f"{kind}-{depth}-0" for kind, depth in NETWORKS}
    assert all(f"| {kind} {depth} |" in text for kind, depth in NETWORKS)
    assert "plain 34 against plain 18: test error" in text
    for picture in ("digits-curves.png", "digits-gradients.png"):
        assert f"({picture})" in text
        assert 1000 < (tiny.pages / picture).stat().st_size < 400_000

    def refuse(*args):
        raise AssertionError("trained again")

    monkeypatch.setattr(digits, "train_one", refuse)
    assert run(tiny) == kept
    with pytest.raises(AssertionError, match="trained again"):
        run(replace(tiny, seeds=2))
    with pytest.raises(ValueError, match=r"results of other settings.*--runs"):
        run(replace(tiny, lr=0.2))


def test_comparison_is_by_seed():
    last = {"plain-18": (4, 5), "residual-18": (3, 3), "plain-34": (6, 9), "residual-34": (2, 4)}
    results = {f"{k}-{seed}": {"test": [50, v[seed]]} for k, v in last.items() for seed in (0, 1)}
    lines = comparison(results, DigitsSettings(seeds=2)).splitlines()
    assert "plain 34 against plain 18: test error +3.00 points (+2.00, +4.00 by seed)" in lines[0]
    assert "residual 34 against residual 18: test error +0.00 points (-1.00, +1.00" in lines[1]
    assert "plain 34 against residual 34: test error +4.50 points (+4.00, +5.00" in lines[2]


@pytest.mark.parametrize(
    "options", [{"epochs": 0}, {"seeds": 0}, {"side": 4}, {"lr": 0.0}, {"test_share": 1.0}]
)
def test_senseless_settings_are_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=rf"{name}.* must be|and {name} (at least|between)"):
        DigitsSettings(**options)
