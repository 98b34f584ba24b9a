"""The mean of weights: of every tensor, of checkpoints and of the ends of runs."""

import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import torch

from tests.training.test_loop import TINY, colorful_photo
from zcolor.checkpoint import read_checkpoint, read_header
from zcolor.models.zhang import Zhang
from zcolor.registry import load_model, save_model
from zcolor.training.loop import train
from zcolor.training.mean_weights import mean_weights

TOOL = Path(__file__).parents[2] / "tools" / "mean_weights.py"


@pytest.fixture
def two(tmp_path):
    paths = []
    for seed in range(2):
        torch.manual_seed(seed)
        net = Zhang(width=1 / 16, working_size=32)
        for buffer in net.buffers():
            if buffer.dtype == torch.float32 and buffer.ndim == 1 and buffer.numel() < 300:
                buffer.add_(torch.rand_like(buffer))  # statistics as after a training
        paths.append(tmp_path / f"{seed}.safetensors")
        save_model(paths[-1], net, {"training": {"seed": seed}, "provenance": {"seen": seed}})
    return paths


@pytest.mark.parametrize("shares", [(), (1, 3)])
def test_every_tensor_is_the_mean(two, shares, tmp_path):
    out = tmp_path / "mean.safetensors"
    mean_weights(two, out, shares=shares)
    first, second = (load_model(path).state_dict() for path in two)
    share = 0.25 if shares else 0.5
    moved = 0
    for name, found in load_model(out).state_dict().items():
        expected = share * first[name] + (1 - share) * second[name]
        assert torch.allclose(found, expected.to(found.dtype), rtol=1e-3, atol=1e-4), name
        moved += not torch.equal(found, second[name])
    assert moved > 22


def test_the_header_tells_of_what_the_mean_was_taken(two, tmp_path):
    out = tmp_path / "mean.safetensors"
    mean_weights(two, out)
    header = read_header(out)
    assert header["training"] == {"seed": 1}
    assert header["provenance"]["seen"] == 1
    parts = header["provenance"]["mean_of"]
    assert [part["share"] for part in parts] == [0.5, 0.5]
    assert [part["sha256"] for part in parts] == [read_header(path)["sha256"] for path in two]
    assert [part["training"] for part in parts] == [{"seed": 0}, {"seed": 1}]


def test_of_a_run_the_end_counts(tmp_path, two):
    for i in range(8):
        (tmp_path / "photos").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "photos" / f"{i}.png"), colorful_photo(i))
    run = tmp_path / "run"
    photos = [tmp_path / "photos"]
    train(TINY, photos, run, val=photos, progress=False)
    out = tmp_path / "mean.safetensors"
    mean_weights([two[0], run], out, shares=(0, 1))
    last, _ = read_checkpoint(run / "last.safetensors")
    for name, found in load_model(out).state_dict().items():
        assert torch.allclose(found, last[f"ema.module.{name}"], rtol=1e-3, atol=1e-4), name
    assert read_header(out)["provenance"]["seen"] == TINY.photos


@pytest.mark.parametrize(
    ("shares", "message"),
    [((1,), "one share"), ((-1, 2), "at least 0"), ((0, 0), "not all of them"),
     ((float("nan"), 1), "one share")],
)  # fmt: skip
def test_senseless_shares_are_refused(two, shares, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        mean_weights(two, tmp_path / "out.safetensors", shares=shares)


def test_networks_of_two_kinds_and_one_alone_are_refused(two, tmp_path):
    wide = tmp_path / "wide.safetensors"
    save_model(wide, Zhang(width=1 / 8, working_size=32), {})
    with pytest.raises(ValueError, match=r"wide\.safetensors and .* no networks of one kind"):
        mean_weights([wide, two[0]], tmp_path / "out.safetensors")
    with pytest.raises(ValueError, match="at least two"):
        mean_weights(two[:1], tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_the_tool_takes_shares_and_presets(two, tmp_path):
    out = tmp_path / "mean.safetensors"
    call = [sys.executable, TOOL, *two, "--out", out, "--shares", "1", "3"]
    done = subprocess.run(
        [*call, "--vivid", "0.5", "1.5", "2", "-3", "1.1", "0.25"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    vivid = load_model(out).presets["vivid"]
    assert (vivid.temperature, vivid.rebalance, vivid.gain, vivid.contrast) == (0.5, 1.5, 1.1, 0.25)
    assert vivid.neutral == (2, -3)
    short = subprocess.run([*call, "--vivid", "1"], capture_output=True, text=True, check=False)
    assert short.returncode == 1
    assert "six numbers" in short.stderr
