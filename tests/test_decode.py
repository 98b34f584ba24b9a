"""From logits to ab: the limits, NumPy loops, half precision, and memory."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from zcolor.decode import cell_colors, decode_answer, decode_logits, strengthen, strips
from zcolor.distribution import ColorDistribution
from zcolor.quantizer import AbGrid
from zcolor.settings import DecodeSettings

GRID = AbGrid()


class WidestFloat(TorchDispatchMode):
    """Records the most elements that any freshly made float32 or float64 tensor holds."""

    def __init__(self, known):
        super().__init__()
        self.known = known.untyped_storage().data_ptr()
        self.numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if not isinstance(tensor, torch.Tensor) or tensor.dtype.itemsize < 4:
                continue
            if tensor.is_floating_point() and tensor.untyped_storage().data_ptr() != self.known:
                self.numel = max(self.numel, tensor.untyped_storage().nbytes() // 4)
        return result


def numpy_decode(logits, colors, temperature):
    """One pixel at a time, in float64."""
    n, _, h, w = logits.shape
    ab = np.zeros((n, 2, h, w))
    for photo in range(n):
        for y in range(h):
            for x in range(w):
                z = logits[photo, :, y, x] / temperature
                p = np.exp(z - z.max())
                p /= p.sum()
                for p_q, color in zip(p, colors):
                    ab[photo, :, y, x] += p_q * color
    return ab


def some_logits(n=2, q=324, h=3, w=5, scale=4.0):
    return torch.randn(n, q, h, w, generator=torch.Generator().manual_seed(7)) * scale


@pytest.mark.parametrize("temperature", [0.1, 0.38, 0.77, 1.0])
def test_annealed_mean_equals_loop(temperature):
    logits = some_logits()
    ab = decode_logits(logits, GRID.centers, temperature)
    expected = numpy_decode(logits.double().numpy(), GRID.centers.double().numpy(), temperature)
    assert ab.shape == (2, 2, 3, 5)
    assert ab.dtype == torch.float32
    assert np.abs(ab.numpy() - expected).max() < 1e-3


def test_one_is_the_mean():
    logits = some_logits()
    p = np.exp(logits.double().numpy())
    p /= p.sum(axis=1, keepdims=True)
    mean = np.einsum("nqhw,qc->nchw", p, GRID.centers.double().numpy())
    assert np.abs(decode_logits(logits, GRID.centers, 1.0).numpy() - mean).max() < 1e-3


def test_zero_is_argmax():
    logits = some_logits()
    expected = GRID.centers.numpy()[logits.numpy().argmax(axis=1)]  # (n, h, w, 2)
    ab = decode_logits(logits, GRID.centers, 0)
    assert (ab.numpy() == expected.transpose(0, 3, 1, 2)).all()


@pytest.mark.parametrize("temperature", [1e-3, 1e-6, 1e-20, 1e-38, 1e-45, 5e-324])
@pytest.mark.parametrize("scale", [4.0, 1e4, 1e12])
def test_towards_zero_it_becomes_argmax(temperature, scale):
    logits = some_logits(scale=scale)
    limit = decode_logits(logits, GRID.centers, 0)
    gap = logits.topk(2, dim=1).values
    told = (gap[:, 0] - gap[:, 1] > 0.02)[:, None].expand_as(limit)
    assert told.float().mean() > 0.9
    close = decode_logits(logits, GRID.centers, temperature)
    assert close.isfinite().all()
    assert (close - limit)[told].abs().max() < 1e-3


def test_ties_are_averaged_at_any_temperature_above_zero():
    logits = torch.zeros(1, 2, 1, 1)
    colors = torch.tensor([[-10.0, 0.0], [30.0, 4.0]])
    for temperature in (1e-30, 0.38, 1.0):
        assert decode_logits(logits, colors, temperature).flatten().tolist() == [10, 2]


@given(temperature=st.floats(0, 1), shift=st.floats(-1000, 1000), scale=st.floats(0, 1e6))
def test_the_answer_stays_among_the_colours(temperature, shift, scale):
    logits = some_logits(n=1, q=9, h=2, w=2, scale=1.0) * scale + shift
    colors = AbGrid(3).centers
    ab = decode_logits(logits, colors, temperature)
    assert ab.isfinite().all()
    assert ab.abs().max() <= colors.abs().max() + 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.0, 0.38, 1.0])
def test_half_precision_logits_are_decoded_in_float32(dtype, temperature):
    logits = some_logits().to(dtype)
    ab = decode_logits(logits, GRID.centers, temperature)
    assert ab.dtype == torch.float32
    assert torch.equal(ab, decode_logits(logits.float(), GRID.centers, temperature))


@pytest.mark.parametrize("temperature", [0.0, 0.38])
def test_autocast_costs_no_precision(temperature):
    logits = some_logits()
    expected = decode_logits(logits, GRID.centers, temperature)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(decode_logits(logits, GRID.centers, temperature), expected)


def test_gradients_flow_through_the_annealed_mean():
    logits = some_logits(n=1, q=9, h=2, w=3, scale=1.0).requires_grad_()
    decode_logits(logits, AbGrid(3).centers, 0.5).sum().backward()
    assert logits.grad.isfinite().all()
    assert logits.grad.abs().sum() > 0


def test_layout_in_memory_does_not_matter():
    logits = some_logits()
    strided = logits.to(memory_format=torch.channels_last)
    for temperature in (0, 0.38):
        expected = decode_logits(logits, GRID.centers, temperature)
        given_strided = decode_logits(strided, GRID.centers, temperature)
        assert (given_strided - expected).abs().max() < 1e-4


@pytest.mark.parametrize("height_width", [(1, 1), (1, 40_000), (40_000, 1), (300, 130)])
def test_parts_are_joined_in_order(height_width):
    """More pixels than are decoded at once, in every shape."""
    logits = some_logits(n=2, q=4, h=height_width[0], w=height_width[1])
    colors = AbGrid(2).centers
    for temperature in (0, 0.38):
        ab = decode_logits(logits, colors, temperature)
        p = torch.nn.functional.one_hot(logits.argmax(dim=1), 4).movedim(3, 1).float()
        if temperature:
            p = torch.softmax(logits / temperature, dim=1)
        assert (ab - torch.einsum("nqhw,qc->nchw", p, colors)).abs().max() < 1e-3


def test_strips_cover_every_pixel_once():
    logits = torch.arange(2 * 300 * 130).view(2, 1, 300, 130).float()
    seen = torch.cat([part.flatten() for _, _, part in strips(logits)])
    assert torch.equal(seen, logits.flatten())
    assert max(part.numel() for _, _, part in strips(logits)) <= 1 << 14


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "answer",
    [
        lambda logits, grid: decode_logits(logits, grid.centers, 0.0),
        lambda logits, grid: decode_logits(logits, grid.centers, 0.38),
        lambda logits, grid: ColorDistribution(logits, grid).decode(),
        lambda logits, grid: ColorDistribution(logits, grid).confidence(),
    ],
    ids=["argmax", "annealed", "distribution", "confidence"],
)
def test_logits_never_exist_twice_at_full_precision(dtype, answer):
    logits, grid = torch.zeros(1, 36, 384, 400, dtype=dtype), AbGrid(6)
    with WidestFloat(logits) as widest:
        answer(logits, grid)
    assert 0 < widest.numel <= (1 << 14) * 36 < logits.numel() / 9


def test_the_recorder_of_memory_sees_a_copy():
    logits = torch.zeros(1, 36, 384, 400)
    with WidestFloat(logits) as widest:
        _ = logits[0].flatten(1)  # a view
        assert widest.numel == 0
        _ = torch.softmax(logits, dim=1)
    assert widest.numel == logits.numel()


@pytest.mark.parametrize("temperature", [-0.1, 1.01, math.nan, math.inf])
def test_other_temperatures_are_refused(temperature):
    with pytest.raises(ValueError, match=r"temperature must lie in \[0, 1\] .* got"):
        decode_logits(torch.zeros(1, 324, 1, 1), GRID.centers, temperature)


@pytest.mark.parametrize(
    ("logits", "colors"),
    [((324, 2, 2), (324, 2)), ((1, 313, 2, 2), (324, 2)), ((1, 324, 2, 2), (324, 3))],
)
def test_shapes_that_do_not_fit_are_refused(logits, colors):
    with pytest.raises(ValueError, match=r"logits must be \(n, q, h, w\) and colors \(q, 2\)"):
        decode_logits(torch.zeros(logits), torch.zeros(colors), 0.38)


def test_colours_of_the_cells():
    means = GRID.centers + 1
    assert cell_colors(GRID, means, "means") is means
    assert torch.equal(cell_colors(GRID, means, "centers"), GRID.centers)
    assert torch.equal(cell_colors(GRID, None, "centers"), GRID.centers)


def test_missing_and_foreign_means_are_refused():
    with pytest.raises(ValueError, match=r"needs \(324, 2\) of them, got none; use colors='cent"):
        cell_colors(GRID, None, "means")
    with pytest.raises(ValueError, match=r"got \(313, 2\); use colors='centers'"):
        cell_colors(GRID, torch.zeros(313, 2), "means")


@pytest.mark.parametrize("temperature", [0.0, 0.38, 1.0])
def test_a_bias_is_added_to_the_logits_of_every_pixel(temperature):
    torch.manual_seed(3)
    logits, colors, bias = torch.randn(2, 7, 5, 4), torch.randn(7, 2) * 30, torch.randn(7)
    expected = decode_logits(logits + bias.view(1, 7, 1, 1), colors, temperature)
    got = decode_logits(logits, colors, temperature, bias=bias)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-4)
    half = decode_logits(logits.half(), colors, temperature, bias=torch.zeros(7))
    assert torch.equal(half, decode_logits(logits.half(), colors, temperature))
    with pytest.raises(ValueError, match=r"bias must be \(7,\), got \(1,\)"):
        decode_logits(logits, colors, temperature, bias=torch.zeros(1))


# ---- contrast --------------------------------------------------------------------------------


def some_ab(n=2, h=5, w=7, seed=0):
    return torch.randn(n, 2, h, w, generator=torch.Generator().manual_seed(seed)) * 15


def test_strengthen_against_a_loop():
    ab = some_ab()
    result = strengthen(ab, 0.8)
    for photo in range(2):
        mean_a, mean_b = ab[photo].flatten(1).mean(1).tolist()
        for y in range(5):
            for x in range(7):
                a, b = ab[photo, :, y, x].tolist()
                d = math.hypot(a - mean_a, b - mean_b)
                factor = 1 + 0.8 * d / (d + 10)
                assert result[photo, :, y, x].tolist() == pytest.approx(
                    [a * factor, b * factor], abs=1e-4
                )


def test_strengthen_keeps_hues_greys_and_the_mean_color():
    ab = some_ab()
    ab[0, :, 0, 0] = 0
    result = strengthen(ab, 2.0)
    assert result[0, :, 0, 0].tolist() == [0, 0]
    cross = ab[:, 0] * result[:, 1] - ab[:, 1] * result[:, 0]
    assert cross.abs().max() < 1e-3
    factors = (result.norm(dim=1) / ab.norm(dim=1).clamp(min=1e-6))[ab.norm(dim=1) > 0]
    assert 1 <= factors.min() <= factors.max() <= 3
    even = torch.tensor([9.0, -4.0]).view(1, 2, 1, 1).expand(1, 2, 4, 4)
    assert torch.equal(strengthen(even, 2.0), even)


def test_strengthen_looks_at_each_photo_alone():
    ab = some_ab()
    alone = torch.cat([strengthen(ab[:1], 1.0), strengthen(ab[1:], 1.0)])
    assert torch.allclose(strengthen(ab, 1.0), alone)


def test_the_settings_reach_every_step():
    grid = AbGrid(bins=4, low=-40, high=40)
    logits = torch.randn(1, 16, 3, 5, generator=torch.Generator().manual_seed(2)) * 3
    weights = torch.linspace(0.5, 2, 16)
    how = DecodeSettings(
        temperature=0.6, colors="centers", rebalance=1.5, neutral=(1, 3), gain=1.2, contrast=0.5
    )
    p = torch.softmax((logits + 0.5 * weights.log().view(1, -1, 1, 1)) / 0.6, dim=1)
    mean = torch.einsum("nqhw,qc->nchw", p, grid.centers) - torch.tensor([1.0, 3.0]).view(
        1, 2, 1, 1
    )
    expected = strengthen(1.2 * mean, 0.5)
    assert torch.allclose(decode_answer(logits, grid, None, weights, how), expected, atol=1e-4)
    plain = decode_answer(logits, grid, None, weights, how.changed(contrast=0))
    assert not torch.allclose(plain, expected, atol=1)
