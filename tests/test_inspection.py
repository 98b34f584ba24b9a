"""Looking into networks: layers, groups, answers, fields and patches, against plain counts."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from benchmarks.limits import count_macs
from zcolor.inspection import (
    MAX_GROUPS,
    find_group,
    first_filters,
    list_groups,
    list_layers,
    record,
    strongest_units,
)
from zcolor.models.zhang import Zhang
from zcolor.receptive import Field, measure_field, strongest_patches


def some_lightness(h=32, w=48):
    return torch.rand(1, 1, h, w, generator=torch.Generator().manual_seed(3)) * 100


@pytest.fixture(scope="module")
def zhang():
    torch.manual_seed(0)
    return Zhang(width=1 / 16).eval()


class Other(nn.Module):
    """No family: a body with a shortcut, a three-plane stem, a dense head, a step in place."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Conv2d(1, 1, 1)
        self.body = nn.ModuleDict(
            {
                "stem": nn.Conv2d(3, 6, 3, padding=1, stride=2),
                "block": nn.Sequential(nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)),
            }
        )
        self.head = nn.Linear(6, 5)

    def forward(self, lightness):
        x = self.body["stem"](lightness.expand(-1, 3, -1, -1))
        x.sub_(1e6)
        x = (x + self.body["block"](x)).relu_()
        return self.head(x.mean(dim=(2, 3)))


@pytest.fixture
def other():
    return Other().eval()


# ---- layers and groups -------------------------------------------------------------------------


def test_layers_of_zhang_have_their_sizes_and_costs(zhang):
    x = some_lightness()
    layers = {layer.name: layer for layer in list_layers(zhang, x)}
    assert next(iter(layers)) == "groups.0.0"
    assert list(layers)[-1] == "classifier"
    assert sum(x.n_parameters for x in layers.values()) == sum(
        p.numel() for p in zhang.parameters()
    )
    assert sum(x.n_macs for x in layers.values()) == count_macs(zhang, x)
    first = layers["groups.0.0"]
    assert (first.kind, first.shape, first.n_parameters) == ("Conv2d", (4, 32, 48), 4 * 10)
    assert first.n_macs == 4 * 9 * 32 * 48
    # Transposed: every place of the input, 16 weights for each pair of channels.
    up = layers["groups.7.0"]
    assert (up.kind, up.shape) == ("ConvTranspose2d", (16, 8, 12))
    assert up.n_macs == 4 * 6 * 32 * 16 * 16
    assert layers["groups.0.4"].n_macs == 0  # a norm


def test_layers_count_dense_ones_and_leave_out_what_does_not_run(other):
    layers = {layer.name: layer for layer in list_layers(other, some_lightness())}
    assert "unused" not in layers
    assert layers["head"].n_macs == 6 * 5
    assert layers["head"].shape == (5,)
    assert not any(module._forward_hooks for module in other.modules())


def test_groups_of_zhang_are_those_of_the_paper(zhang):
    groups = list_groups(zhang, list_layers(zhang, some_lightness()))
    assert [g.name for g in groups] == [*(f"groups.{i}" for i in range(8)), "classifier"]
    assert [g.n_units for g in groups] == [4, 8, 16, 32, 32, 32, 32, 16, 324]
    assert groups[4].layer == "groups.4.4"
    assert sum(g.n_parameters for g in groups) == sum(p.numel() for p in zhang.parameters())


def test_groups_of_any_module(other):
    groups = list_groups(other, list_layers(other, some_lightness()))
    assert [(g.name, g.layer, g.n_units) for g in groups] == [
        ("body.stem", "body.stem", 6),
        ("body.block.0", "body.block.0", 6),
        ("head", "head", 5),
    ]


def test_deep_networks_are_not_opened_too_far():
    net = nn.Sequential(*(nn.Sequential(*(nn.Conv2d(1, 1, 1) for _ in range(9))) for _ in "ab"))
    groups = list_groups(net, list_layers(net, some_lightness()))
    assert MAX_GROUPS < 2 * 9
    assert [(g.name, g.layer) for g in groups] == [("0", "0.8"), ("1", "1.8")]


