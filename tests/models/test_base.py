"""The interface that every family keeps, shown on the smallest family there is."""

import math
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zcolor.models.base import ColorNet, Options
from zcolor.settings import PRESETS, ColorizeSettings, DecodeSettings


class OneColor(ColorNet):
    """One colour for the whole photo."""

    def __init__(self):
        super().__init__()
        self.color = nn.Parameter(torch.tensor([3.0, -4.0]))

    def forward(self, lightness):
        return self.color.expand(len(lightness), 2)[:, :, None, None]

    def target(self, ab, lightness, labels=None):
        return ab.mean(dim=(2, 3), keepdim=True)

    def loss(self, output, target):
        return {"total": F.mse_loss(output, target)}

    def to_ab(self, output, lightness, decode):
        return output if decode.method == "mean" else 2 * output

    @classmethod
    def from_header(cls, header):
        return cls()


def test_the_interface_alone_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        ColorNet()


@pytest.mark.parametrize("method", ["forward", "target", "loss", "to_ab", "from_header"])
def test_a_family_that_leaves_a_method_out_cannot_be_made(method):
    members = {name: member for name, member in vars(OneColor).items() if name != method}
    incomplete = type("Incomplete", (ColorNet,), members)
    with pytest.raises(TypeError, match=method):
        incomplete()


def test_predict_ab_is_to_ab_of_forward():
    net = OneColor()
    lightness = torch.zeros(2, 1, 8, 8)
    ab = net.predict_ab(lightness, DecodeSettings(method="mean"))
    assert ab.shape == (2, 2, 1, 1)
    assert ab[1].flatten().tolist() == [3, -4]
    assert torch.equal(net.predict_ab(lightness, DecodeSettings()), 2 * ab)


def test_predict_ab_runs_the_hooks_of_the_module():
    net = OneColor()
    seen = []
    net.register_forward_hook(lambda module, args, output: seen.append(tuple(args[0].shape)))
    net.predict_ab(torch.zeros(1, 1, 4, 4), DecodeSettings())
    assert seen == [(1, 1, 4, 4)]


def test_a_preset_is_no_way_to_decode_but_options_are():
    net = OneColor()
    for name in PRESETS:
        assert net.decoding(ColorizeSettings(preset=name, saturation=2)) == net.presets[name]
    with pytest.raises(ValueError, match=r"OneColor answers .* leave temperature and neutral out"):
        net.decoding(ColorizeSettings(temperature=0.5, neutral=(0, 1)))


@pytest.mark.parametrize("size", [0, 7, -8, 8193, 64.5, 64.0, "64", None, math.nan, [1], True])
def test_a_working_size_that_makes_no_sense_is_refused(size):
    class Sized(OneColor):
        def __init__(self, size):
            ColorNet.__init__(self, working_size=size)

    with pytest.raises(ValueError, match=r"working_size must be at least 8, got .* at most 8192"):
        Sized(size)
    assert Sized(8).working_size == 8
    assert Sized(np.int64(8192)).working_size == 8192


def test_a_family_for_photographs_says_so():
    net = OneColor()
    assert net.clip_length == 1
    assert net.working_size == 128
    assert net.options == Options()


def test_it_is_a_module_that_trains():
    net = OneColor()
    lightness, ab = torch.zeros(2, 1, 4, 4), torch.ones(2, 2, 4, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.4)
    for _ in range(60):
        optimizer.zero_grad()
        net.loss(net(lightness), net.target(ab, lightness))["total"].backward()
        optimizer.step()
    assert net.color.tolist() == pytest.approx([1, 1], abs=1e-3)


# ---- options ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Some(Options):
    """Options of every type."""

    depth: int = 5
    scale: float = 128.0
    frozen: bool = True
    file: str = ""
    activation: Literal["relu", "tanh"] = "relu"


def test_options_are_read_as_typed_on_the_command_line():
    words = ["depth=3", "scale=256", "frozen=false", "file=a=b.safetensors", "activation=tanh"]
    assert Some.parse(words) == Some(3, 256.0, False, "a=b.safetensors", "tanh")
    assert Some.parse([]) == Some()


def test_options_survive_a_header():
    given = Some(7, 0.1, False, "weights.safetensors", "tanh")
    assert Some.from_dict(asdict(given)) == given


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("depht=3", "unknown option 'depht=3'.*depth .5."),
        ("depth", "unknown option 'depth'"),
        ("depth=three", "depth must be of type int, got 'three'"),
        ("frozen=1", "frozen must be true or false"),
        ("activation=elu", "activation must be one of relu, tanh, got 'elu'"),
    ],
)
def test_other_options_are_refused(word, message):
    with pytest.raises(ValueError, match=message):
        Some.parse([word])


def test_a_family_without_options_says_so():
    with pytest.raises(ValueError, match="no options at all"):
        OneColor.options_type.parse(["depth=3"])


def test_the_header_says_how_to_build_it_again():
    assert OneColor().header() == {"working_size": 128, "options": {}}


@dataclass(frozen=True)
class Begun(Options):
    """Options of which one names weights alone."""

    of_the_beginning: ClassVar[tuple[str, ...]] = ("weights",)

    depth: int = 5
    weights: str = "hub"


def test_where_the_first_weights_come_from_is_no_part_of_the_build():
    assert Begun(weights="a").build() == Begun(weights="b").build() == {"depth": 5}
    assert Begun(depth=6).build() != Begun().build()
    with pytest.raises(ValueError, match="unknown option 'of_the_beginning=x'"):
        Begun.parse(["of_the_beginning=x"])
