"""The extractor: what it sees, that it never learns, and where its weights may come from."""

import copy
import functools
import sys

import numpy as np
import pytest
import skimage.color
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from zcolor.checkpoint import write_checkpoint
from zcolor.models.extractor import EXTRACTOR_KIND, Extractor, ExtractorKind
from zcolor.models.timm_weights import file_state, hub_state, make_timm, timm_config

NAME = "test_resnet"  # of timm: 160 px, 1000 classes, mean and deviation 0.5
CLASSES = 7


def make(classes=CLASSES, size=32):
    torch.manual_seed(1)
    return Extractor(NAME, classes=classes, size=size)


def some_lightness(n=2, h=24, w=40):
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(6)) * 100


def other_state(classes=CLASSES):
    """Weights that `make` does not begin with."""
    torch.manual_seed(2)
    return timm.create_model(NAME, num_classes=classes).state_dict()


def own_file(path, *, extractor=NAME, kind=EXTRACTOR_KIND, size=32, classes=CLASSES):
    header = {"kind": kind, "extractor": extractor, "classes": classes, "size": size}
    write_checkpoint(path, other_state(), header)
    return path


def has_taken(extractor, state):
    mine = extractor.network.state_dict()
    return all(torch.equal(mine[name], value) for name, value in state.items())


# ---- what it sees and says -------------------------------------------------------------------


def test_it_sees_the_grey_picture_as_timm_would_give_it():
    """Against scikit-image's colours and a formula for the statistics."""
    lightness = some_lightness(1, 32, 32)
    lab = np.zeros((32, 32, 3))
    lab[:, :, 0] = lightness[0, 0]
    rgb = skimage.color.lab2rgb(lab)
    expected = (rgb - 0.5) / 0.5
    seen = make().prepare(lightness)[0].permute(1, 2, 0).numpy()
    assert np.abs(seen - expected).max() < 1e-2
    assert np.ptp(seen, axis=2).max() < 1e-3  # all three channels are alike


def test_statistics_are_those_of_the_network():
    extractor = Extractor("test_efficientnet", classes=3, size=160)
    assert extractor.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert extractor.std.flatten().tolist() == pytest.approx([0.229, 0.224, 0.225])
    white = extractor.prepare(torch.full((1, 1, 160, 160), 100.0))[0, :, 0, 0]
    expected = [(1 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    assert white.tolist() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("size", [(1, 1), (5, 90), (64, 64)])
def test_any_size_is_brought_to_its_own(size):
    extractor = make()
    assert extractor.prepare(some_lightness(2, *size)).shape == (2, 3, 32, 32)
    assert extractor(some_lightness(2, *size)).shape == (2, CLASSES)


def test_shrinking_averages():
    stripes = torch.zeros(1, 1, 320, 320)
    stripes[..., ::2] = 100
    seen = make().prepare(stripes)
    assert seen.std() < 0.05  # neither black nor white, everywhere the same


def test_answer_is_that_of_the_network():
    extractor = make()
    lightness = some_lightness()
    with torch.no_grad():
        expected = extractor.network(extractor.prepare(lightness))
    assert torch.equal(extractor(lightness), expected)


# ---- it never learns -------------------------------------------------------------------------


def test_it_has_no_gradient_and_stays_in_evaluation_mode():
    holder = nn.ModuleDict({"extractor": make()}).train()
    extractor = holder["extractor"]
    assert not extractor.training
    assert not any(module.training for module in extractor.modules())
    assert not any(parameter.requires_grad for parameter in extractor.parameters())
    assert not extractor(some_lightness()).requires_grad
    assert extractor.train() is extractor


def test_a_lightness_that_asks_for_a_gradient_gets_one():
    """As when the inputs are looked for that excite a unit."""
    extractor, lightness = make(), some_lightness().requires_grad_()
    extractor(lightness).square().sum().backward()
    assert lightness.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in extractor.parameters())


def test_the_statistics_of_its_norms_stay():
    extractor = make().train()
    before = copy.deepcopy(extractor.state_dict())
    extractor(some_lightness(8))
    after = extractor.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_the_mean_and_deviation_are_not_stored():
    assert all(name.startswith("network.") for name in make().state_dict())


# ---- weights ---------------------------------------------------------------------------------


def test_random_stays_as_it_is():
    extractor = make()
    before = copy.deepcopy(extractor.network.state_dict())
    extractor.load("random")
    assert has_taken(extractor, before)


def test_file_of_pretraining(tmp_path):
    path = own_file(tmp_path / "own.safetensors")
    assert ExtractorKind.of(NAME, path) == ExtractorKind(CLASSES, 32)
    extractor = make()
    extractor.load(path)
    assert has_taken(extractor, other_state())
    assert not any(parameter.requires_grad for parameter in extractor.parameters())


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_file_of_timm(tmp_path, ending, wrapped):
    path = tmp_path / f"timm{ending}"
    if ending == ".pth":
        torch.save({"state_dict": other_state()} if wrapped else other_state(), path)
    else:
        prefix = "module." if wrapped else ""
        save_file({prefix + name: value for name, value in other_state().items()}, path)
    assert ExtractorKind.of(NAME, str(path)) == ExtractorKind(CLASSES, 160)
    extractor = make()
    extractor.load(str(path))
    assert has_taken(extractor, other_state())


def test_file_that_lacks_most(tmp_path):
    save_file({"fc.bias": torch.zeros(CLASSES)}, tmp_path / "part.safetensors")
    with pytest.raises(
        ValueError, match=r"part\.safetensors holds no weights.* \.\.\.\);"
    ) as error:
        file_state(NAME, tmp_path / "part.safetensors", classes=CLASSES)
    assert len(str(error.value)) < 700  # not the names of all that is missing


@pytest.fixture
def hub(monkeypatch):
    """A hub that gives known weights."""
    asked = []
    real = timm.create_model

    def create_model(name, *, pretrained=False, **options):
        if not pretrained:
            return real(name, **options)
        asked.append((name, options))
        net = real(name)
        net.load_state_dict(other_state(1000))
        return net

    monkeypatch.setattr(timm, "create_model", create_model)
    return asked


def test_hub(hub):
    assert ExtractorKind.of(NAME, "hub") == ExtractorKind(1000, 160)
    extractor = make(classes=1000)
    extractor.load("hub")
    assert hub == [(NAME, {})]
    assert has_taken(extractor, other_state(1000))


def test_kind_of_inception_resnet_v2():
    assert ExtractorKind.of("inception_resnet_v2", "hub") == ExtractorKind(1000, 299)


def test_hub_that_cannot_be_reached(monkeypatch):
    def create_model(name, *, pretrained=False, **options):
        raise FileNotFoundError("no connection")

    extractor = make(classes=1000)
    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(OSError, match=r"no connection.*give the file.*zcolor pretrain"):
        extractor.load("hub")
    with pytest.raises(OSError, match=f"of {NAME} cannot be had from timm's hub"):
        hub_state(NAME)


def test_another_number_of_classes_than_the_hub_has():
    with pytest.raises(ValueError, match="have 1000 classes, asked for were 7"):
        make().load("hub")


# ---- what is refused -------------------------------------------------------------------------


def test_file_that_is_not_there(tmp_path):
    for call in (make().load, lambda path: ExtractorKind.of(NAME, path)):
        with pytest.raises(FileNotFoundError, match=r"no weights at .*none\.pth.*zcolor pretrain"):
            call(tmp_path / "none.pth")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extractor": "resnet18"}, "holds weights of resnet18, not of test_resnet"),
        ({"kind": "training-state"}, "no extractor; make one with 'zcolor pretrain'"),
        ({"classes": 9}, "has 9 classes, asked for were 7"),
    ],
)
def test_file_of_zcolor_that_does_not_fit(tmp_path, changes, message):
    path = own_file(tmp_path / "own.safetensors", **changes)
    with pytest.raises(ValueError, match=message):
        make().load(path)


