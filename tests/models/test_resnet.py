"""ResNet-34 and plain 34: layers, counts, shortcuts, sizes, weights, header, learning."""

import json
import sys

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from skimage import data
from torch import nn

from zcolor.checkpoint import write_checkpoint
from zcolor.lab import rgb_to_lab
from zcolor.models.encoder import EncoderOptions
from zcolor.models.resnet import Plain34, ResNet34
from zcolor.quantizer import AbGrid
from zcolor.registry import ModelEntry, load_model, save_model
from zcolor.settings import DecodeSettings

TINY = 1 / 16
FAMILIES = {"resnet34": ResNet34, "plain34": Plain34}
both = pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
# Published: ResNet-34 with its 1000 classes (timm, torchvision).
PUBLISHED = 21_797_672
# A weight at the end of the encoder.
LAST = "layer4.2.conv2.weight"


def some_lightness(n=1, h=32, w=32):
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(6)) * 100


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(family, **changes):
    return family(**changes).to("meta")


# ---- the layers ------------------------------------------------------------------------------


def test_the_encoder_has_the_published_weights_but_for_its_ends():
    head_of_1000 = 512 * 1000 + 1000
    two_more_colours = 2 * 64 * 7 * 7
    net = on_meta(ResNet34, width=1.0)
    assert count(net.encoder) == PUBLISHED - head_of_1000 - two_more_colours
    with torch.device("meta"):
        assert count(timm.create_model("resnet34")) == PUBLISHED


def test_plain_lacks_the_projections_alone():
    """The 1x1 convolutions of the shortcuts of stages 2 to 4, and their norms."""
    projections = sum(a * 2 * a + 2 * (2 * a) for a in (64, 128, 256))
    residual, plain = on_meta(ResNet34, width=1.0), on_meta(Plain34, width=1.0)
    assert count(residual) - count(plain) == projections == 173_824
    shapes = {name: value.shape for name, value in residual.state_dict().items()}
    left = {name: value.shape for name, value in plain.state_dict().items()}
    assert left == {name: s for name, s in shapes.items() if ".downsample." not in name}


@both
def test_33_convolutions_and_a_classifier_of_3x3_but_the_first(family):
    net = family(width=TINY)
    layers = [
        layer
        for name, layer in net.encoder.named_modules()
        if isinstance(layer, nn.Conv2d) and "downsample" not in name
    ]
    assert [layer.kernel_size[0] for layer in layers] == [7] + [3] * 32
    assert {layer.out_channels for layer in layers} == {64, 4, 8, 16, 32}


