"""Two processes on the same output: one is refused, or both end with whole files."""

import pytest
import torch

from tests.faults import runs
from zcolor.atomic import InUseError, locked
from zcolor.checkpoint import read_checkpoint
from zcolor.training.loop import train
from zcolor.training.pack import pack_photos
from zcolor.training.pretrain import pretrain
from zcolor.training.pretrain_settings import PretrainSettings
from zcolor.training.settings import TrainSettings

AT_IT = "another process is at it; wait until it ends, or name another"


def test_a_second_pack_into_a_file_is_refused(tmp_path):
    photos = runs.make_photos(tmp_path / "photos", 3, 60)
    with locked(tmp_path / "d.h5.lock", "d.h5"):
        with pytest.raises(InUseError, match=f"d.h5: {AT_IT}"):
            pack_photos([photos], tmp_path / "d.h5", progress=False)
        assert not list(tmp_path.glob("d.h5.part"))
    assert pack_photos([photos], tmp_path / "d.h5", progress=False).kept == 3
    assert not (tmp_path / "d.h5.lock").exists()


def test_a_second_pretraining_into_a_file_is_refused(tmp_path):
    photos = runs.make_photos(tmp_path / "photos", 3, 60)
    out = tmp_path / "new" / "x.safetensors"
    out.parent.mkdir()
    with locked(out.with_name("x.safetensors.lock"), "x"):
        with pytest.raises(InUseError, match=f"x.safetensors: {AT_IT}"):
            pretrain(PretrainSettings(device="cpu"), [photos], out, progress=False)
        assert [path.name for path in out.parent.iterdir()] == ["x.safetensors.lock"]


def test_a_second_training_into_a_folder_is_refused(tmp_path):
    photos = runs.make_photos(tmp_path / "photos", 3, 60)
    run = tmp_path / "run"
    run.mkdir()
    left = run / ".zcolor-0123.part"
    left.touch()
    with locked(run / ".lock", "run"), pytest.raises(InUseError, match=f"run: {AT_IT}"):
        train(TrainSettings(device="cpu"), [photos], run, val=[photos], progress=False)
    assert [path.name for path in run.iterdir()] == [left.name]  # it is the other process's


def test_a_lock_is_free_again_after_a_kill(zygote, tmp_path):
    photos = runs.make_photos(tmp_path / "photos", 3, 60)
    (tmp_path / "d.h5.lock").touch()  # as a kill leaves it
    zygote.run(tmp_path / "photos", "pack", photos, "--out", tmp_path / "d.h5")
    assert not (tmp_path / "d.h5.lock").exists()


def both(tmp_path, *argv):
    """Run the same command twice at once; gives the exit codes and what was said."""
    started = [runs.start(*argv, cwd=tmp_path) for _ in range(2)]
    said = [process.communicate(timeout=600)[0] for process in started]
    return [process.returncode for process in started], "".join(said)


@pytest.mark.slow
def test_two_packs(zygote, tmp_path):
    photos = runs.make_photos(tmp_path / "photos", 400, 300)
    codes, said = both(tmp_path, "pack", photos, "--out", "d.h5")
    # The second is refused while the first is at it; or, if it came late, as the pack exists.
    assert sorted(codes) in ([0, 1], [0, 2])
    assert AT_IT in said or "d.h5 exists" in said
    (tmp_path / "alone").mkdir()
    zygote.run(tmp_path / "alone", "pack", photos, "--out", "d.h5")
    assert runs.h5_content(tmp_path / "d.h5") == runs.h5_content(tmp_path / "alone" / "d.h5")


@pytest.mark.slow
def test_two_trainings(zygote, tmp_path):
    pack = runs.make_pack(tmp_path / "photos.h5", 48, 40, fractions=(0.9, 0.1))
    call = ["train", pack, "--out", "run", "--photos", 160, "--epoch-photos", 160, *runs.TINY]
    codes, said = both(tmp_path, *call)
    assert sorted(codes) in ([0, 1], [0, 2])
    assert AT_IT in said or "holds a training run already" in said
    (tmp_path / "alone").mkdir()
    zygote.run(tmp_path / "alone", *call)
    ends = [
        read_checkpoint(f / "run" / "last.safetensors")[0] for f in (tmp_path, tmp_path / "alone")
    ]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[1])


@pytest.mark.slow
def test_two_colourings_of_a_folder(zygote, tmp_path, tiny_model):
    photos = runs.make_photos(tmp_path / "photos", 60, 150)
    call = ["colorize", photos, "-o", "out", "--model", tiny_model, "--device", "cpu", "--resume"]
    codes, said = both(tmp_path, *call)
    assert codes == [0, 0], said
    (tmp_path / "alone").mkdir()
    zygote.run(tmp_path / "alone", *call)
    ours, theirs = tmp_path / "out", tmp_path / "alone" / "out"
    assert runs.parts(ours) == []
    assert runs.names(ours) == runs.names(theirs)
    assert all((ours / n).read_bytes() == (theirs / n).read_bytes() for n in runs.names(ours))


@pytest.mark.slow
def test_two_counts_of_priors(zygote, tmp_path):
    pack = runs.make_pack(tmp_path / "photos.h5", 3000)
    codes, said = both(tmp_path, "priors", pack, "--out", "p.h5")
    assert codes == [0, 0], said
    (tmp_path / "alone").mkdir()
    zygote.run(tmp_path / "alone", "priors", pack, "--out", "p.h5")
    assert runs.h5_content(tmp_path / "p.h5") == runs.h5_content(tmp_path / "alone" / "p.h5")
    assert not (tmp_path / "p.h5.part").exists()
