"""DenseNet-121: its layers, counts, dilation, sizes, weights, header, and that it learns."""

import json
import sys

import numpy as np
import pytest
import timm
import torch
from skimage import data
from torch import nn

from zcolor.checkpoint import write_checkpoint
from zcolor.lab import rgb_to_lab
from zcolor.models import densenet
from zcolor.models.densenet import DenseNet121
from zcolor.models.encoder import EncoderOptions
from zcolor.quantizer import AbGrid
from zcolor.registry import ModelEntry, load_model, save_model
from zcolor.settings import DecodeSettings

TINY = 1 / 16
# Published: DenseNet-121 with its 1000 classes (timm, torchvision).
PUBLISHED = 7_978_856
# A weight at the end of the encoder.
LAST = "features.denseblock4.denselayer16.conv2.weight"


@pytest.fixture
def tiny():
    return DenseNet121(width=TINY).eval()


@pytest.fixture
def short(monkeypatch):
    """Two layers a block: quick, with everything else as it is."""
    monkeypatch.setattr(densenet, "_BLOCKS", (2, 2, 2, 2))


def some_lightness(n=1, h=32, w=32):
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(6)) * 100


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


# ---- the layers ------------------------------------------------------------------------------


def test_the_encoder_has_the_published_weights_but_for_its_ends():
    head_of_1000 = 1024 * 1000 + 1000
    two_more_colours = 2 * 64 * 7 * 7
    net = DenseNet121(width=1.0).to("meta")
    assert count(net.encoder) == PUBLISHED - head_of_1000 - two_more_colours
    with torch.device("meta"):
        assert count(timm.create_model("densenet121")) == PUBLISHED


def test_120_convolutions_and_a_classifier(tiny):
    layers = [layer for layer in tiny.encoder.modules() if isinstance(layer, nn.Conv2d)]
    assert len(layers) == 120
    assert tiny.classifier.kernel_size == (1, 1)


def test_width_scales_the_growth():
    """Half of what goes in and half of what goes out: a quarter of the weights, nearly."""
    whole, half = (count(DenseNet121(width=w).to("meta").encoder) for w in (1.0, 0.5))
    assert whole / 4 < half < whole / 3.9


def test_strides_became_dilation(tiny):
    with torch.no_grad():
        assert tiny.encoder.forward_features(some_lightness(1, 40, 48)).shape == (1, 64, 5, 6)
    for place, dilation in ((1, 1), (2, 1), (3, 2), (4, 4)):
        block = tiny.encoder.features.get_submodule(f"denseblock{place}")
        assert {layer.conv2.dilation[0] for layer in block.values()} == {dilation}
        assert {layer.conv2.padding[0] for layer in block.values()} == {dilation}


@pytest.mark.parametrize(("place", "dilation"), [(3, 2), (4, 4)])
def test_dilated_blocks_are_timms_blocks_on_every_second_or_fourth_pixel(short, place, dilation):
    """So weights that were learned with strides mean the same with dilation."""
    net = DenseNet121(width=TINY).eval()
    strided = timm.create_model(
        "densenet121",
        growth_rate=2,
        block_config=(2, 2, 2, 2),
        in_chans=1,
        num_classes=0,
        global_pool="",
    ).eval()
    strided.load_state_dict(net.encoder.state_dict())
    name = f"denseblock{place}"
    ours, theirs = (e.features.get_submodule(name) for e in (net.encoder, strided))
    x = torch.randn(1, ours["denselayer1"].conv1.in_channels, 8, 12)
    with torch.no_grad():
        y = ours(x)
        for top in range(dilation):
            for left in range(dilation):
                part = theirs(x[:, :, top::dilation, left::dilation])
                torch.testing.assert_close(y[:, :, top::dilation, left::dilation], part)


