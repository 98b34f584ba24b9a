"""The study of initialisation: weights, measures of a network that begins, resuming, page."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import nn

from studies import initialisation
from studies.initialisation import (
    GAINS,
    STARTS,
    InitialisationSettings,
    build,
    inputs_of,
    inside_share,
    key_of,
    layers_of,
    main,
    measure_start,
    run,
)
from zcolor.training.loader import Batch

HE, XAVIER = GAINS
TINY = 1 / 32


@pytest.fixture
def batch():
    pixels = torch.from_numpy(data.astronaut()[:64, :64].copy()).permute(2, 0, 1)
    target = torch.stack((pixels[:, :32, :32], pixels[:, 32:, 32:]))
    return Batch(target, target, 2)


@pytest.fixture
def tiny(tmp_path):
    """Two steps on three small photographs."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, photo in enumerate((data.astronaut(), data.cat(), data.coffee())):
        Image.fromarray(photo).resize((48, 40)).save(folder / f"{i}.png")
    return InitialisationSettings(
        photos=(folder,),
        steps=2,
        batch=2,
        crop=16,
        width=TINY,
        runs=tmp_path / "runs",
        pages=tmp_path / "pages",
    )


# ---- weights ---------------------------------------------------------------------------------


def test_inputs_are_what_reaches_one_output():
    """With all weights and all inputs 1, an output far from the edges is the number of inputs."""
    for layer in layers_of(build(2.0, norms=True, width=TINY, seed=0)):
        nn.init.ones_(layer.weight)
        with torch.no_grad():
            out = layer(torch.ones(1, layer.in_channels, 16, 16))
        assert out[0, 0, out.shape[2] // 2, out.shape[3] // 2].item() == inputs_of(layer)


def test_the_same_numbers_at_two_sizes():
    he, xavier = (build(GAINS[n], norms=True, width=TINY, seed=3) for n in (HE, XAVIER))
    for a, b in zip(layers_of(he), layers_of(xavier), strict=True):
        torch.testing.assert_close(a.weight, b.weight * math.sqrt(2))
    assert torch.equal(he.classifier.weight, xavier.classifier.weight)
    other = build(2.0, norms=True, width=TINY, seed=4)
    assert not torch.equal(layers_of(other)[0].weight, layers_of(he)[0].weight)


@pytest.mark.parametrize("name", GAINS)
def test_variance_of_the_weights(name):
    for layer in layers_of(build(GAINS[name], norms=True, width=0.25, seed=0)):
        n = layer.weight.numel()
        variance = layer.weight.double().var().item()
        assert variance * inputs_of(layer) == pytest.approx(GAINS[name], rel=6 * (2 / n) ** 0.5)


def test_norms_are_kept_or_taken_out():
    counts = [
        sum(
            isinstance(m, nn.BatchNorm2d) for m in build(2.0, norms=n, width=TINY, seed=0).modules()
        )
        for n in (True, False)
    ]
    assert counts == [7, 0]
    assert len(layers_of(build(2.0, norms=False, width=TINY, seed=0))) == 22


# ---- measures --------------------------------------------------------------------------------


def test_without_norms_every_layer_halves_what_xavier_lets_through(batch):
    """Biases are 0 and a ReLU is homogeneous: layer k differs by exactly 2^(-k / 2)."""
    he, xavier = (
        measure_start(build(GAINS[n], norms=False, width=TINY, seed=0), batch) for n in (HE, XAVIER)
    )
    ratios = np.divide(xavier["activations"], he["activations"])
    np.testing.assert_allclose(ratios, 2 ** (-np.arange(1, 23) / 2), rtol=1e-3)


def test_measures_by_hand(batch):
    """Layer by layer without hooks and without anything done in place."""
    net = build(2.0, norms=True, width=TINY, seed=1)
    got = measure_start(net, batch)
    assert all(p.grad is None for p in net.parameters())
    lightness, ab = initialisation.to_device(batch, torch.device("cpu"))
    x, answers = (lightness - 50) / 50, []
    for group in net.groups:
        for module in group:
            x = torch.relu(x) if isinstance(module, nn.ReLU) else module(x)
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                answers.append(x)
    loss = net.loss(net.classifier(x), net.target(ab, lightness))["total"]
    weights = [layer.weight for layer in layers_of(net)]
    signals = torch.autograd.grad(loss, answers, retain_graph=True)
    gradients = torch.autograd.grad(loss, weights)
    for i, (answer, signal) in enumerate(zip(answers, signals, strict=True)):
        forward = answer.detach().numpy().astype(np.float64)
        assert got["activations"][i] == pytest.approx(np.sqrt((forward**2).mean()), rel=1e-4)
        back = 2 * signal.numpy().astype(np.float64)  # of one photo's loss; there are two
        assert got["signals"][i] == pytest.approx(np.sqrt((back**2).mean()), rel=1e-2)
        share = gradients[i].norm() / weights[i].norm()
        assert got["gradients"][i] == pytest.approx(share.item(), rel=1e-2)


@pytest.mark.parametrize(("side", "dilation"), [(6, 1), (6, 2), (16, 2), (2, 2)])
def test_share_of_the_taps_inside(side, dilation):
    conv = nn.Conv2d(1, 1, 3, padding=dilation, dilation=dilation, bias=False)
    nn.init.ones_(conv.weight)
    with torch.no_grad():
        share = conv(torch.ones(1, 1, side, side)).mean().item() / 9
    assert inside_share(side, dilation) == pytest.approx(share)


# ---- the study -------------------------------------------------------------------------------


def test_the_page_and_that_nothing_is_done_twice(tiny, monkeypatch):
    page = main(tiny)
    text = page.read_text()
    kept = json.loads((tiny.runs / "results.json").read_text())["results"]
    assert set(kept) == {key_of(name, 0, norms=norms) for name, norms in STARTS}
    assert all(len(result["losses"]) == 2 for result in kept.values())
    assert text.count("| Xavier (1/n), no norm |") == 3
    for picture in ("initialisation-start.png", "initialisation-losses.png"):
        assert f"({picture})" in text
        assert 1000 < (tiny.pages / picture).stat().st_size < 400_000

    def refuse(*args, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr(initialisation, "train_one", refuse)
    assert run(tiny) == kept
    with pytest.raises(AssertionError, match="trained again"):
        run(replace(tiny, seeds=2))
    with pytest.raises(ValueError, match=r"results of other settings or photographs.*--runs"):
        run(replace(tiny, steps=3))


def test_all_networks_see_the_same_crops_first(tiny, monkeypatch):
    seen = []
    measure = initialisation.measure_start

    def spy(net, batch):
        seen.append(batch.target)
        return measure(net, batch)

    monkeypatch.setattr(initialisation, "measure_start", spy)
    results = run(replace(tiny, steps=1))
    assert len(seen) == 4
    assert all(torch.equal(target, seen[0]) for target in seen)
    first = [results[key_of(n, 0, norms=norms)]["losses"][0] for n, norms in STARTS]
    assert first == pytest.approx([math.log(324)] * 4, abs=0.15)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps and seeds must be at least 1"),
        ({"batch": 1}, "batch at least 2"),
        ({"crop": 20}, "crops must be multiples of 8"),
        ({"lr": 0.0}, "width and lr must be above 0"),
    ],
)
def test_senseless_settings_are_refused(tiny, options, words):
    with pytest.raises(ValueError, match=words):
        replace(tiny, **options)
