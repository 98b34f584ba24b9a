"""Checkpoints that are cut short: refused with the cure; a run goes on from the state before."""

import dataclasses
import os
import struct
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.faults import runs
from zcolor.checkpoint import CheckpointError, read_checkpoint, read_header
from zcolor.registry import load_model
from zcolor.training.loop import train
from zcolor.training.pretrain import pretrain
from zcolor.training.pretrain_settings import PretrainSettings
from zcolor.training.settings import TrainSettings
from zcolor.training.state import previous_of

SETTINGS = TrainSettings(
    photos=48,
    batch=8,
    crops=(16,),
    shares=(1.0,),
    working_size=32,
    width=1 / 16,
    epoch_photos=24,
    val_photos=2,
    bf16=False,
    jobs=1,
    device="cpu",
)
CURE = r"(is cut short|no safetensors file|is cut short or damaged)[^;]*; "
EVERY = 97  # bytes


def assert_refused(path):
    for read in (read_header, read_checkpoint, load_model):
        with pytest.raises(CheckpointError, match=CURE):
            read(path)


@pytest.mark.slow
def test_cut_short_at_every_byte_of_the_header_and_every_97th_after_it(tiny_model, tmp_path):
    data = tiny_model.read_bytes()
    header = 8 + struct.unpack("<Q", data[:8])[0]
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(data)
    for length in [*range(len(data) - 1, header + 1, -EVERY), *range(header, -1, -1)]:
        os.truncate(cut, length)
        assert_refused(cut)


@given(share=st.floats(0, 1, exclude_max=True))
def test_cut_short_anywhere(tiny_model, tmp_path_factory, share):
    data = tiny_model.read_bytes()
    cut = tmp_path_factory.mktemp("cut") / "cut.safetensors"
    cut.write_bytes(data[: int(share * len(data))])
    assert_refused(cut)


# ---- training --------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def _no_curves():
    """Drawing them takes longer than these trainings."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "matplotlib.figure", None)
        yield


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    path = tmp_path_factory.mktemp("pack") / "photos.h5"
    return runs.make_pack(path, 30, 40, fractions=(0.8, 0.2))


@pytest.fixture(scope="module")
def whole(pack, tmp_path_factory):
    """The weights of a run that nothing disturbed."""
    result = leg(pack, tmp_path_factory.mktemp("whole") / "run")
    return read_checkpoint(result.state)[0]


def leg(pack, out, **options):
    return train(SETTINGS, [pack], out, progress=False, **options)


def assert_same(path, whole):
    tensors = read_checkpoint(path)[0]
    assert all(torch.equal(tensors[name], whole[name]) for name in whole)


@pytest.mark.parametrize("share", runs.but(0.5, 0, 0.001, 0.999))
def test_resume_takes_the_state_before_and_says_so(pack, whole, tmp_path, caplog, share):
    out = tmp_path / "run"
    leg(pack, out, minutes=0)
    last = leg(pack, out, minutes=0, resume=True).state
    assert [read_header(path)["seen"] for path in (previous_of(last), last)] == [8, 16]
    os.truncate(last, int(share * last.stat().st_size))
    result = leg(pack, out, resume=True)
    assert "last.safetensors" in caplog.text
    assert f"going on from the state before it, {previous_of(last)}" in caplog.text
    assert (result.reason, result.seen) == ("done", 48)
    assert_same(last, whole)


def test_resume_takes_the_state_before_if_there_is_no_last(pack, whole, tmp_path, caplog):
    """As a kill between the two renames of saving leaves it."""
    out = tmp_path / "run"
    leg(pack, out, minutes=0)
    last = leg(pack, out, minutes=0, resume=True).state
    last.unlink()
    with pytest.raises(FileExistsError, match="go on with --resume"):
        leg(pack, out)
    assert leg(pack, out, resume=True).seen == 48
    assert "going on from the state before it" in caplog.text
    assert_same(last, whole)


def test_without_a_state_before_it_the_cure_is_to_begin_anew(pack, tmp_path):
    last = leg(pack, tmp_path / "run", minutes=0).state
    os.truncate(last, 1000)
    with pytest.raises(CheckpointError, match="no earlier state beside it, so begin anew"):
        leg(pack, tmp_path / "run", resume=True)


def test_a_log_that_was_cut_in_a_line_does_not_stop_a_run(pack, whole, tmp_path):
    out = tmp_path / "run"
    leg(pack, out, minutes=0)
    with (out / "log.jsonl").open("a") as log:
        log.write('{"seen": 8, "tot')
    assert_same(leg(pack, out, resume=True).state, whole)
    assert '"tot\n' not in (out / "log.jsonl").read_text()


def test_another_width_is_named_before_anything_is_filled_in(pack, tmp_path):
    leg(pack, tmp_path / "run", minutes=0)
    other = dataclasses.replace(SETTINGS, width=1 / 8)
    with pytest.raises(ValueError, match=r"cannot resume .*: width differ"):
        train(other, [pack], tmp_path / "run", resume=True, progress=False)


def test_pretrain_takes_the_state_before(tmp_path, caplog):
    photos = tmp_path / "photos"
    for label in ("a", "b"):
        runs.make_photos(photos / label, 6, 40)
    settings = PretrainSettings(
        extractor="test_efficientnet",
        photos=24,
        batch=8,
        size=32,
        min_photos=2,
        jobs=1,
        device="cpu",
    )
    ends = []
    for name in ("whole", "cut"):
        out = tmp_path / f"{name}.safetensors"
        if name == "cut":
            for _ in range(2):
                state = pretrain(settings, [photos], out, minutes=0, progress=False).path
            os.truncate(state, state.stat().st_size // 2)
        assert pretrain(settings, [photos], out, progress=False).reason == "done"
        ends.append(read_checkpoint(out)[0])
    assert "going on from the state before it" in caplog.text
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cut.safetensors", "photos", "whole.safetensors",
    ]  # fmt: skip