@both
def test_no_block_begins_as_the_identity(family):
    norms = [m for m in family(width=TINY).encoder.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all((norm.weight == 1).all() for norm in norms)


def blocks_of(net):
    return [block for i in range(1, 5) for block in getattr(net.encoder, f"layer{i}")]


@pytest.mark.parametrize("place", [0, 5, 15])
def test_what_gets_past_a_block_that_is_closed(place):
    """A block whose convolutions are zero lets nothing pass, but for a shortcut."""
    photos = some_lightness(2)
    for family, passes in ((ResNet34, True), (Plain34, False)):
        net = family(width=TINY).eval()
        block = blocks_of(net)[place]
        nn.init.zeros_(block.conv2.weight)
        with torch.no_grad():
            first, second = net(photos)
        assert torch.equal(first, second) is not passes
        # Nor does a gradient come back past it.
        lightness = photos.clone().requires_grad_()
        net(lightness).square().sum().backward()
        assert bool(lightness.grad.any()) is passes


def test_a_block_by_hand():
    residual, plain = ResNet34(width=TINY).eval(), Plain34(width=TINY).eval()
    plain.load_state_dict(residual.state_dict(), strict=False)
    for with_sum, without in zip(blocks_of(residual), blocks_of(plain), strict=True):
        x = torch.rand(1, with_sum.conv1.in_channels, 8, 8)
        with torch.no_grad():
            inside = with_sum.bn2(with_sum.conv2(with_sum.bn1(with_sum.conv1(x)).relu()))
            shortcut = x if with_sum.downsample is None else with_sum.downsample(x)
            torch.testing.assert_close(without(x.clone()), inside.relu())
            torch.testing.assert_close(with_sum(x.clone()), (inside + shortcut).relu())


def test_strides_became_dilation():
    net = ResNet34(width=TINY)
    dilations = [{block.conv2.dilation[0] for block in stage} for stage in stages(net)]
    assert dilations == [{1}, {1}, {2}, {4}]
    assert [stage[0].conv1.stride[0] for stage in stages(net)] == [1, 2, 1, 1]
    with torch.no_grad():
        assert net.encoder.forward_features(some_lightness(1, 40, 48)).shape == (1, 32, 5, 6)


def stages(net):
    return [getattr(net.encoder, f"layer{i}") for i in range(1, 5)]


# ---- sizes and values --------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 40), (7, 13), (8, 8), (31, 9)])
@both
def test_any_size(family, height, width):
    net = family(width=TINY).eval()
    with torch.no_grad():
        logits = net(some_lightness(2, height, width))
        ab = net.predict_ab(some_lightness(1, height, width), DecodeSettings())
    assert logits.shape == (2, 324, -(-height // 4), -(-width // 4))
    assert logits.isfinite().all()
    assert ab.abs().max() <= 110


@pytest.mark.parametrize("value", [0.0, 100.0])
@both
def test_constant_photos_train(family, value):
    net = family(width=TINY).train()
    lightness = torch.full((2, 1, 16, 16), value)
    losses = net.loss(net(lightness), net.target(torch.zeros(2, 2, 16, 16), lightness))
    losses["total"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


@both
def test_the_first_loss_is_that_of_the_uniform_distribution(family):
    net = family(width=0.25).train()
    lightness, ab = some_lightness(4), torch.rand(4, 2, 32, 32) * 60 - 30
    losses = net.loss(net(lightness), net.target(ab, lightness))
    assert losses["total"].item() == pytest.approx(np.log(324), rel=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 1 / 200}, "leaves no channels; use at least 1/64"),
        ({"width": 0.0}, "width must be above 0"),
        ({"width": TINY, "working_size": 7}, "working_size must be at least 8, got 7"),
    ],
)
@both
def test_senseless_options_are_refused(family, options, words):
    with pytest.raises(ValueError, match=words):
        family(**options)


@both
def test_without_timm_the_extra_is_named(family, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'pip install "zcolor\[zoo\]"'):
        family(width=TINY)


# ---- learning ----------------------------------------------------------------------------------


def two_photos():
    """Two photographs of 24 x 24: lightness and ab."""
    small = [
        photo[:288, :288].reshape(24, 12, 24, 12, 3).mean(axis=(1, 3)) / 255
        for photo in (data.astronaut(), data.cat())
    ]
    lab = rgb_to_lab(torch.from_numpy(np.stack(small)).float().permute(0, 3, 1, 2))
    return lab[:, :1], lab[:, 1:]


@both
def test_gradients_reach_every_layer(family):
    net = family(width=TINY).train()
    lightness, ab = two_photos()
    net.loss(net(lightness), net.target(ab, lightness))["total"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
    assert all(p.grad.any() for name, p in net.named_parameters() if name.endswith("weight"))
    assert net.encoder.conv1.weight.grad.norm() > 1e-4


@both
def test_two_photos_are_learned(family):
    torch.manual_seed(1)
    net = family(width=1 / 8, targets="hard").train()
    lightness, ab = two_photos()
    target = net.target(ab, lightness)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        losses = net.loss(net(lightness), target)
        losses["total"].backward()
        optimizer.step()
    assert losses["total"].item() < 0.6
    assert losses["top1"].item() > 0.9


# ---- weights to begin with -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained():
    """What timm's resnet34 might have learned: its layers, with statistics that are not 0 and 1."""
    torch.manual_seed(2)
    net = timm.create_model("resnet34")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


def test_a_file_of_timms_weights_is_taken_over(pretrained, tmp_path):
    """Grey pictures mean to the encoder what they meant to the network of three colours."""
    save_file(pretrained.state_dict(), tmp_path / "resnet34.safetensors")
    options = EncoderOptions.parse([f"weights={tmp_path / 'resnet34.safetensors'}"])
    net = ResNet34(width=1.0, options=options).eval()
    net.begin()
    lightness = some_lightness(1, 16, 24)
    grey = ((lightness / 100 - 0.449) / 0.226).expand(-1, 3, -1, -1)
    with torch.no_grad():
        expected = pretrained.layer2(
            pretrained.layer1(pretrained.maxpool(pretrained.bn1(pretrained.conv1(grey)).relu()))
        )
        net.encoder.layer3 = net.encoder.layer4 = net.head = net.classifier = nn.Identity()
        torch.testing.assert_close(net.logits((lightness - 50) / 50), expected)
    kept = net.encoder.state_dict()
    assert torch.equal(kept["layer2.3.conv2.weight"], pretrained.layer2[3].conv2.weight)


def test_weights_of_the_pretraining_here(pretrained, tmp_path):
    """They may have been learned for any number of classes, at any size."""
    path = tmp_path / "own.safetensors"
    tensors = pretrained.state_dict()
    tensors["fc.weight"], tensors["fc.bias"] = torch.zeros(7, 512), torch.zeros(7)
    header = {"kind": "extractor", "extractor": "resnet34", "classes": 7, "size": 64}
    write_checkpoint(path, tensors, header)
    net = ResNet34(width=1.0, options=EncoderOptions(weights=str(path)))
    net.begin()
    last = net.encoder.get_parameter(LAST)
    assert torch.equal(last, pretrained.get_parameter(LAST))


def test_weights_from_the_hub(pretrained, monkeypatch):
    asked = []

    def hub_state(name):
        asked.append(name)
        return pretrained.state_dict()

    monkeypatch.setattr("zcolor.models.extractor.hub_state", hub_state)
    net = ResNet34(width=1.0, options=EncoderOptions(weights="hub"))
    net.begin()
    assert asked == ["resnet34"]
    last = net.encoder.get_parameter(LAST)
    assert torch.equal(last, pretrained.get_parameter(LAST))


def test_without_internet_the_cure_is_named(monkeypatch):
    def hub_state(name):
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr("zcolor.models.extractor.hub_state", hub_state)
    net = ResNet34(width=1.0, options=EncoderOptions(weights="hub"))
    with pytest.raises(OSError, match=r"name resolution.*give the file.*zcolor pretrain"):
        net.begin()


@pytest.mark.parametrize("content", [None, b"no weights at all"])
def test_files_that_hold_no_weights_are_refused_and_nothing_is_taken_over(tmp_path, content):
    path = tmp_path / "a.pth"
    if content is not None:
        path.write_bytes(content)
    net = ResNet34(width=1.0, options=EncoderOptions(weights=str(path)))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises((FileNotFoundError, ValueError), match=str(path)):
        net.begin()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_narrow_network_takes_no_weights():
    net = ResNet34(width=TINY, options=EncoderOptions(weights="hub"))
    with pytest.raises(ValueError, match=r"are of full width.*--width 1, or .*weights=random"):
        net.begin()


def test_plain_takes_no_weights():
    with pytest.raises(ValueError, match="takes NAME=VALUE with no options at all"):
        Plain34.options_type.parse(["weights=hub"])


# ---- header and checkpoint -----------------------------------------------------------------------


@both
def test_header_round_trip(family):
    net = family(AbGrid(10, -90, 100), width=0.125, targets="hard", working_size=64).eval()
    again = family.from_header(json.loads(json.dumps(net.header()))).eval()
    again.load_state_dict(net.state_dict())
    assert again.header() == net.header()
    with torch.no_grad():
        assert torch.equal(again(some_lightness(1, 9, 17)), net(some_lightness(1, 9, 17)))


def test_options_are_kept_but_never_fetched_again(tmp_path):
    net = ResNet34(width=TINY, options=EncoderOptions(weights=str(tmp_path / "gone.pth")))
    again = ResNet34.from_header(json.loads(json.dumps(net.header())))
    assert again.options == net.options


@pytest.mark.parametrize("name", FAMILIES)
def test_checkpoint_round_trip(name, tmp_path, monkeypatch):
    entries = {
        key: ModelEntry(f"zcolor.models.resnet:{family.__name__}", "", "")
        for key, family in FAMILIES.items()
    }
    monkeypatch.setattr("zcolor.registry.MODELS", entries)
    net = FAMILIES[name](width=TINY)
    lightness = some_lightness(2, 24, 32)
    net.train()(lightness)  # moves the statistics of the norms
    path = tmp_path / "net.safetensors"
    save_model(path, net, {"steps": 1}, half=False)
    again = load_model(path)
    assert type(again) is FAMILIES[name]
    with torch.no_grad():
        torch.testing.assert_close(again(lightness), net.eval()(lightness), rtol=1e-4, atol=1e-5)
