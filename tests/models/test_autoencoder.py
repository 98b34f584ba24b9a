"""Autoencoders: layers, counts, what each activation can answer, any size, and that they learn."""

import dataclasses
import itertools

import pytest
import skimage.data
import torch
import torch.nn.functional as F
from torch import nn

from zcolor.lab import rgb_to_lab
from zcolor.models.autoencoder import Autoencoder, AutoencoderOptions
from zcolor.models.layers import PlainDecoder, PlainEncoder, scaled_and_padded
from zcolor.registry import ModelEntry, load_model, save_model
from zcolor.settings import DecodeSettings

TINY = AutoencoderOptions(channels=2)
PLAIN = AutoencoderOptions(layout="plain")


@pytest.fixture
def row(monkeypatch):
    entry = ModelEntry("zcolor.models.autoencoder:Autoencoder", "", "")
    monkeypatch.setattr("zcolor.registry.MODELS", {"autoencoder": entry})


def make(**changes):
    return Autoencoder(options=dataclasses.replace(TINY, **changes)).eval()


def some_lightness(n=1, h=32, w=32):
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(6)) * 100


def two_photos(side=32):
    """Lightness and ab of two photographs."""
    photos = [skimage.data.astronaut(), skimage.data.coffee()]
    rgb = [torch.from_numpy(p[:400, :400].copy()).permute(2, 0, 1).float() / 255 for p in photos]
    lab = rgb_to_lab(F.interpolate(torch.stack(rgb), (side, side), mode="area"))
    return lab[:, :1], lab[:, 1:]


def of_kind(module, kind):
    return [m for m in module.modules() if isinstance(m, kind)]


# ---- the layers ------------------------------------------------------------------------------


def test_deep_has_five_blocks_down_and_five_up():
    net = make(channels=4)
    assert [c.out_channels for c in of_kind(net.encoder, nn.Conv2d)] == [4, 8, 16, 32, 64]
    assert [c.stride for c in of_kind(net.encoder, nn.Conv2d)] == [(2, 2)] * 5
    assert [c.out_channels for c in of_kind(net.decoder, nn.Conv2d)] == [32, 16, 8, 4, 2]
    assert len(of_kind(net.decoder, nn.Upsample)) == 5


def test_batch_norm_stands_before_each_convolution():
    net = make()
    layers = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d | nn.Conv2d)]
    assert len(layers) == 20
    for norm, conv in zip(layers[::2], layers[1::2]):
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(conv, nn.Conv2d)
        assert norm.num_features == conv.in_channels


def test_plain_has_the_published_channels_and_strides():
    net = Autoencoder(options=PLAIN)
    encoder, decoder = (of_kind(m, nn.Conv2d) for m in (net.encoder, net.decoder))
    assert [(c.out_channels, c.stride[0]) for c in encoder] == [
        (64, 2), (128, 1), (128, 2), (256, 1), (256, 2), (512, 1), (512, 1), (256, 1)
    ]  # fmt: skip
    assert [c.out_channels for c in decoder] == [128, 64, 64, 32, 2]
    kinds = [type(m).__name__ for m in net.decoder if not isinstance(m, nn.ReLU)]
    assert kinds == [
        "Conv2d", "Upsample", "Conv2d", "Conv2d", "Upsample", "Conv2d", "Conv2d", "Tanh", "Upsample"
    ]  # fmt: skip


def weights_of(channels):
    """Weights and biases of 3x3 convolutions."""
    return sum(9 * a * b + b for a, b in itertools.pairwise(channels))


def test_parameters_follow_the_formula():
    plain, deep = Autoencoder(options=PLAIN), Autoencoder()
    encoder = [1, 64, 128, 128, 256, 256, 512, 512, 256]
    decoder = [256, 128, 64, 64, 32, 2]
    assert n_parameters(plain) == weights_of(encoder) + weights_of(decoder)
    down = [1, 32, 64, 128, 256, 512]
    up = [512, 256, 128, 64, 32, 2]
    norms = 2 * (sum(down[:-1]) + sum(up[:-1]))
    assert n_parameters(deep) == weights_of(down) + weights_of(up) + norms


def n_parameters(net):
    return sum(p.numel() for p in net.parameters())


def test_plain_layers_against_their_functions():
    """The same weights, applied one by one by hand."""
    net = Autoencoder(options=PLAIN).eval()
    x = some_lightness(1, 16, 16)
    y = (x - 50) / 50
    for conv in of_kind(net.encoder, nn.Conv2d):
        y = F.conv2d(y, conv.weight, conv.bias, conv.stride, padding=1).clamp(min=0)
    first, second, third, fourth, last = of_kind(net.decoder, nn.Conv2d)
    for conv, doubles in ((first, True), (second, False), (third, True), (fourth, False)):
        y = F.conv2d(y, conv.weight, conv.bias, padding=1).clamp(min=0)
        y = y.repeat_interleave(2, 2).repeat_interleave(2, 3) if doubles else y
    y = torch.tanh(F.conv2d(y, last.weight, last.bias, padding=1))
    y = F.interpolate(y, scale_factor=2, mode="bilinear")
    assert torch.allclose(net(x), y, atol=1e-6)


# ---- what it answers -------------------------------------------------------------------------


@pytest.mark.parametrize("options", [TINY, PLAIN], ids=["deep", "plain"])
@pytest.mark.parametrize("size", [(1, 1), (7, 33), (64, 40)])
def test_any_size_comes_back(options, size):
    net = Autoencoder(options=options).eval()
    with torch.no_grad():
        assert net(some_lightness(2, *size)).shape == (2, 2, *size)