def test_a_network_without_weights_is_refused():
    net = nn.Sequential(nn.ReLU())
    with pytest.raises(ValueError, match="no convolution and no fully connected layer"):
        list_groups(net, list_layers(net, some_lightness()))


def test_groups_are_found_by_number_and_name(zhang):
    groups = list_groups(zhang, list_layers(zhang, some_lightness()))
    assert find_group(groups, "5") is find_group(groups, "groups.4") is groups[4]
    with pytest.raises(ValueError, match=r"no group '10'; this model has 1 \(groups.0\), 2"):
        find_group(groups, "10")


# ---- answers -----------------------------------------------------------------------------------


def test_record_gives_what_the_layers_answered(zhang):
    x = some_lightness()
    found = record(zhang, x, ["groups.0.0", "groups.2", "classifier"])
    scaled = (x - 50) / 50
    torch.testing.assert_close(found["groups.0.0"], zhang.groups[0][0](scaled))
    torch.testing.assert_close(found["groups.2"], zhang.groups[:3](scaled))
    torch.testing.assert_close(found["classifier"], zhang(x))
    assert not any(module._forward_hooks for module in zhang.modules())


def test_record_keeps_what_is_changed_in_place_afterwards(other):
    found = record(other, some_lightness(), ["body.stem", "head"])
    assert found["body.stem"].abs().max() < 1e3
    assert found["head"].shape == (1, 5, 1, 1)


def test_record_runs_no_further_than_it_must(zhang):
    ran = []
    hook = zhang.classifier.register_forward_hook(lambda *_: ran.append(1))
    record(zhang, some_lightness(), ["groups.3"])
    hook.remove()
    assert not ran


@pytest.mark.parametrize(
    ("layer", "message"),
    [("groups.77", "has no layer 'groups.77'"), ("unused", "unused has no part")],
)
def test_record_refuses_layers_that_do_not_answer(zhang, other, layer, message):
    net = zhang if layer.startswith("groups") else other
    with pytest.raises(ValueError, match=message):
        record(net, some_lightness(), [layer])
    assert not any(module._forward_hooks for module in net.modules())


def test_filters_are_those_that_read_the_picture(zhang, other):
    x = some_lightness()
    torch.testing.assert_close(
        first_filters(zhang, list_layers(zhang, x)), zhang.groups[0][0].weight[:, 0]
    )
    stem = other.body["stem"].weight
    expected = stem[:, 0] + stem[:, 1] + stem[:, 2]
    torch.testing.assert_close(first_filters(other, list_layers(other, x)), expected)
    dense = nn.Sequential(nn.Flatten(), nn.Linear(32 * 48, 2))
    assert first_filters(dense, list_layers(dense, x)) is None


def test_units_are_ranked_by_how_much_they_differ():
    maps = torch.zeros(1, 6, 5, 5)
    maps[0, 0] = 1000.0  # strong, and everywhere the same
    maps[0, 1, 2, 2] = 3.0
    maps[0, 2, 2, 3] = -9.0  # counts for 0.9
    maps[0, 3, 3, 1] = 5.0
    maps[0, 4, 0] = 100.0  # at the border alone
    assert strongest_units(maps, 3) == [3, 1, 2]
    assert strongest_units(torch.tensor([1.0, 5.0, -60.0]).reshape(1, 3, 1, 1), 9) == [2, 1, 0]


# ---- fields and patches ------------------------------------------------------------------------


def field_sizes():
    """Of the paper's groups 1 to 7, by the rule: each layer adds (k - 1) x dilation x stride."""
    size, stride, sizes = 1, 1, []
    for n, step, dilation in ((2, 2, 1), (2, 2, 1), (3, 2, 1), (3, 1, 1), (3, 1, 2), (3, 1, 2)):
        for i in range(n):
            size += 2 * dilation * stride
            stride *= step if i == n - 1 else 1
        sizes.append((size, stride))
    return sizes


