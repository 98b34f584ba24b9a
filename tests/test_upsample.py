"""`upsample_ab` against torch's own interpolation, and its bands against the whole."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from zcolor.upsample import upsample_ab


def random_ab(*shape: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (torch.rand(shape, generator=generator, dtype=torch.float64) * 220 - 110).to(dtype)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((4, 6), (16, 24)),
        ((4, 6), (17, 23)),
        ((1, 1), (5, 3)),
        ((1, 7), (9, 1)),
        ((5, 1), (4000, 3)),
        ((8, 8), (3, 4000)),
        ((16, 16), (5, 7)),
        ((2, 2), (1, 1)),
        ((6, 9), (6, 9)),
    ],
)
def test_equals_torch(source: tuple[int, int], target: tuple[int, int]) -> None:
    ab = random_ab(2, 2, *source)
    expected = F.interpolate(ab, size=target, mode="bilinear", align_corners=False)
    torch.testing.assert_close(upsample_ab(ab, *target), expected, rtol=0, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    source=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    target=st.tuples(st.integers(1, 70), st.integers(1, 40)),
    n_rows=st.integers(1, 70),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16]),
)
def test_bands_equal_the_whole_bit_by_bit(
    source: tuple[int, int], target: tuple[int, int], n_rows: int, dtype: torch.dtype
) -> None:
    ab = random_ab(1, 2, *source, dtype=dtype)
    whole = upsample_ab(ab, *target)
    assert whole.dtype == dtype
    bands = [
        upsample_ab(ab, *target, rows=(start, min(start + n_rows, target[0])))
        for start in range(0, target[0], n_rows)
    ]
    assert torch.equal(torch.cat(bands, dim=2), whole)


def test_one_colour_stays_exactly_that_colour() -> None:
    ab = torch.tensor([12.3, -45.6]).view(1, 2, 1, 1)
    assert torch.equal(upsample_ab(ab, 37, 11), ab.expand(1, 2, 37, 11))


def test_stays_within_the_range_of_the_source_and_leaves_it_alone() -> None:
    ab = random_ab(3, 2, 5, 4, dtype=torch.float32)
    before = ab.clone()
    result = upsample_ab(ab, 41, 43)
    assert torch.equal(ab, before)
    assert result.min() >= ab.min() - 1e-4
    assert result.max() <= ab.max() + 1e-4
    # Past the outermost centres the colour of the corner continues.
    torch.testing.assert_close(result[..., 0, 0], ab[..., 0, 0], rtol=0, atol=0)


def test_passes_gradients() -> None:
    ab = random_ab(1, 2, 3, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: upsample_ab(x, 5, 7, rows=(1, 4)), ab)


@pytest.mark.parametrize(
    "ab",
    [
        torch.zeros(2, 4, 4),
        torch.zeros(1, 3, 4, 4),
        torch.zeros(1, 2, 0, 4),
        torch.zeros(1, 2, 4, 4, dtype=torch.int64),
    ],
)
def test_refuses_other_shapes_and_dtypes(ab: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"ab must be a floating tensor of shape \(n, 2, h, w\)"):
        upsample_ab(ab, 8, 8)


@pytest.mark.parametrize("rows", [(-1, 3), (3, 3), (4, 2), (0, 9)])
def test_refuses_rows_outside(rows: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"rows must satisfy 0 <= first < last <= 8"):
        upsample_ab(torch.zeros(1, 2, 2, 2), 8, 8, rows=rows)


def test_refuses_an_empty_result() -> None:
    with pytest.raises(ValueError, match="height and width must be at least 1, got 0 and 8"):
        upsample_ab(torch.zeros(1, 2, 2, 2), 0, 8)
