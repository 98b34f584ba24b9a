"""Fusion: where the extractor's answer goes, the header, what begins and what learns."""

import dataclasses

import pytest
import skimage.data
import torch
import torch.nn.functional as F
from torch import nn

from zcolor.checkpoint import write_checkpoint
from zcolor.inspection import list_groups, list_layers
from zcolor.lab import rgb_to_lab
from zcolor.models.extractor import EXTRACTOR_KIND
from zcolor.models.fusion import Fusion, FusionOptions
from zcolor.models.timm_weights import make_timm
from zcolor.receptive import measure_field
from zcolor.registry import ModelEntry, load_model, save_model
from zcolor.settings import DecodeSettings
from zcolor.training.assemble import make_network
from zcolor.training.optimizers import make_optimizers
from zcolor.training.settings import TrainSettings

TINY = FusionOptions(
    extractor="test_resnet", extractor_weights="random", extractor_classes=5, extractor_size=32
)


@pytest.fixture
def row(monkeypatch):
    entry = ModelEntry("zcolor.models.fusion:Fusion", "", "")
    monkeypatch.setattr("zcolor.registry.MODELS", {"fusion": entry})


@pytest.fixture
def pretrained(tmp_path):
    """A file as `zcolor pretrain` writes it."""
    torch.manual_seed(3)
    path = tmp_path / "extractor.safetensors"
    header = {"kind": EXTRACTOR_KIND, "extractor": "test_resnet", "classes": 6, "size": 40}
    write_checkpoint(path, make_timm("test_resnet", classes=6).state_dict(), header)
    return path


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return Fusion(options=TINY).eval()


def some_lightness(n=1, h=16, w=24):
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(6)) * 100


# ---- the layers ------------------------------------------------------------------------------


def test_the_published_sizes():
    """1256 channels into the fusion, 55.8 million parameters of the extractor."""
    with torch.device("meta"):
        published = Fusion(options=FusionOptions(extractor_classes=1000, extractor_size=299))
    assert published.fuse[0].weight.shape == (256, 1256, 1, 1)
    assert sum(p.numel() for p in published.extractor.parameters()) == 55_843_464
    learned = sum(p.numel() for p in published.parameters() if p.requires_grad)
    convolutions = [m for m in published.modules() if isinstance(m, nn.Conv2d)]
    mine = [c for c in convolutions if c.weight.requires_grad]
    assert len(mine) == 8 + 1 + 5
    assert learned == sum(c.weight.numel() + c.bias.numel() for c in mine)


def test_answer_reaches_every_place(net):
    """The 1x1 convolution over the joined planes is two matrices, one of them for the answer."""
    lightness = some_lightness(2)
    with torch.no_grad():
        features = net.encoder((lightness - 50) / 50)
        answer = net.extractor(lightness)
        weight = net.fuse[0].weight[:, :, 0, 0]
        fused = torch.einsum("oc,nchw->nohw", weight[:, :256], features)
        fused += (answer @ weight[:, 256:].T + net.fuse[0].bias)[:, :, None, None]
        expected = net.decoder(fused.clamp(min=0))
        assert torch.allclose(net(lightness), expected, atol=1e-5)
        other = net.extractor(lightness.flip(0))
    assert not torch.allclose(answer, other)  # two photos, two answers


@pytest.mark.parametrize("size", [(1, 1), (9, 31), (32, 16)])
def test_any_size_comes_back(net, size):
    with torch.no_grad():
        assert net(some_lightness(2, *size)).shape == (2, 2, *size)


@pytest.mark.parametrize("scale", [128.0, 256.0])
def test_scale(scale):
    net = Fusion(options=dataclasses.replace(TINY, scale=scale))
    output, lightness = torch.full((1, 2, 4, 4), -0.5), some_lightness(1, 4, 4)
    assert net.to_ab(output, lightness, DecodeSettings()).mean() == -scale / 2
    target = net.target(torch.full((1, 2, 4, 4), -scale / 2), lightness)
    assert net.loss(output, target)["total"] == 0


# ---- options and header ----------------------------------------------------------------------


