"""bfloat16 where the device has it, and pictures that do not show it."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch

import zcolor.photo
from zcolor import Colorizer
from zcolor.precision import computes_in_bfloat16, fast_precision

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"avx512_bf16": False}, False),
        ({"cpu_name": "bf16"}, False),
        ({}, False),
    ],
)
def test_it_is_the_cpus_word(cpu_features, values, expected):
    cpu_features(**values)
    assert computes_in_bfloat16(CPU) is expected
    with fast_precision(CPU):
        dtype = torch.nn.Conv2d(1, 1, 1)(torch.zeros(1, 1, 2, 2)).dtype
    assert dtype == (torch.bfloat16 if expected else torch.float32)


def test_a_gpu_needs_compute_capability_8(monkeypatch):
    computes_in_bfloat16.cache_clear()
    for capability, expected in (((7, 5), False), ((8, 0), True), ((9, 0), True)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, found=capability: found)
        computes_in_bfloat16.cache_clear()
        assert computes_in_bfloat16(torch.device("cuda", 0)) is expected
    computes_in_bfloat16.cache_clear()


@pytest.mark.parametrize("options", [{}, {"preset": "accurate"}, {"temperature": 0.38}])
def test_pictures_are_those_of_float32(cpu_features, options):
    """Whatever this CPU has: bfloat16 is then emulated, with the same rounding."""
    colorizer = Colorizer(device="cpu")
    differences = []
    for photo in (skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()):
        cpu_features(avx512_bf16=True)
        fast = colorizer(photo, **options).astype(int)
        cpu_features()
        exact = colorizer(photo, **options).astype(int)
        differences.append(np.abs(fast - exact).max(axis=2).ravel())
    difference = np.concatenate(differences)
    assert difference.max() > 0  # it was in use
    assert (difference <= 1).mean() >= 0.99
    assert (difference <= 4).mean() >= 0.9999


def test_the_distribution_is_float32_and_decodes_to_the_picture(cpu_features):
    cpu_features(avx512_bf16=True)
    colorizer, photo = Colorizer(device="cpu"), skimage.data.coffee()
    distribution = colorizer.distribution(photo)
    assert distribution.logits.dtype == torch.float32
    read = zcolor.photo.read_photo(photo)
    by_hand = read.with_ab(distribution.decode())
    assert np.abs(by_hand.astype(int) - colorizer(photo)).max() <= 1