# ---- sizes and values --------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 40), (7, 13), (8, 8), (31, 9)])
def test_any_size(tiny, height, width):
    with torch.no_grad():
        logits = tiny(some_lightness(2, height, width))
        ab = tiny.to_ab(logits, some_lightness(2, height, width), DecodeSettings())
    assert logits.shape == (2, 324, -(-height // 4), -(-width // 4))
    assert logits.isfinite().all()
    assert ab.abs().max() <= 110


@pytest.mark.parametrize("value", [0.0, 100.0])
def test_constant_photos_train(short, value):
    net = DenseNet121(width=TINY).train()
    lightness = torch.full((2, 1, 16, 16), value)
    losses = net.loss(net(lightness), net.target(torch.zeros(2, 2, 16, 16), lightness))
    losses["total"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_the_first_loss_is_that_of_the_uniform_distribution():
    net = DenseNet121(width=0.25).train()
    lightness, ab = some_lightness(4), torch.rand(4, 2, 32, 32) * 60 - 30
    losses = net.loss(net(lightness), net.target(ab, lightness))
    assert losses["total"].item() == pytest.approx(np.log(324), rel=0.02)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 1 / 100}, "leaves no channels; use at least 1/32"),
        ({"width": 0.0}, "width must be above 0"),
        ({"width": TINY, "targets": "smooth"}, "targets must be 'soft' or 'hard', got 'smooth'"),
    ],
)
def test_senseless_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        DenseNet121(**options)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'pip install "zcolor\[zoo\]"'):
        DenseNet121(width=TINY)


# ---- learning ----------------------------------------------------------------------------------


def two_photos():
    """Two photographs of 24 x 24: lightness and ab."""
    small = [
        photo[:288, :288].reshape(24, 12, 24, 12, 3).mean(axis=(1, 3)) / 255
        for photo in (data.astronaut(), data.cat())
    ]
    lab = rgb_to_lab(torch.from_numpy(np.stack(small)).float().permute(0, 3, 1, 2))
    return lab[:, :1], lab[:, 1:]


