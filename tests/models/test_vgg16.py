"""VGG-16 with a map of chroma: counts, layers, any size, spaces, losses, weights, learning."""

import math
import sys

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from zcolor.averaging import averaged_ab
from zcolor.lab import lab_to_rgb, rgb_to_lab
from zcolor.models import vgg16
from zcolor.models.vgg16 import EPSILON, Vgg16, Vgg16Options
from zcolor.registry import ModelEntry, load_model, save_model
from zcolor.settings import DecodeSettings
from zcolor.training.assemble import make_network
from zcolor.training.settings import TrainSettings

TINY = 1 / 64
CHANNELS = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def tiny(**options):
    values = {"width": TINY, "weights": "random", "output_side": 9, **options}
    return Vgg16(options=Vgg16Options(**values))


@pytest.fixture
def entry(monkeypatch):
    row = ModelEntry("zcolor.models.vgg16:Vgg16", "", "")
    monkeypatch.setattr("zcolor.registry.MODELS", {"vgg16": row})


def some_lightness(n=1, h=40, w=56):
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(6)) * 100


def photographs(side):
    """(2, 3, side, side) Lab."""
    labs = []
    for rgb in (skimage.data.astronaut(), skimage.data.coffee()):
        small = np.asarray(Image.fromarray(rgb).resize((side, side), Image.Resampling.BOX))
        labs.append(rgb_to_lab(torch.from_numpy(small / np.float32(255)).permute(2, 0, 1)[None]))
    return torch.cat(labs)


# ---- the layers ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, 143_183_810),
        ({"output_side": 224}, 545_402_688),
        # A weight and a bias for each channel of each convolution.
        ({"batch_norm": True}, 143_183_810 + 2 * sum(CHANNELS)),
    ],
)
def test_parameters(options, parameters):
    with torch.device("meta"):
        net = Vgg16(options=Vgg16Options(**options))
    assert sum(p.numel() for p in net.parameters()) == parameters
    # VGG-16 has 138,357,544 (Simonyan and Zisserman 2015), of which the last layer goes.
    outputs = 2 * net.options.output_side**2
    body = 138_357_544 - 4097 * 1000 + 2 * sum(CHANNELS) * net.options.batch_norm
    assert parameters == body + 4097 * outputs


def test_layers_of_the_paper():
    with torch.device("meta"):
        net = Vgg16()
    convolutions = [m for m in net.features if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == CHANNELS
    assert {(m.kernel_size, m.stride, m.padding) for m in convolutions} == {
        ((3, 3), (1, 1), (1, 1))
    }
    assert sum(isinstance(m, nn.MaxPool2d) for m in net.features) == 5
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]


@torch.no_grad()
def test_forward_layer_by_layer():
    """The paper's network written out, on the grey picture that ImageNet's statistics normalise."""
    net = tiny(batch_norm=False).eval()
    lightness = some_lightness(2, 224, 224)
    grey = lab_to_rgb(F.pad(lightness, (0, 0, 0, 0, 0, 2)))
    mean, std = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    x = (grey - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    weights = iter(net.state_dict().values())
    for n_convolutions in (2, 2, 3, 3, 3):
        for _ in range(n_convolutions):
            x = F.conv2d(x, next(weights), next(weights), padding=1).relu()
        x = x.reshape(*x.shape[:2], x.shape[2] // 2, 2, -1, 2).amax(dim=(3, 5))
    x = x.flatten(1)
    for last in (False, False, True):
        weight, bias = next(weights), next(weights)
        x = x @ weight.flatten(1).T + bias
        x = x if last else x.relu()
    assert torch.allclose(net(lightness), x.view(2, 2, 9, 9), atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (7, 300), (40, 33)])
@pytest.mark.parametrize("space", ["lab", "ycbcr"])
@torch.no_grad()
def test_any_size(size, space):
    net = tiny(space=space).eval()
    lightness = some_lightness(2, *size)
    assert net(lightness).shape == (2, 2, 9, 9)
    ab = net.predict_ab(lightness, DecodeSettings())
    assert ab.shape == (2, 2, *size)
    assert ab.isfinite().all()


@torch.no_grad()
def test_views_of_a_photo_are_averaged_in_place():
    """The map belongs to the view that it was made of, whatever part of the photo that is."""
    net = tiny().eval()

    def truth(lightness):
        return lightness.expand(-1, 2, -1, -1)

    def predict(lightness):
        small = net.target(truth(lightness), lightness)
        return net.to_ab(small, lightness, DecodeSettings())

    ramp = torch.linspace(0, 100, 64).view(1, 1, 1, -1).expand(1, 1, 48, -1)
    assert (averaged_ab(predict, ramp, "crops") - truth(ramp)).abs().max() < 5


def test_bfloat16():
    net = tiny(batch_norm=True).train()
    lab = photographs(32)
    with torch.autocast("cpu", torch.bfloat16):
        output = net(lab[:, :1])
    losses = net.loss(output, net.target(lab[:, 1:], lab[:, :1]))
    losses["total"].backward()
    assert losses["total"].dtype == torch.float32
    assert all(p.grad.isfinite().all() for p in net.parameters())


# ---- spaces and targets ----------------------------------------------------------------------


def resized_by_pil(planes, side):
    """Bicubic with antialias, plane by plane."""
    return np.stack(
        [
            np.asarray(Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC))
            for plane in planes.astype(np.float32)
        ]
    )


