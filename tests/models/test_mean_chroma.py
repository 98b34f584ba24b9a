"""The networks of the mean colour: layers, counts, sizes, targets, and that they learn."""

import shlex
from itertools import pairwise

import numpy as np
import pytest
import skimage.data
import torch
import tyro
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from zcolor.models import mean_chroma
from zcolor.models.mean_chroma import SIDE, MeanChroma, MeanChromaOptions
from zcolor.registry import MODELS, find_family, load_model, save_model
from zcolor.settings import DecodeSettings
from zcolor.training.settings import TrainSettings

NETS = ("fc", "cnn1", "cnn2", "cnn3")
CNNS = NETS[1:]


def make(net="cnn1", **options):
    return MeanChroma(options=MeanChromaOptions(net=net, **options))


@pytest.fixture
def narrow(monkeypatch):
    """Fewer values in the layers: the fully connected ones take 690 MB as they are."""
    monkeypatch.setattr(mean_chroma, "_HIDDEN", (32, 16, 16, 8))
    monkeypatch.setitem(mean_chroma._MAPS, "cnn2", (4, 8, 16, 16, 16, 16))


def some_lightness(n=1, h=SIDE, w=SIDE):
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(6)) * 100


# ---- the layers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("net", "sizes", "published"),
    [
        ("fc", (128 * 128, 8192, 4096, 1024, 256, 2), 172_242_690),
        ("cnn1", (1, 3, 3, 3, 3, 3, 3, 2), 544),
        ("cnn2", (1, 16, 32, 64, 128, 256, 256, 2), 988_516),
        ("cnn3", (1, 32, 64, 128, 256, 256, 512, 2), 2_169_796),
    ],
)
def test_parameters_are_those_of_the_formula(net, sizes, published):
    taps, norms = (1, 0) if net == "fc" else (9, 2)
    expected = sum(taps * i * o + o + norms * i for i, o in pairwise(sizes))
    with torch.device("meta"):
        found = sum(p.numel() for p in make(net).parameters())
    assert found == expected == published


@pytest.mark.parametrize("net", CNNS)
def test_seven_blocks_halve_the_photo_to_one_pixel(net):
    layers = [*make(net).layers]
    norms, convolutions, activations = layers[0::3], layers[1::3], layers[2::3]
    assert [type(layer) for layer in norms] == [nn.BatchNorm2d] * 7
    assert [layer.stride for layer in convolutions] == [(2, 2)] * 7
    assert [type(layer) for layer in activations] == [nn.ReLU] * 6  # the last one is linear
    x = torch.zeros(1, 1, SIDE, SIDE)
    for layer in layers:
        x = layer.eval()(x)
    assert x.shape == (1, 2, 1, 1)


@pytest.mark.parametrize(
    ("activation", "kind"), [("relu", nn.ReLU), ("tanh", nn.Tanh), ("sigmoid", nn.Sigmoid)]
)
@pytest.mark.parametrize(("net", "n"), [("cnn1", 6), ("fc", 4)])
def test_activations_between_the_layers(net, n, activation, kind, narrow):
    found = [m for m in make(net, activation=activation).layers if type(m) in {
        nn.ReLU, nn.Tanh, nn.Sigmoid}]  # fmt: skip
    assert [type(m) for m in found] == [kind] * n