def test_file_with_another_number_of_classes(tmp_path):
    save_file(other_state(5), tmp_path / "five.safetensors")
    with pytest.raises(ValueError, match=r"no weights of test_resnet with 7 classes.*mismatch"):
        make().load(tmp_path / "five.safetensors")


def test_file_without_a_classifier(tmp_path):
    state = {name: value for name, value in other_state().items() if not name.startswith("fc.")}
    save_file(state, tmp_path / "headless.safetensors")
    with pytest.raises(ValueError, match=r"no fc\.bias in it"):
        ExtractorKind.of(NAME, tmp_path / "headless.safetensors")


class Harmful:
    """A pickle that would run code."""

    def __reduce__(self):
        return (print, ("run",))


def test_pickle_that_would_run_code(tmp_path, capsys):
    path = tmp_path / "harmful.pth"
    torch.save({"fc.bias": torch.zeros(CLASSES), "x": Harmful()}, path)
    for call in (make().load, lambda path: ExtractorKind.of(NAME, path)):
        with pytest.raises(ValueError, match="can be read safely"):
            call(path)
    assert capsys.readouterr().out == ""


def test_pickle_that_would_run_code_with_an_earlier_timm(tmp_path, capsys, monkeypatch):
    """Its readers unpickled everything unless told not to."""
    path = tmp_path / "harmful.pth"
    torch.save({"fc.bias": torch.zeros(CLASSES), "x": Harmful()}, path)
    trusting = functools.partial(timm.models._helpers.load_state_dict, weights_only=False)
    for module in (timm.models, timm.models._helpers, timm.models._builder):
        monkeypatch.setattr(module, "load_state_dict", trusting)
    for call in (make().load, lambda path: ExtractorKind.of(NAME, path)):
        with pytest.raises(ValueError, match="can be read safely"):
            call(path)
    assert capsys.readouterr().out == ""


def test_empty_file(tmp_path, hub):
    save_file({}, tmp_path / "empty.safetensors")
    with pytest.raises(ValueError, match=r"empty\.safetensors holds no weights.*it is empty"):
        make().load(tmp_path / "empty.safetensors")
    assert hub == []


@pytest.mark.parametrize("name", ["junk.pth", "junk.safetensors"])
def test_junk(tmp_path, name):
    (tmp_path / name).write_bytes(b"junk" * 99)
    with pytest.raises(ValueError, match=rf"{name}"):
        make().load(tmp_path / name)


def test_unknown_network():
    with pytest.raises(ValueError, match=r"timm knows no network 'resnet19'; near it are resnet"):
        make_timm("resnet19", classes=3)
    with pytest.raises(ValueError, match="timm knows no network ''"):
        timm_config("")


def test_size_that_the_network_cannot_see():
    with pytest.raises(ValueError, match=r"cannot look at squares of 64 px.*was made for 299"):
        Extractor("inception_resnet_v2", classes=3, size=64)


def test_timm_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r'pip install "zcolor\[zoo\]"'):
        make()