def test_gradients_reach_every_layer():
    net = DenseNet121(width=TINY).train()
    lightness, ab = two_photos()
    net.loss(net(lightness), net.target(ab, lightness))["total"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
    assert all(p.grad.any() for name, p in net.named_parameters() if name.endswith("weight"))
    assert net.encoder.features.conv0.weight.grad.norm() > 1e-4


def test_two_photos_are_learned(short):
    torch.manual_seed(1)
    net = DenseNet121(width=1 / 8, targets="hard").train()
    lightness, ab = two_photos()
    target = net.target(ab, lightness)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        losses = net.loss(net(lightness), target)
        losses["total"].backward()
        optimizer.step()
    assert losses["total"].item() < 0.4
    assert losses["top1"].item() > 0.9


# ---- weights to begin with -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def pretrained():
    """What timm's network might have learned: its norms hold statistics other than 0 and 1."""
    torch.manual_seed(2)
    net = timm.create_model("densenet121")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return net.eval()


def test_a_file_of_timms_weights_is_taken_over(pretrained, tmp_path):
    """Grey pictures mean to the encoder what they meant to the network of three colours."""
    path = tmp_path / "densenet121.pth"
    # As an older training might have kept it: without the counters of the norms.
    state = {k: v for k, v in pretrained.state_dict().items() if "num_batches" not in k}
    torch.save({"state_dict": state}, path)
    net = DenseNet121(width=1.0, options=EncoderOptions.parse([f"weights={path}"])).eval()
    net.begin()
    lightness = some_lightness(1, 16, 24)
    grey = ((lightness / 100 - 0.449) / 0.226).expand(-1, 3, -1, -1)
    # As far as the first pooling that was left out.
    upto = list(dict(pretrained.features.named_children())).index("transition2")
    with torch.no_grad():
        expected = pretrained.features[:upto](grey)
        net.encoder.features = net.encoder.features[:upto]
        net.head = net.classifier = nn.Identity()
        torch.testing.assert_close(net.logits((lightness - 50) / 50), expected)


def test_weights_of_the_pretraining_here(pretrained, tmp_path):
    """They may have been learned for any number of classes, at any size."""
    path = tmp_path / "own.safetensors"
    tensors = pretrained.state_dict()
    tensors["classifier.weight"], tensors["classifier.bias"] = torch.zeros(7, 1024), torch.zeros(7)
    header = {"kind": "extractor", "extractor": "densenet121", "classes": 7, "size": 64}
    write_checkpoint(path, tensors, header)
    net = DenseNet121(width=1.0, options=EncoderOptions(weights=str(path)))
    net.begin()
    last = net.encoder.get_parameter(LAST)
    assert torch.equal(last, pretrained.get_parameter(LAST))


def test_weights_from_the_hub(pretrained, monkeypatch):
    asked = []

    def hub_state(name):
        asked.append(name)
        return pretrained.state_dict()

    monkeypatch.setattr("zcolor.models.extractor.hub_state", hub_state)
    net = DenseNet121(width=1.0, options=EncoderOptions(weights="hub"))
    net.begin()
    assert asked == ["densenet121"]
    last = net.encoder.get_parameter(LAST)
    assert torch.equal(last, pretrained.get_parameter(LAST))


def test_without_internet_the_cure_is_named(monkeypatch):
    def hub_state(name):
        raise OSError("Temporary failure in name resolution")

    monkeypatch.setattr("zcolor.models.extractor.hub_state", hub_state)
    net = DenseNet121(width=1.0, options=EncoderOptions(weights="hub"))
    with pytest.raises(OSError, match=r"name resolution.*give the file.*zcolor pretrain"):
        net.begin()


@pytest.mark.parametrize("content", [None, b"no weights at all"])
def test_files_that_hold_no_weights_are_refused_and_nothing_is_taken_over(tmp_path, content):
    path = tmp_path / "a.pth"
    if content is not None:
        path.write_bytes(content)
    net = DenseNet121(width=1.0, options=EncoderOptions(weights=str(path)))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises((FileNotFoundError, ValueError), match=str(path)):
        net.begin()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_narrow_network_takes_no_weights(short):
    net = DenseNet121(width=TINY, options=EncoderOptions(weights="hub"))
    with pytest.raises(ValueError, match=r"are of full width.*--width 1, or .*weights=random"):
        net.begin()


# ---- header and checkpoint -----------------------------------------------------------------------


def test_header_round_trip(short):
    net = DenseNet121(AbGrid(10, -90, 100), width=0.125, targets="hard", working_size=64).eval()
    again = DenseNet121.from_header(json.loads(json.dumps(net.header()))).eval()
    again.load_state_dict(net.state_dict())
    assert again.header() == net.header()
    with torch.no_grad():
        assert torch.equal(again(some_lightness(1, 9, 17)), net(some_lightness(1, 9, 17)))


def test_options_are_kept_but_never_fetched_again(short, tmp_path):
    net = DenseNet121(width=TINY, options=EncoderOptions(weights=str(tmp_path / "gone.pth")))
    again = DenseNet121.from_header(json.loads(json.dumps(net.header())))
    assert again.options == net.options


def test_checkpoint_round_trip(short, tmp_path, monkeypatch):
    entry = ModelEntry("zcolor.models.densenet:DenseNet121", "", "")
    monkeypatch.setattr("zcolor.registry.MODELS", {"densenet": entry})
    net = DenseNet121(width=TINY)
    lightness = some_lightness(2, 24, 32)
    net.train()(lightness)  # moves the statistics of the norms
    path = tmp_path / "net.safetensors"
    save_model(path, net, {"steps": 1}, half=False)
    again = load_model(path)
    with torch.no_grad():
        torch.testing.assert_close(again(lightness), net.eval()(lightness), rtol=1e-4, atol=1e-5)
