"""The training loop: learns, resumes to the bit, stops cleanly, and refuses what does not fit."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from zcolor.checkpoint import read_checkpoint, read_header, write_checkpoint
from zcolor.registry import load_model
from zcolor.settings import DecodeSettings
from zcolor.training import learner, loop
from zcolor.training.loop import TrainingDivergedError, train
from zcolor.training.pack import pack_photos
from zcolor.training.priors import build_priors, read_priors
from zcolor.training.settings import AugmentSettings, FilmSettings, PackSettings, TrainSettings
from zcolor.training.validate import rgb8_to_lab

TINY = TrainSettings(
    photos=160,
    batch=8,
    crops=(16, 24),
    shares=(0.6, 0.4),
    working_size=32,
    width=1 / 16,
    epoch_photos=80,
    val_photos=4,
    optimizer="adamw",
    warmup=0.1,
    lr=3e-3,
    ema=0.9,
    bf16=False,
    jobs=2,
    checkpoint_minutes=60,
    device="cpu",
)


def colorful_photo(seed: int, side: int = 40) -> np.ndarray:
    """A few soft coloured patches whose colour goes with their lightness."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 4, 1)).astype(np.uint8)
    ramp = cv2.applyColorMap(small[:, :, 0], cv2.COLORMAP_JET)[:, :, ::-1]
    return cv2.resize(np.ascontiguousarray(ramp), (side, side), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("photos")
    for name, first, n in (("train", 0, 24), ("val", 100, 6)):
        (root / name).mkdir()
        for i in range(n):
            bgr = np.ascontiguousarray(colorful_photo(first + i)[:, :, ::-1])
            cv2.imwrite(str(root / name / f"{i:02d}.png"), bgr)
    return {"train": root / "train", "val": root / "val"}


def run(photos, out, settings=TINY, **options):
    return train(settings, [photos["train"]], out, val=[photos["val"]], progress=False, **options)


def test_a_run_leaves_what_it_promises(photos, tmp_path):
    result = run(photos, tmp_path / "run", command="a test")
    assert (result.reason, result.seen, len(result.losses)) == ("done", 160, 20)
    assert result.losses[-1] < result.losses[0]
    folder = tmp_path / "run"
    for name in ("last.safetensors", "best.safetensors", "curves.png", "priors.h5", "log.jsonl"):
        assert (folder / name).stat().st_size > 0, name
    assert len(list((folder / "sheets").glob("*.png"))) == 2
    assert list((folder / "tensorboard").iterdir())
    assert not list(folder.rglob("*.part"))
    assert (
        TrainSettings(
            **{
                **json.loads((folder / "settings.json").read_text()),
                "options": TINY.options,
                "crops": TINY.crops,
                "shares": TINY.shares,
                "augment": TINY.augment,
                "film": TINY.film,
            }
        )
        == TINY
    )
    header = read_header(result.best)
    assert header["provenance"]["command"] == "a test"
    assert header["provenance"]["n_photos"] == 24
    assert header["provenance"]["seen"] in (80, 160)
    assert set(header["provenance"]["metrics"]) >= {"val_loss", "val_auc_raw", "val_auc_rebalanced"}
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert {"total", "cross_entropy", "top1", "lr"} <= set(log[0])
    assert sum("val_auc_rebalanced" in entry for entry in log) == 2
    net = load_model(str(result.best))
    assert net.predict_ab(torch.full((1, 1, 16, 16), 50.0), DecodeSettings()).isfinite().all()
    # The priors of the photographs went into the weights.
    assert net.prior.sum().item() == pytest.approx(1, abs=1e-2)
    assert (net.class_weights != 1).any()


def test_a_run_begins_with_the_weights_of_a_model(photos, tmp_path):
    short = dataclasses.replace(TINY, photos=8, epoch_photos=8, lr=1e-9, lr_floor=0.0, ema=0.0)
    first = run(photos, tmp_path / "first", dataclasses.replace(TINY, photos=80)).best
    again = run(photos, tmp_path / "again", short, init=first)
    assert read_header(again.best)["provenance"]["init"] == read_header(first)["sha256"]
    assert read_header(first)["provenance"]["init"] is None
    ends = [load_model(str(path)) for path in (first, again.best)]
    for (name, a), (_, b) in zip(*(net.named_parameters() for net in ends), strict=True):
        torch.testing.assert_close(a, b, rtol=2e-3, atol=1e-4, msg=name)
    with pytest.raises(ValueError, match="cannot be the beginning"):
        run(photos, tmp_path / "wide", dataclasses.replace(short, width=1 / 8), init=first)
    with pytest.raises(FileNotFoundError):
        run(photos, tmp_path / "none", short, init=tmp_path / "nothing.safetensors")


def test_a_run_learns_from_a_teacher_whatever_the_colours_are(photos, tmp_path):
    teacher = run(photos, tmp_path / "teacher").best
    net = load_model(str(teacher))
    lightness = torch.linspace(10, 90, 24 * 24).view(1, 1, 24, 24)

    def apart(other) -> float:
        """Total variation between the learner's answer and the teacher's."""
        with torch.inference_mode():
            ours = load_model(str(other)).eval().distribution(lightness).probabilities
            theirs = net.eval().distribution(lightness).probabilities
        return (ours - theirs).abs().sum(dim=1).mean().item() / 2

    other = dataclasses.replace(TINY, seed=7, photos=320, film=FilmSettings(share=0.0))
    alone = run(photos, tmp_path / "alone", other)
    taught = run(
        photos,
        tmp_path / "taught",
        dataclasses.replace(other, teacher_share=1.0),
        teacher=teacher,
    )
    assert apart(taught.best) < 0.8 * apart(alone.best)
    assert read_header(taught.best)["provenance"]["teacher"] == read_header(teacher)["sha256"]
    assert read_header(alone.best)["provenance"]["teacher"] is None
    log = [
        json.loads(line) for line in (tmp_path / "taught" / "log.jsonl").read_text().splitlines()
    ]
    assert all(
        entry["teacher"] == pytest.approx(entry["total"]) for entry in log if "total" in entry
    )


def test_a_teacher_that_means_something_else_is_refused(photos, tmp_path):
    first = run(photos, tmp_path / "first", dataclasses.replace(TINY, photos=8)).best
    with pytest.raises(ValueError, match=r"cannot teach this run.*rebalancing"):
        run(
            photos,
            tmp_path / "zhang",
            dataclasses.replace(TINY, rebalancing="zhang"),
            teacher=first,
        )
    with pytest.raises(ValueError, match="only a classifier"):
        run(
            photos,
            tmp_path / "auto",
            dataclasses.replace(TINY, model="autoencoder"),
            teacher=first,
        )
    with pytest.raises(FileNotFoundError):
        run(photos, tmp_path / "none", teacher=tmp_path / "nothing.safetensors")
    half = dataclasses.replace(TINY, checkpoint_minutes=60)
    run(photos, tmp_path / "half", half, teacher=first, minutes=1e-9)
    with pytest.raises(ValueError, match="the teacher differ"):
        run(photos, tmp_path / "half", half, resume=True)
    assert run(photos, tmp_path / "half", half, teacher=first, resume=True).reason == "done"


@pytest.mark.parametrize(
    "settings",
    [
        TINY,
        dataclasses.replace(TINY, optimizer="sgd", lr=1e-2, schedule="plateau", patience=0),
        dataclasses.replace(TINY, optimizer="muon", bf16=True),
        dataclasses.replace(
            TINY, optimizer="adam", ema=0.0, bf16=True, cache=True, targets="hard", monitor="train"
        ),
    ],
    ids=["adamw-cosine", "sgd-plateau", "muon-bf16", "adam-bf16-no-ema"],
)
def test_resumed_losses_are_those_of_the_uninterrupted_run_to_the_bit(
    photos, tmp_path, monkeypatch, settings
):
    settings = dataclasses.replace(settings, photos=232, epoch_photos=112)
    whole = run(photos, tmp_path / "whole", settings)
    # The second run is interrupted after 9 steps, in the middle of an epoch.
    step = loop._Trainer._step

    def interrupted_step(self, batches):
        if self.record.step == 8:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batches)

    monkeypatch.setattr(loop._Trainer, "_step", interrupted_step)
    first = run(photos, tmp_path / "legs", settings)
    monkeypatch.setattr(loop._Trainer, "_step", step)
    assert (first.reason, first.seen) == ("interrupted", 72)
    torch.manual_seed(12345)  # whatever happens between two legs
    second = run(photos, tmp_path / "legs", settings, resume=True)
    assert second.reason == "done"
    assert len(second.losses) == 20
    assert first.losses + second.losses == whole.losses
    ends = [load_model(str(tmp_path / name / "best.safetensors")) for name in ("whole", "legs")]
    for name, value in ends[0].state_dict().items():
        assert torch.equal(value, ends[1].state_dict()[name]), name