def test_fields_are_those_of_the_formula():
    net = Zhang(width=1 / 8).eval()
    groups = list_groups(net, list_layers(net, some_lightness()))
    fields = [measure_field(net, group) for group in groups[:6]]
    assert [(f.size, f.stride) for f in fields] == field_sizes()
    assert all(1 < f.effective <= f.size for f in fields)
    # The rim of a large field has little influence.
    assert fields[-1].effective < 0.7 * fields[-1].size


def test_effective_field_of_known_influence():
    """Weights 1, 1, 96, 1, 1 down a column: the middle row alone has 90 %."""
    net = nn.Conv2d(1, 1, (5, 1), padding=(2, 0))
    with torch.no_grad():
        net.weight.copy_(torch.tensor([1.0, 1, 96, 1, 1]).reshape(1, 1, 5, 1))
    net = nn.Sequential(net)
    (group,) = list_groups(net, list_layers(net, some_lightness()))
    assert measure_field(net, group) == Field(stride=1.0, size=5, effective=1)
    with torch.no_grad():
        net[0].weight.fill_(1.0)
    assert measure_field(net, group).effective == 5


@given(
    size=st.integers(1, 300), stride=st.sampled_from([1, 2, 4, 8]),
    row=st.integers(0, 15), column=st.integers(0, 15),
)  # fmt: skip
def test_boxes_lie_in_the_picture_and_hold_the_place(size, stride, row, column):
    shape = (16 * stride, 16 * stride)
    top, left, bottom, right = Field(stride, size, size).box(row, column, shape)
    assert 0 <= top < bottom <= shape[0]
    assert 0 <= left < right <= shape[1]
    assert bottom - top == right - left == min(size, *shape)
    assert top - 0.5 <= (row + 0.5) * stride <= bottom + 0.5
    assert left - 0.5 <= (column + 0.5) * stride <= right + 0.5


class Square(nn.Module):
    """Brings every picture to 64 x 64, as networks with dense layers do."""

    working_size = 64

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 5, stride=2, padding=2)

    def forward(self, lightness):
        return self.conv(nn.functional.interpolate(lightness, (64, 64), mode="bilinear"))


def test_a_network_that_sees_squares():
    net = Square()
    (group,) = list_groups(net, list_layers(net, some_lightness()))
    field = measure_field(net, group)
    assert (field.stride, field.size) == (2.0, 5)
    # 32 maps over 128 rows and 64 columns: strides of 4 and 2 in the photo.
    photo = torch.zeros(1, 1, 128, 64)
    photo[:, :, 100:104, 30:32] = 100.0
    (patches,) = strongest_patches(net, [(group, 0)], [(0, photo)], n=1)
    assert patches[0].maps == (32, 32)
    top, left, bottom, right = field.box(24, 10, (128, 64), maps=(32, 32))
    assert (bottom - top, right - left) == (2 * field.effective, field.effective)
    assert (top + bottom) / 2 == pytest.approx(24.5 * 4, abs=0.5)
    assert (left + right) / 2 == pytest.approx(10.5 * 2, abs=0.5)


def test_patches_are_where_the_unit_answers_most():
    net = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
    photos = []
    for number in range(5):
        photo = torch.full((1, 1, 8, 10), 50.0)
        photo[0, 0, number, 7] = 60.0 + number  # the brightest
        photo[0, 0, 5, number] = 40.0 - number  # the darkest
        photos.append((number * 10, photo))
    (group,) = list_groups(net, list_layers(net, photos[0][1]))
    bright, dark = strongest_patches(net, [(group, 0), (group, 1)], photos, n=3)
    assert [(p.photo, p.place) for p in bright] == [(40, (4, 7)), (30, (3, 7)), (20, (2, 7))]
    assert [(p.photo, p.place) for p in dark] == [(40, (5, 4)), (30, (5, 3)), (20, (5, 2))]
    assert [p.value for p in bright] == pytest.approx([64.0, 63.0, 62.0])
    assert bright[0].shape == (8, 10)
    assert math.isclose(dark[0].value, -36.0)
