"""The interface that every family keeps, shown on the smallest family there is."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zcolor.models.base import ColorNet
from zcolor.settings import DecodeSettings


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

    def header(self):
        return {}

    @classmethod
    def from_header(cls, header):
        return cls()


def test_the_interface_alone_cannot_be_made():
    with pytest.raises(TypeError, match="abstract"):
        ColorNet()


@pytest.mark.parametrize("method", ["forward", "target", "loss", "to_ab", "header", "from_header"])
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


def test_a_family_for_photographs_says_so():
    net = OneColor()
    assert net.clip_length == 1
    assert net.working_size == 128
    assert dict(net.optimizer_defaults) == {}


def test_it_is_a_module_that_trains():
    net = OneColor()
    lightness, ab = torch.zeros(2, 1, 4, 4), torch.ones(2, 2, 4, 4)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.4)
    for _ in range(60):
        optimizer.zero_grad()
        net.loss(net(lightness), net.target(ab, lightness))["total"].backward()
        optimizer.step()
    assert net.color.tolist() == pytest.approx([1, 1], abs=1e-3)