def test_padding_repeats_the_border():
    lightness = some_lightness(1, 5, 9)
    padded = scaled_and_padded(lightness, 8)
    assert padded.shape == (1, 1, 8, 16)
    assert torch.equal(padded[:, :, :5, :9], (lightness - 50) / 50)
    assert (padded[:, :, 5:, :9] == padded[:, :, 4:5, :9]).all()
    assert scaled_and_padded(some_lightness(1, 8, 16), 8).shape == (1, 1, 8, 16)


@pytest.mark.parametrize(("activation", "bound"), [("sigmoid", 1), ("tanh", 1), ("relu", None)])
def test_the_last_layer_reaches_both_signs(activation, bound):
    net = make(activation=activation)
    last = of_kind(net.decoder, nn.Conv2d)[-1]
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([50.0, -50.0]))
        a, b = net(some_lightness()).unbind(1)
    expected = bound or 50
    assert a.mean().item() == pytest.approx(expected)
    assert b.mean().item() == pytest.approx(-expected)


def test_a_sigmoid_is_read_as_centred():
    net = make(activation="sigmoid")
    last = of_kind(net.decoder, nn.Conv2d)[-1]
    nn.init.zeros_(last.weight)
    with torch.no_grad():
        last.bias.copy_(torch.tensor([1.0, -0.5]))
        ab = net.to_ab(net(some_lightness()), some_lightness(), DecodeSettings())
    expected = (torch.sigmoid(torch.tensor([1.0, -0.5])) - 0.5) * 2 * 128
    assert torch.allclose(ab.mean(dim=(0, 2, 3)), expected, atol=1e-4)


@pytest.mark.parametrize("scale", [128.0, 256.0])
def test_scale_divides_the_targets_and_multiplies_the_answers(scale):
    net = make(scale=scale)
    output = torch.full((1, 2, 4, 4), 0.25)
    target = net.target(torch.full((1, 2, 4, 4), 10.0), some_lightness())
    assert net.loss(output, target)["total"].item() == pytest.approx((0.25 - 10 / scale) ** 2)
    assert net.to_ab(output, some_lightness(), DecodeSettings()).mean() == 0.25 * scale


@pytest.mark.parametrize("options", [TINY, PLAIN], ids=["deep", "plain"])
def test_it_begins_with_grey(options):
    net = Autoencoder(options=options).train()
    with torch.no_grad():
        assert net(some_lightness(2, 64, 64)).abs().max() < 0.3


# ---- learning --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [PLAIN, *(dataclasses.replace(TINY, activation=a) for a in ("relu", "sigmoid", "tanh"))],
    ids=["plain", "relu", "sigmoid", "tanh"],
)
def test_gradients_reach_the_first_layer(options):
    net = Autoencoder(options=options).train()
    lightness, ab = some_lightness(2, 64, 64), torch.rand(2, 2, 64, 64) * 60
    net.loss(net(lightness), net.target(ab, lightness))["total"].backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert bool(parameter.grad.isfinite().all()), name
    assert of_kind(net, nn.Conv2d)[0].weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    "options",
    [
        AutoencoderOptions(channels=8),
        AutoencoderOptions(channels=8, activation="tanh"),
        AutoencoderOptions(channels=8, activation="sigmoid"),
        PLAIN,
    ],
    ids=["relu", "tanh", "sigmoid", "plain"],
)
def test_it_learns_two_photos(options):
    net = Autoencoder(options=options).train()
    lightness, ab = two_photos()
    mean = (ab - ab.mean(dim=(0, 2, 3), keepdim=True)).square().mean().sqrt().item()
    lr = 5e-4 if options.layout == "plain" else 1e-2
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for _ in range(35 if options.layout == "plain" else 60):
        optimizer.zero_grad()
        losses = net.loss(net(lightness), net.target(ab, lightness))
        losses["total"].backward()
        optimizer.step()
    # Far better than one colour for all.
    assert losses["rmse"].item() < 0.75 * mean


# ---- checkpoints and options -----------------------------------------------------------------


@pytest.mark.parametrize("options", [dataclasses.replace(TINY, activation="tanh"), PLAIN])
def test_checkpoint_round_trip(options, row, tmp_path):
    net = Autoencoder(working_size=64, options=options).eval()
    save_model(tmp_path / "net.safetensors", net, {}, half=False)
    again = load_model(tmp_path / "net.safetensors")
    assert again.options == options
    assert again.working_size == 64
    with torch.no_grad():
        assert torch.allclose(again(some_lightness()), net(some_lightness()), atol=1e-6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["channels=0"], "channels must be at least 1"),
        (["scale=0"], "scale above 0"),
        (["layout=plain", "activation=tanh"], "leave channels and activation out"),
        (["layout=plain", "channels=8"], "leave channels and activation out"),
        (["layout=unet"], "layout must be one of deep, plain"),
        (["activation=elu"], "activation must be one of relu, sigmoid, tanh"),
    ],
)
def test_options_that_make_no_sense(words, message):
    with pytest.raises(ValueError, match=message):
        Autoencoder(options=AutoencoderOptions.parse(words))


def test_encoder_and_decoder_meet():
    assert PlainDecoder()(PlainEncoder()(torch.zeros(1, 1, 16, 24))).shape == (1, 2, 16, 24)