def test_targets_are_ab_shrunk_bicubically():
    lab = photographs(64)
    target = tiny().target(lab[:, 1:], lab[:, :1])
    for i in range(2):
        expected = resized_by_pil(lab[i, 1:].numpy() / 128, 9)
        assert np.abs(target[i].numpy() - expected).max() < 1e-4


@pytest.mark.parametrize("space", ["ycbcr", "yuv"])
def test_targets_are_the_chroma_of_bt_601_shrunk(space):
    lab = photographs(64)
    target = tiny(space=space).target(lab[:, 1:], lab[:, :1])
    for i in range(2):
        rgb = lab_to_rgb(lab[i : i + 1])[0].numpy()
        luma = np.tensordot([0.299, 0.587, 0.114], rgb, 1)
        chroma = np.stack([(rgb[2] - luma) / 0.886, (rgb[0] - luma) / 0.701])
        assert np.abs(target[i].numpy() - resized_by_pil(chroma, 9)).max() < 1e-3


@pytest.mark.parametrize("space", ["lab", "ycbcr", "yuv"])
def test_one_colour_comes_back(space):
    net = tiny(space=space)
    lab = torch.tensor([60.0, 20.0, -30.0]).view(1, 3, 1, 1).expand(1, 3, 24, 40)
    small = net.target(lab[:, 1:], lab[:, :1])
    assert small.abs().max() <= 1
    ab = net.to_ab(small, lab[:, :1], DecodeSettings())
    assert (ab - lab[:, 1:]).abs().max() < 0.05


@pytest.mark.parametrize("space", ["lab", "ycbcr"])
def test_what_the_map_holds_of_a_photo_comes_back(space):
    net = tiny(space=space, output_side=33)
    lab = photographs(64)
    small = net.target(lab[:, 1:], lab[:, :1])
    ab = net.to_ab(small, lab[:, :1], DecodeSettings())
    error = (ab - lab[:, 1:]).square().mean().sqrt()
    assert error < 0.2 * lab[:, 1:].square().mean().sqrt()


# ---- losses ----------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["mse", "euclidean"])
def test_losses_pixel_by_pixel(loss):
    net = tiny(loss=loss)
    generator = torch.Generator().manual_seed(1)
    output, target = torch.rand(2, 3, 2, 4, 5, generator=generator)
    squares, distances = [], []
    for n in range(3):
        for y in range(4):
            for x in range(5):
                d = [(output[n, c, y, x] - target[n, c, y, x]).item() for c in range(2)]
                squares += [d[0] ** 2, d[1] ** 2]
                distances.append(math.hypot(*d))
    losses = net.loss(output, target)
    expected = np.mean(squares if loss == "mse" else distances)
    assert losses["total"].item() == pytest.approx(expected, rel=1e-4)
    assert losses["rmse"].item() == pytest.approx(128 * np.mean(squares) ** 0.5, rel=1e-4)


def test_the_euclidean_loss_has_a_gradient_at_zero():
    net = tiny(loss="euclidean")
    output = torch.zeros(1, 2, 9, 9, requires_grad=True)
    total = net.loss(output, torch.zeros(1, 2, 9, 9))["total"]
    total.backward()
    assert total.item() == pytest.approx(EPSILON)
    assert output.grad.abs().max() == 0


# ---- options ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["width=0.5"], "fit width=1 alone.*weights=random"),
        (["freeze=true", "weights=random"], "freeze=true keeps"),
        (["output_side=0"], "output_side must be at least 1"),
        (["width=0.001", "weights=random"], "width at least 1/64"),
        (["dropout=1"], "dropout must lie in"),
        (["space=rgb"], "lab, ycbcr, yuv"),
    ],
)
def test_options_that_make_no_sense(words, message):
    with pytest.raises(ValueError, match=message):
        Vgg16Options.parse(words)


def test_frozen_convolutions_stay_as_they_are():
    net = tiny(batch_norm=True, freeze=True, weights="some file").train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    lab = photographs(32)
    learned = [p for p in net.parameters() if p.requires_grad]
    assert len(learned) == 6
    optimizer = torch.optim.SGD(learned, lr=0.1)
    net.loss(net(lab[:, :1]), net.target(lab[:, 1:], lab[:, :1]))["total"].backward()
    optimizer.step()
    changed = {name for name, value in net.state_dict().items() if not value.equal(before[name])}
    assert changed
    assert not any(".features." in name for name in changed)


def test_without_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"zcolor\[zoo\]"):
        tiny()


# ---- weights ---------------------------------------------------------------------------------


def foreign(**options):
    """A state dict as timm has it, with a last layer of its own."""
    torch.manual_seed(9)
    return tiny(output_side=3, **options).vgg.state_dict()


