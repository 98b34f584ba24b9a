"""The input that excites a unit: against filters whose best input is known."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from zcolor.excitation import ExciteSettings, excite, noise_lightness
from zcolor.inspection import BELOW_ZERO, list_groups, list_layers, record
from zcolor.models.zhang import Zhang
from zcolor.receptive import Field

QUICK = ExciteSettings(side=32, steps=30, shift=2.0)


def group_of(net, number=-1):
    return list_groups(net, list_layers(net, noise_lightness(32)))[number]


def gratings():
    """Two 17 x 17 filters: waves of 8 pixels across, and of 4 pixels down."""
    at = torch.arange(17.0) - 8
    window = torch.exp(-((at / 5) ** 2))
    across = torch.cos(2 * math.pi * at / 8).expand(17, 17)
    down = torch.cos(2 * math.pi * at / 4)[:, None].expand(17, 17)
    filters = torch.stack([across, down]) * window * window[:, None]
    net = nn.Sequential(nn.Conv2d(1, 2, 17, bias=False, padding=8), nn.ReLU(inplace=True))
    with torch.no_grad():
        net[0].weight.copy_((filters - filters.mean(dim=(1, 2), keepdim=True))[:, None] / 50)
    return net.eval()


def test_the_input_of_a_grating_is_that_grating():
    net = gratings()
    still = ExciteSettings(
        side=48, steps=100, shift=1.0, turn=0.0, zoom=0.0, contrast=0.01, smoothness=0.5
    )
    found = excite(net, group_of(net), [0, 1], still, field=Field(1, 17, 17))
    power = torch.fft.rfft2(found[:, 0] - found.mean(dim=(1, 2, 3))[:, None, None]).abs()
    across, down = (divmod(int(p[:25].argmax()), 25) for p in power)
    # 6 and 12 waves lie in 48 pixels.
    assert across[0] <= 1
    assert 5 <= across[1] <= 7
    assert 11 <= down[0] <= 13
    assert down[1] <= 1


def test_units_answer_more_than_to_the_noise_of_the_start():
    torch.manual_seed(1)
    net = Zhang(width=1 / 16).eval()
    group = group_of(net, 2)
    found = excite(net, group, [3, 5], QUICK)
    start = noise_lightness(32, seed=QUICK.seed, contrast=QUICK.contrast, smoothness=1.2)

    def answers(pictures):
        with torch.no_grad():
            maps = record(net, pictures, [group.layer])[group.layer][:, [3, 5]]
        return F.leaky_relu(maps, BELOW_ZERO).mean(dim=(2, 3))  # what is raised

    before, after = answers(start)[0], answers(found).diagonal()
    assert (after > before + 0.1 * before.abs()).all()
    assert found.shape == (2, 1, 32, 32)
    assert found.min() >= 0
    assert found.max() <= 100


def test_the_same_seed_gives_the_same_picture_and_the_network_stays_as_it_was():
    net = Zhang(width=1 / 16).eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    short = ExciteSettings(side=32, steps=3)
    group = group_of(net, 0)
    first, again = (excite(net, group, [1], short) for _ in range(2))
    assert torch.equal(first, again)
    other = excite(net, group, [1], ExciteSettings(side=32, steps=3, seed=1))
    assert not torch.equal(first, other)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_a_unit_gets_the_same_picture_alone_and_beside_others():
    net = gratings()
    short = ExciteSettings(side=32, steps=3)
    both = excite(net, group_of(net), [0, 1], short)
    torch.testing.assert_close(both[1:], excite(net, group_of(net), [1], short), atol=0.5, rtol=0.0)


def test_vectors_have_units_too():
    net = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32, 3))
    group = group_of(net)
    found = excite(net, group, [2], QUICK)
    weights = net[1].weight[2].detach().reshape(32, 32)
    inner = found[0, 0] - found.mean()
    assert float((inner * weights).sum()) > 0


def test_noise_is_as_smooth_as_asked_for():
    rough, smooth = (noise_lightness(64, smoothness=s, contrast=0.1) for s in (0.0, 1.5))
    assert smooth.diff(dim=3).std() < 0.3 * rough.diff(dim=3).std()
    assert torch.equal(noise_lightness(16, seed=4), noise_lightness(16, seed=4))
    assert 0 <= smooth.min() <= smooth.max() <= 100


@pytest.mark.parametrize(("units", "message"), [([], "at least one"), ([4], "units 0 to 3")])
def test_units_that_are_not_there_are_refused(units, message):
    net = Zhang(width=1 / 16).eval()
    with pytest.raises(ValueError, match=message):
        excite(net, group_of(net, 0), units, QUICK)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"side": 20}, "multiple of 8"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"rate": 0.0}, "rate above 0"),
        ({"shift": -1.0}, "must not be below 0"),
        ({"zoom": 1.0}, "zoom must lie"),
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        ExciteSettings(**wrong)