def test_minutes_end_a_leg_with_a_checkpoint(photos, tmp_path):
    first = run(photos, tmp_path / "run", minutes=0)
    assert (first.reason, first.seen) == ("minutes", 8)
    second = run(photos, tmp_path / "run", resume=True, minutes=0)
    assert (second.reason, second.seen) == ("minutes", 16)
    assert run(photos, tmp_path / "run", resume=True).reason == "done"


def test_sigterm_leaves_a_checkpoint_and_the_old_handlers(photos, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    step = loop._Trainer._step

    def terminated_step(self, batches):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batches)

    monkeypatch.setattr(loop._Trainer, "_step", terminated_step)
    result = run(photos, tmp_path / "run")
    assert (result.reason, result.seen) == ("interrupted", 8)
    assert read_header(result.state)["seen"] == 8
    assert signal.getsignal(signal.SIGTERM) == before


def test_nan_stops_the_run_and_names_the_last_good_checkpoint(photos, tmp_path, monkeypatch):
    run(photos, tmp_path / "run", minutes=0)
    good = (tmp_path / "run" / "last.safetensors").read_bytes()
    to_device = learner.to_device

    def poisoned(batch, device):
        lightness, ab = to_device(batch, device)
        return lightness * float("nan"), ab

    monkeypatch.setattr(learner, "to_device", poisoned)
    with pytest.raises(TrainingDivergedError, match=r"last good checkpoint is .*last\.safetensors"):
        run(photos, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == good


def test_accumulated_parts_make_one_step(photos, tmp_path):
    """What the step is: `test_learner.py`."""
    settings = dataclasses.replace(TINY, accumulate=2, photos=24, epoch_photos=24)
    result = run(photos, tmp_path / "run", settings)
    assert len(result.losses) == 3
    assert result.losses[0] == pytest.approx(np.log(324), rel=0.25)


def test_two_processes_give_the_losses_of_one_that_accumulates(photos, tmp_path):
    settings = dataclasses.replace(TINY, accumulate=2, photos=80, epoch_photos=80, threads=1)
    alone = run(photos, tmp_path / "one", settings)
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import dataclasses, json, sys
            from zcolor.training.settings import AugmentSettings, FilmSettings, TrainSettings
            from zcolor.training.loop import train
            settings = TrainSettings(**json.loads({
                json.dumps(
                    json.dumps(
                        dataclasses.asdict(
                            dataclasses.replace(settings, accumulate=1, augment=None, film=None)
                        )
                    )
                )
            }))
            settings = dataclasses.replace(settings, augment=AugmentSettings(), film=FilmSettings(),
                crops=tuple(settings.crops), shares=tuple(settings.shares))
            result = train(settings, [{str(photos["train"])!r}], {str(tmp_path / "two")!r},
                           val=[{str(photos["val"])!r}], progress=False)
            print("LOSSES", json.dumps([result.reason, *result.losses]))
            """
        )
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(loop.__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line for line in done.stdout.splitlines() if line.startswith("LOSSES")]
    per_process = [json.loads(line.removeprefix("LOSSES ")) for line in lines]
    assert len(per_process) == 2
    assert all(reason == "done" for reason, *_ in per_process)
    # Each process logs its own half; together they are the two halves of the one process.
    together = np.mean([losses for _, *losses in per_process], axis=0)
    np.testing.assert_allclose(together, alone.losses, rtol=2e-4)


def test_two_photos_are_learnt_to_a_near_perfect_decode(photos, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for name in ("00.png", "01.png"):
        (few / name).write_bytes((photos["train"] / name).read_bytes())
    plain = AugmentSettings(scaled=0, flip=False, rotation=0, shear=0, jitter=0)
    settings = TrainSettings(
        photos=600,
        batch=2,
        crops=(40,),
        working_size=40,
        shares=(1.0,),
        width=1 / 8,
        lr=3e-3,
        ema=0.9,
        epoch_photos=600,
        bf16=False,
        rebalancing="none",
        augment=plain,
        device="cpu",
    )
    result = train(settings, [few], tmp_path / "run", val=[few], progress=False)
    net = load_model(str(result.best))
    for path in sorted(few.glob("*.png")):
        rgb = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        lab = rgb8_to_lab(rgb)
        with torch.inference_mode():
            output = net(lab[:, :1])
            indices, _ = net.target(lab[:, 1:], lab[:, :1], None)
            ab = net.to_ab(output, lab[:, :1], DecodeSettings("annealed", 0.38, "means"))
        assert (output.argmax(dim=1) == indices[:, 0]).float().mean() > 0.93
        truth = torch.nn.functional.avg_pool2d(lab[:, 1:], 4)
        assert (ab - truth).norm(dim=1).mean() < 8
        assert truth.norm(dim=1).mean() > 40  # there was something to learn


def test_a_folder_with_a_run_is_not_overwritten(photos, tmp_path):
    run(photos, tmp_path / "run", minutes=0)
    with pytest.raises(FileExistsError, match="--resume"):
        run(photos, tmp_path / "run")


def test_a_new_run_replaces_no_finished_weights(photos, tmp_path):
    short = dataclasses.replace(TINY, photos=8, epoch_photos=8, val_photos=1)
    best = run(photos, tmp_path / "run", short).best.read_bytes()
    log = (tmp_path / "run" / "log.jsonl").read_bytes()
    for state in (tmp_path / "run").glob("last.safetensors*"):  # to save room
        state.unlink()
    again = run(photos, tmp_path / "run", dataclasses.replace(short, seed=5))
    assert again.best.read_bytes() != best
    assert (tmp_path / "run" / "best.1.safetensors").read_bytes() == best
    assert (tmp_path / "run" / "log.1.jsonl").read_bytes() == log


def test_resume_without_a_run_is_refused(photos, tmp_path):
    with pytest.raises(FileNotFoundError, match="resume from"):
        run(photos, tmp_path / "nothing", resume=True)


def test_resume_with_other_settings_is_refused(photos, tmp_path):
    run(photos, tmp_path / "run", minutes=0)
    with pytest.raises(ValueError, match="lr differ"):
        run(photos, tmp_path / "run", dataclasses.replace(TINY, lr=1e-4), resume=True)


def test_resume_with_other_validation_photos_or_order_is_refused(photos, tmp_path):
    run(photos, tmp_path / "run", minutes=0)
    for val in ([photos["train"]], []):
        with pytest.raises(ValueError, match="the validation photographs differ"):
            train(
                TINY, [photos["train"]], tmp_path / "run",
                val=val or [photos["train"] / "00.png"], resume=True, progress=False,
            )  # fmt: skip
    train(TINY, [photos["train"], photos["val"]], tmp_path / "loose", val=[photos["val"]],
          progress=False, minutes=0)  # fmt: skip
    with pytest.raises(ValueError, match="the order of the training photographs differ"):
        train(TINY, [photos["val"], photos["train"]], tmp_path / "loose", val=[photos["val"]],
              progress=False, resume=True)  # fmt: skip
    packs = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for pack, part in zip(packs, ("0*.png", "1*.png"), strict=True):
        sources = [str(path) for path in sorted(photos["train"].glob(part))]
        pack_photos(sources, pack, PackSettings(fractions=(1, 0, 0), min_chroma=0, min_side=16))
    options = {"val": [photos["val"]], "progress": False}
    train(TINY, packs, tmp_path / "two", minutes=0, **options)
    with pytest.raises(ValueError, match="the order of the training photographs differ"):
        train(TINY, packs[::-1], tmp_path / "two", resume=True, **options)
    assert train(TINY, packs, tmp_path / "two", resume=True, **options).seen == TINY.photos


def test_resume_with_a_pack_made_anew_is_refused_and_earlier_states_go_on(photos, tmp_path):
    """Under the same name, of the same photographs, of another size."""
    pack, settings = tmp_path / "a.h5", PackSettings(fractions=(1, 0, 0), min_chroma=0, min_side=16)
    short = dataclasses.replace(TINY, photos=24, epoch_photos=24, val_photos=1)
    options = {"val": [photos["val"]], "progress": False}
    pack_photos([photos["train"]], pack, settings, progress=False)
    train(short, [pack], tmp_path / "run", minutes=0, **options)
    shutil.copytree(tmp_path / "run", tmp_path / "earlier")
    smaller = dataclasses.replace(settings, short_side=24)
    pack_photos([photos["train"]], pack, smaller, overwrite=True, progress=False)
    with pytest.raises(ValueError, match="the order of the training photographs differ"):
        train(short, [pack], tmp_path / "run", resume=True, **options)
    # What states had before: the set alone.
    state = tmp_path / "earlier" / "last.safetensors"
    tensors, header = read_checkpoint(state)
    write_checkpoint(state, tensors, {**header, "order": [header["data_hash"]]})
    assert train(short, [pack], tmp_path / "earlier", resume=True, **options).reason == "done"


def test_what_a_run_began_with_is_remembered(photos, tmp_path):
    short = dataclasses.replace(TINY, photos=32, epoch_photos=16, val_photos=2)
    first = run(photos, tmp_path / "first", short).best
    other = run(photos, tmp_path / "other", dataclasses.replace(short, seed=1)).best
    run(photos, tmp_path / "run", short, init=first, minutes=0)
    with pytest.raises(ValueError, match="the model it began with differ"):
        run(photos, tmp_path / "run", short, init=other, resume=True)
    result = run(photos, tmp_path / "run", short, resume=True)
    assert read_header(result.best)["provenance"]["init"] == read_header(first)["sha256"]


def test_counts_of_other_photographs_are_not_used(photos, tmp_path):
    """A run that ended before its first state leaves its priors behind."""
    build_priors([photos["val"]], tmp_path / "run" / "priors.h5", progress=False)
    of_val = read_priors(tmp_path / "run" / "priors.h5")
    run(photos, tmp_path / "run", minutes=0)
    counted = read_priors(tmp_path / "run" / "priors.h5")
    assert counted.n_photos == 24 != of_val.n_photos
    # Those of the same photographs are not counted again.
    before = (tmp_path / "run" / "priors.h5").stat().st_mtime_ns
    for state in (tmp_path / "run").glob("last.safetensors*"):
        state.unlink()
    run(photos, tmp_path / "run", minutes=0)
    assert (tmp_path / "run" / "priors.h5").stat().st_mtime_ns == before


def test_given_priors_are_kept_in_the_folder_and_the_run_goes_on_without_them(photos, tmp_path):
    given, run_folder = tmp_path / "given.h5", tmp_path / "run"
    build_priors([photos["val"]], given, progress=False)
    short = dataclasses.replace(TINY, photos=16, epoch_photos=16, val_photos=1)
    whole = run(photos, tmp_path / "whole", short, priors=given)
    run(photos, run_folder, short, priors=given, minutes=0)
    assert (run_folder / "priors.h5").read_bytes() == given.read_bytes()
    given.unlink()
    result = run(photos, run_folder, short, priors=given, resume=True)
    assert read_checkpoint(result.best)[1]["sha256"] == read_checkpoint(whole.best)[1]["sha256"]
    with pytest.raises(FileNotFoundError, match="no priors at"):
        run(photos, tmp_path / "new", short, priors=given)


def test_what_else_is_called_priors_is_not_replaced(photos, tmp_path):
    build_priors([photos["val"]], tmp_path / "given.h5", progress=False)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "priors.h5").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"run/priors\.h5"):
        run(photos, tmp_path / "run", priors=tmp_path / "given.h5")
    assert (tmp_path / "run" / "priors.h5").read_bytes() == b"mine"


def test_photos_that_are_validated_and_trained_on_are_told(photos, tmp_path, caplog):
    short = dataclasses.replace(TINY, photos=8, epoch_photos=8, val_photos=1)
    run(photos, tmp_path / "apart", short, minutes=0)
    assert "trained on too" not in caplog.text
    both = tmp_path / "both"
    shutil.copytree(photos["val"], both)
    shutil.copy(photos["train"] / "03.png", both / "renamed.png")
    train(short, [photos["train"]], tmp_path / "run", val=[both], progress=False, minutes=0)
    assert "1 of 7 validation photos are trained on too" in caplog.text


def test_resume_with_other_photos_is_refused(photos, tmp_path):
    run(photos, tmp_path / "run", minutes=0)
    with pytest.raises(ValueError, match="training photographs differ"):
        train(
            TINY, [photos["val"]], tmp_path / "run", val=[photos["val"]], resume=True,
            progress=False,
        )  # fmt: skip


def test_monitoring_validation_without_photos_is_refused(photos, tmp_path):
    with pytest.raises(ValueError, match="--monitor train"):
        train(TINY, [photos["train"]], tmp_path / "run", progress=False)


@pytest.mark.parametrize(
    ("monitor", "val_losses", "kept"),
    # The training loss falls from one epoch to the next.
    [("val", (1.0, 2.0), 80), ("val", (2.0, 1.0), 160), ("train", (1.0, 2.0), 160)],
)
def test_the_best_model_is_kept(photos, tmp_path, monkeypatch, monitor, val_losses, kept):
    losses = iter(val_losses)
    monkeypatch.setattr(loop, "examine", lambda *_: {"val_loss": next(losses)})
    result = run(photos, tmp_path / "run", dataclasses.replace(TINY, monitor=monitor))
    assert read_header(result.best)["provenance"]["seen"] == kept


def test_without_validation_photos_the_training_loss_chooses(photos, tmp_path):
    settings = dataclasses.replace(TINY, monitor="train")
    result = train(settings, [photos["train"]], tmp_path / "run", progress=False)
    assert read_header(result.best)["provenance"]["seen"] in (80, 160)


def test_broken_photo_is_named_with_the_cure(photos, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "good.png").write_bytes((photos["train"] / "00.png").read_bytes())
    (tmp_path / "set" / "torn.png").write_bytes((photos["train"] / "01.png").read_bytes()[:200])
    for number, cache in enumerate((False, True)):
        with pytest.raises(ValueError, match=r"set/torn\.png cannot be read.*zcolor pack"):
            train(
                dataclasses.replace(TINY, cache=cache), [tmp_path / "set"],
                tmp_path / f"run{number}", val=[photos["val"]], progress=False,
            )  # fmt: skip


def test_a_broken_member_of_an_archive_is_named(photos, tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("00.png", "01.png"):
            file.write(photos["train"] / name, name)
    data = bytearray(archive.read_bytes())
    data[data.index(b"01.png") + 100] ^= 255  # its checksum does not fit any more
    archive.write_bytes(bytes(data))
    with pytest.raises(ValueError, match=r"01\.png cannot be read.*zcolor pack"):
        train(TINY, [archive], tmp_path / "run", val=[photos["val"]], progress=False)


def test_a_broken_validation_photo_is_left_out_and_named(photos, tmp_path, caplog):
    (tmp_path / "val").mkdir()
    for name in ("00.png", "01.png"):
        (tmp_path / "val" / name).write_bytes((photos["val"] / name).read_bytes())
    (tmp_path / "val" / "02.png").write_bytes(b"torn")
    result = train(
        dataclasses.replace(TINY, photos=80), [photos["train"]], tmp_path / "run",
        val=[tmp_path / "val"], progress=False,
    )  # fmt: skip
    assert result.best.exists()
    assert "left out of the validation" in caplog.text
    assert "02.png" in caplog.text


def test_the_log_of_a_family_that_does_not_classify_is_json(photos, tmp_path, caplog):
    settings = dataclasses.replace(
        TINY, model="autoencoder", photos=80, crops=(32,), shares=(1,), width=0.1
    )
    run(photos, tmp_path / "run", settings, priors=tmp_path / "none.h5")
    ignored = "autoencoder: it does not classify colours, so that --width --priors changes nothing"
    assert ignored in caplog.text

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    lines = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    entries = [json.loads(line, parse_constant=refuse) for line in lines]
    assert any("val_loss" in entry for entry in entries)
    assert not any("val_top1" in entry for entry in entries)


def test_degradation_reaches_the_network_and_not_the_targets(photos, tmp_path, monkeypatch):
    seen = []
    to_device = learner.to_device

    def spy(batch, device):
        lightness, ab = to_device(batch, device)
        seen.append((lightness.max().item(), ab.abs().max().item()))
        return lightness, ab

    monkeypatch.setattr(learner, "to_device", spy)
    run(photos, tmp_path / "run", minutes=0, degrade=lambda crop, _rng: np.zeros_like(crop))
    lightness, ab = seen[0]
    assert lightness == pytest.approx(0, abs=1e-4)
    assert ab > 20