def test_the_weights_decide_sizes_and_the_header_remembers_them(pretrained, row, tmp_path):
    options = FusionOptions(extractor="test_resnet", extractor_weights=str(pretrained))
    net = Fusion(options=options).eval()
    assert net.options.extractor_classes == 6
    assert net.options.extractor_size == 40
    net.begin()
    save_model(tmp_path / "net.safetensors", net, {}, half=False)
    pretrained.unlink()  # a checkpoint has all that it needs
    again = load_model(tmp_path / "net.safetensors")
    assert again.options == net.options
    with torch.no_grad():
        assert torch.allclose(again(some_lightness()), net(some_lightness()), atol=1e-5)


def test_what_is_said_goes_before_what_the_weights_say(pretrained):
    words = ["extractor=test_resnet", f"extractor_weights={pretrained}", "extractor_size=32"]
    net = Fusion(options=FusionOptions.parse(words))
    assert (net.extractor.size, net.extractor.classes) == (32, 6)
    net.begin()


def test_a_new_network_begins_with_the_weights_and_a_resumed_one_does_not(pretrained, row):
    options = ("extractor=test_resnet", f"extractor_weights={pretrained}")
    settings = TrainSettings(model="fusion", options=options, bf16=False)
    expected = make_timm("test_resnet", classes=6).state_dict()
    first = make_network(None, settings, torch.device("cpu"))
    resumed = make_network(None, settings, torch.device("cpu"), begin=False)
    torch.manual_seed(3)
    expected = make_timm("test_resnet", classes=6).state_dict()
    name = "conv1.0.weight" if "conv1.0.weight" in expected else next(iter(expected))
    assert torch.equal(first.extractor.network.state_dict()[name], expected[name])
    assert not torch.equal(resumed.extractor.network.state_dict()[name], expected[name])


def test_the_hub_is_the_default(monkeypatch):
    asked = []
    monkeypatch.setattr("zcolor.models.extractor.hub_state", asked.append)
    net = Fusion(options=dataclasses.replace(TINY, extractor_weights="hub", extractor_classes=1000))
    monkeypatch.setattr(net.extractor.network, "load_state_dict", asked.append)
    net.begin()
    assert asked == ["test_resnet", None]
    assert FusionOptions().extractor_weights == "hub"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scale=0"], "scale must be above 0"),
        (["extractor=nonesuch"], "timm knows no network 'nonesuch'"),
        (["extractor_weights=none.pth"], r"no weights at none\.pth"),
    ],
)
def test_options_that_make_no_sense(words, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        Fusion(options=FusionOptions.parse(words))


# ---- learning --------------------------------------------------------------------------------


def test_it_learns_two_photos_and_the_extractor_stays():
    net = Fusion(options=TINY).train()
    before = {name: value.clone() for name, value in net.extractor.state_dict().items()}
    photos = [skimage.data.astronaut(), skimage.data.coffee()]
    rgb = [torch.from_numpy(p[:400, :400].copy()).permute(2, 0, 1).float() / 255 for p in photos]
    lab = rgb_to_lab(F.interpolate(torch.stack(rgb), (32, 32), mode="area"))
    lightness, ab = lab[:, :1], lab[:, 1:]
    mean = (ab - ab.mean(dim=(0, 2, 3), keepdim=True)).square().mean().sqrt().item()
    settings = TrainSettings(optimizer="adam", lr=5e-4, weight_decay=0.0)
    (optimizer,) = make_optimizers(net, settings)
    for _ in range(36):
        optimizer.zero_grad()
        losses = net.loss(net(lightness), net.target(ab, lightness))
        losses["total"].backward()
        optimizer.step()
    assert losses["rmse"].item() < 0.75 * mean
    for name, parameter in net.named_parameters():
        assert (parameter.grad is None) == name.startswith("extractor."), name
    after = net.extractor.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_its_frozen_extractor_can_be_looked_into(net):
    """`zcolor inspect` follows gradients back to the photo through all of it."""
    lightness = torch.full((1, 1, 32, 32), 50.0)
    groups = list_groups(net, list_layers(net, lightness))
    frozen = [group for group in groups if group.layer.startswith("extractor")]
    assert frozen
    assert measure_field(net, frozen[0]).size > 0