def test_a_loop_over_pixels_gives_the_same(narrow):
    """Batch norm, convolutions and activations by NumPy alone."""
    net = make("cnn1", activation="tanh")
    for layer in net.layers:
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.5, 0.5)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.uniform_(layer.bias, -1, 1)
    nn.init.normal_(net.layers[-1].weight)
    net.eval()
    lightness = some_lightness()
    values = {name: value.double().numpy() for name, value in net.state_dict().items()}
    x = (lightness[0].double().numpy() - 50) / 50
    for block in range(7):
        norm, conv = f"layers.{3 * block}.", f"layers.{3 * block + 1}."
        mean, variance = values[norm + "running_mean"], values[norm + "running_var"]
        gain = values[norm + "weight"] / np.sqrt(variance + 1e-5)
        x = (x - mean[:, None, None]) * gain[:, None, None] + values[norm + "bias"][:, None, None]
        x = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        side = (x.shape[1] - 2) // 2
        out = np.empty((len(values[conv + "bias"]), side, side))
        for row in range(side):
            for column in range(side):
                patch = x[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
                out[:, row, column] = np.tensordot(values[conv + "weight"], patch, 3)
        x = out + values[conv + "bias"][:, None, None]
        x = np.tanh(x) if block < 6 else x
    with torch.no_grad():
        np.testing.assert_allclose(net(lightness)[0].numpy(), x, atol=1e-4)


@pytest.mark.parametrize("net", ["fc", "cnn2"])
def test_a_new_network_answers_nearly_neutral(net, narrow):
    with torch.no_grad():
        ab = make(net).predict_ab(some_lightness(4), DecodeSettings())
    assert ab.abs().max() < 5


# ---- sizes -----------------------------------------------------------------------------------


@settings(max_examples=20)
@given(height=st.integers(1, 200), width=st.integers(1, 200), n=st.integers(1, 3))
def test_any_size(height, width, n):
    net = make().eval()
    with torch.no_grad():
        answer = net(some_lightness(n, height, width))
    assert answer.shape == (n, 2, 1, 1)
    assert answer.isfinite().all()


def test_a_photo_is_brought_to_128_pixels():
    net = make("cnn2").eval()
    nn.init.normal_(net.layers[-1].weight)
    photo = torch.tensor(skimage.data.camera()[None, None, 100:356:2, 50:306:2]) / 2.55
    with torch.no_grad():
        answer = net(photo)
        enlarged = net(photo.repeat_interleave(2, 2).repeat_interleave(3, 3))
        turned = net(photo.flip(2))
    assert (enlarged - answer).abs().max() < 0.2 * (turned - answer).abs().max()


@pytest.mark.parametrize("value", [0.0, 50.0, 100.0])
def test_constant_photos(value):
    net = make("cnn2").train()
    lightness = torch.full((2, 1, 40, 30), value)
    net.loss(net(lightness), net.target(torch.zeros(2, 2, 40, 30), lightness))["total"].backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_photos_of_a_batch_do_not_know_each_other():
    net = make("cnn2").eval()
    lightness = some_lightness(3, 32, 48)
    with torch.no_grad():
        alone = torch.cat([net(part) for part in lightness.split(1)])
        torch.testing.assert_close(net(lightness), alone)


# ---- targets and loss ------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [128, 255])
def test_the_loss_is_that_of_the_mean_colour(scale):
    net = make(scale=scale)
    ab = torch.rand(3, 2, 20, 30) * 120 - 60
    output = torch.rand(3, 2, 1, 1) - 0.5
    losses = net.loss(output, net.target(ab, some_lightness(3, 20, 30)))
    squares = [
        (output[i, c].item() - ab[i, c].double().numpy().mean() / scale) ** 2
        for i in range(3)
        for c in range(2)
    ]
    assert losses["total"].item() == pytest.approx(np.mean(squares), rel=1e-4)
    assert losses["rmse"].item() == pytest.approx(scale * np.mean(squares) ** 0.5, rel=1e-4)
    torch.testing.assert_close(net.to_ab(output, ab, DecodeSettings()), output * scale)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_every_parameter_has_a_gradient(net, activation, narrow):
    network = make(net, activation=activation)
    nn.init.normal_(network.layers[-1].weight)
    lightness = some_lightness(4)
    network.loss(network(lightness), torch.full((4, 2, 8, 8), 30.0))["total"].backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


# ---- learning --------------------------------------------------------------------------------


@pytest.mark.parametrize("net", ["fc", "cnn2"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_learns_two_photos_by_heart(net, activation, narrow):
    network = make(net, activation=activation)
    lightness = torch.stack(
        [torch.tensor(p[:SIDE, :SIDE]) for p in (skimage.data.camera(), skimage.data.moon())]
    )
    lightness = lightness.unsqueeze(1) / 2.55
    truth = torch.tensor([[20.0, -15.0], [-10.0, 30.0]]).view(2, 2, 1, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(80):
        optimizer.zero_grad()
        losses = network.loss(network(lightness), truth.expand(2, 2, 8, 8))
        losses["total"].backward()
        optimizer.step()
    assert losses["rmse"] < 2


# ---- options, header, checkpoint -------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["net=cnn4"], "net must be one of fc, cnn1, cnn2, cnn3"),
        (["activation=elu"], "activation must be one of relu, tanh, sigmoid"),
        (["scale=0"], "scale must be above 0"),
        (["scale=-1"], "scale must be above 0"),
        (["scale=nan"], "scale must be above 0"),
        (["scale=inf"], "scale must be above 0 and finite"),
        (["scale=much"], "scale must be of type float"),
        (["depth=7"], r"unknown option 'depth=7'; this model takes .*net \('cnn2'\)"),
    ],
)
def test_options_that_make_no_sense(words, message):
    with pytest.raises(ValueError, match=message):
        MeanChromaOptions.parse(words)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_checkpoint_gives_the_network_again(tmp_path, activation):
    net = MeanChroma(
        working_size=96, options=MeanChromaOptions.parse([f"activation={activation}", "scale=255"])
    )
    net.train()(some_lightness(4))  # statistics of the norms
    save_model(tmp_path / "net.safetensors", net.eval(), {}, half=False)
    again = load_model(tmp_path / "net.safetensors")
    assert (again.working_size, again.options) == (96, net.options)
    assert again.scale == 255
    decode = DecodeSettings()
    with torch.no_grad():
        lightness = some_lightness(2, 50, 70)
        ab, expected = (n.predict_ab(lightness, decode) for n in (again, net))
    torch.testing.assert_close(ab, expected)


def test_the_row_leads_to_the_family_and_its_recipe_is_understood():
    assert find_family("mean-chroma") is MeanChroma
    recipe = shlex.split(MODELS["mean-chroma"].recipe)
    settings = tyro.cli(TrainSettings, args=[*recipe, "--model", "mean-chroma"])
    assert settings.crops == (SIDE,)
    assert (settings.optimizer, settings.lr, settings.weight_decay) == ("adam", 1e-3, 1e-5)