def as_torchvision(state):
    """The same under torchvision's names, its dense layers as matrices."""
    names = {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3"}
    found = {}
    for name, value in state.items():
        layer, _, kind = name.rpartition(".")
        if layer in names:
            found[f"{names[layer]}.{kind}"] = value.flatten(1) if kind == "weight" else value
        else:
            found[name.replace("head.fc", "classifier.6")] = value
    return found


def assert_begun_with(net, state, head):
    for name, value in net.vgg.state_dict().items():
        assert value.equal(head[name] if name.startswith("head.") else state[name]), name


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("theirs", [dict, as_torchvision])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_begin_with_a_file(tmp_path, suffix, theirs, batch_norm):
    state = foreign(batch_norm=batch_norm)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(theirs(state), path)
    else:
        save_file(theirs(state), path)
    net = tiny(weights=str(path), batch_norm=batch_norm)
    head = {name: value.clone() for name, value in net.vgg.state_dict().items()}
    net.begin()
    assert_begun_with(net, state, head)


def test_begin_with_the_hub(monkeypatch):
    asked = []
    monkeypatch.setattr(vgg16, "hub_state", lambda name: asked.append(name) or foreign())
    net = tiny()
    head = {name: value.clone() for name, value in net.vgg.state_dict().items()}
    net.begin()
    assert not asked, "random weights need no hub"
    object.__setattr__(net.options, "weights", "hub")
    net.begin()
    assert asked == ["vgg16"]
    assert_begun_with(net, foreign(), head)


def test_the_hub_cannot_be_reached(monkeypatch):
    def unreachable(name):
        raise OSError(f"no way to {name}")

    monkeypatch.setattr(vgg16, "hub_state", unreachable)
    with torch.device("meta"):
        net = Vgg16(options=Vgg16Options(batch_norm=True))
    with pytest.raises(OSError, match=r"no way to vgg16_bn.*weights=FILE.*weights=random"):
        net.begin()


def test_no_file():
    with pytest.raises(FileNotFoundError, match=r"no file of weights at nowhere\.pth"):
        tiny(weights="nowhere.pth").begin()


@pytest.mark.parametrize("name", ["noise.safetensors", "noise.pth"])
def test_no_weights_in_the_file(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"these are no weights, only words")
    with pytest.raises(ValueError, match="holds no weights of VGG-16"):
        tiny(weights=str(path)).begin()


def test_weights_of_another_network(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file(foreign(width=1 / 32), path)
    net = tiny(weights=str(path))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"of 30 tensors are missing or have another shape"):
        net.begin()
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())


# ---- checkpoints and learning ----------------------------------------------------------------


@torch.no_grad()
def test_checkpoint_round_trip(entry, tmp_path, monkeypatch):
    monkeypatch.setattr(Vgg16, "begin", lambda self: pytest.fail("everything is in the checkpoint"))
    net = tiny(space="ycbcr", loss="euclidean", batch_norm=True, weights="gone.pth").eval()
    save_model(tmp_path / "net.safetensors", net, {}, half=False)
    loaded = load_model(tmp_path / "net.safetensors")
    net = net.to(memory_format=torch.channels_last)  # as what is loaded
    assert loaded.options == net.options
    assert loaded.working_size == 224
    lightness = some_lightness()
    assert torch.equal(loaded(lightness), net(lightness))
    decode = DecodeSettings()
    assert torch.equal(loaded.predict_ab(lightness, decode), net.predict_ab(lightness, decode))


@pytest.mark.parametrize(("space", "loss"), [("lab", "mse"), ("ycbcr", "euclidean")])
def test_it_learns_two_photos_by_heart(space, loss, monkeypatch):
    monkeypatch.setattr(vgg16, "INPUT_SIDE", 64)  # a twelfth of the work
    net = tiny(width=1 / 16, batch_norm=True, dropout=0.0, space=space, loss=loss).train()
    lab = photographs(64)
    target = net.target(lab[:, 1:], lab[:, :1])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(40):
        optimizer.zero_grad()
        losses = net.loss(net(lab[:, :1]), target)
        losses["total"].backward()
        optimizer.step()
    assert losses["rmse"].item() < 0.2 * target.square().mean().sqrt().item() * net.scale


def test_a_run_begins_with_a_model_wherever_its_first_weights_came_from(tmp_path):
    words = ["width=0.03125", "output_side=5"]
    first = Vgg16(working_size=32, options=Vgg16Options.parse([*words, "weights=random"]))
    save_model(tmp_path / "first.safetensors", first, {})
    settings = TrainSettings(
        model="vgg16", working_size=32, options=(*words, "weights=elsewhere.pth")
    )
    device = torch.device("cpu")
    net = make_network(None, settings, device, tmp_path / "first.safetensors")
    for name, tensor in first.state_dict().items():
        torch.testing.assert_close(net.state_dict()[name], tensor, rtol=2e-3, atol=1e-4)
    other = TrainSettings(
        model="vgg16", working_size=32, options=("width=0.03125", "weights=random")
    )
    with pytest.raises(ValueError, match="cannot be the beginning"):
        make_network(None, other, device, tmp_path / "first.safetensors")
