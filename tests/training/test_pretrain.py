"""Pretraining an extractor: labels, the split, what is learnt and measured, going on, refusals."""

import dataclasses
import json
import os
import shutil
import signal
import zipfile

import cv2
import numpy as np
import pytest
import torch

from zcolor.checkpoint import read_header
from zcolor.models.extractor import Extractor, ExtractorKind
from zcolor.training import pretrain as module
from zcolor.training import state
from zcolor.training.cache import CachedPhotos
from zcolor.training.dataset import JoinedPhotos, open_photos
from zcolor.training.labelled import labels_of, part_by_label
from zcolor.training.pack import pack_photos
from zcolor.training.pretrain import pretrain
from zcolor.training.pretrain_settings import PretrainSettings
from zcolor.training.settings import PackSettings

N_EACH = 10
QUICK = PretrainSettings(
    extractor="test_efficientnet", photos=48, batch=8, lr=3e-3, size=32, held_out=0.2,
    min_photos=5, device="cpu",
)  # fmt: skip


def picture(label, seed):
    """Stripes that lie or stand, of colours of any kind."""
    rng = np.random.default_rng((len(label), seed))
    stripes = np.kron(rng.integers(0, 256, (8, 1, 3)), np.ones((5, 40, 1)))
    pixels = stripes if label == "lying" else stripes.transpose(1, 0, 2)
    return np.ascontiguousarray(pixels, dtype=np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder with two folders of ten photographs, and one of a single photograph."""
    folder = tmp_path_factory.mktemp("photos")
    for label in ("lying", "standing"):
        (folder / label).mkdir()
        for seed in range(N_EACH):
            cv2.imwrite(str(folder / label / f"{seed}.png"), picture(label, seed))
    (folder / "alone").mkdir()
    cv2.imwrite(str(folder / "alone" / "0.png"), picture("standing", 99))
    return folder


def run(folder, out, /, *, leg=None, **changes):
    settings = dataclasses.replace(QUICK, **changes)
    return pretrain(settings, [folder], out, minutes=leg, progress=False, command="typed")


# ---- labels and the split --------------------------------------------------------------------


def test_labels_are_the_folders(photos, tmp_path):
    archive = tmp_path / "more.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(photos / "lying" / "0.png", "some/where/lying/0.png")
    pack_photos([photos], tmp_path / "pack.h5", PackSettings(short_side=32), progress=False)
    pack = open_photos([tmp_path / "pack.h5"])
    joined = open_photos([archive, tmp_path / "pack.h5", photos])
    assert isinstance(joined, JoinedPhotos)
    loose = labels_of(open_photos([photos]))
    assert loose == ["alone", *["lying"] * N_EACH, *["standing"] * N_EACH]
    assert labels_of(pack) == [name.split("/")[-2] for name in pack.names]
    assert labels_of(joined) == [*labels_of(pack), "lying", *loose]
    with pytest.raises(TypeError, match="CachedPhotos knows no labels"):
        labels_of(CachedPhotos(pack, progress=False))


def test_each_label_is_parted_alike(photos):
    everything = open_photos([photos])
    labels, learnt, held = part_by_label(everything, held_out=0.2, min_photos=5, seed=0)
    assert labels == ["lying", "standing"]  # and the photo that is alone is left out
    assert np.bincount(learnt.classes).tolist() == [8, 8]
    assert np.bincount(held.classes).tolist() == [2, 2]
    both = [*learnt.indices, *held.indices]
    assert sorted(both) == list(range(1, 2 * N_EACH + 1))
    names = labels_of(everything)
    for part in (learnt, held):
        assert labels_of(part) == [labels[c] for c in part.classes]
        assert [names[i] for i in part.indices] == labels_of(part)
        assert np.array_equal(part.read(1), everything.read(part.indices[1]))
        assert part.data_hash == everything.data_hash
    again = part_by_label(everything, held_out=0.2, min_photos=5, seed=0)
    other = part_by_label(everything, held_out=0.2, min_photos=5, seed=1)
    assert np.array_equal(again[2].indices, held.indices)
    assert not np.array_equal(other[2].indices, held.indices)


@pytest.mark.parametrize("held_out", [0.001, 0.999])
def test_both_parts_have_something(photos, held_out):
    parts = part_by_label(open_photos([photos]), held_out=held_out, min_photos=2, seed=0)
    for part in parts[1:]:
        assert set(part.classes) == {0, 1}


def test_too_few_labels(photos):
    message = r"two labels with 11 photographs each.*'lying' \(10\)"
    with pytest.raises(ValueError, match=message):
        part_by_label(open_photos([photos]), held_out=0.2, min_photos=11, seed=0)


# ---- learning --------------------------------------------------------------------------------


def test_it_learns_and_an_extractor_loads_it(photos, tmp_path):
    out = tmp_path / "new" / "extractor.safetensors"
    result = run(photos, out, photos=320)
    assert (result.reason, result.seen, result.path) == ("done", 320, out)
    assert (result.n_labels, result.n_held_out) == (2, 4)
    assert len(result.losses) == 40
    assert np.mean(result.losses[-8:]) < np.mean(result.losses[:8]) - 0.1
    assert not (out.parent / "extractor.safetensors.part").exists()

    header = read_header(out)
    assert header["kind"] == "extractor"
    assert header["labels"] == ["lying", "standing"]
    assert (header["classes"], header["size"]) == (2, 32)
    assert header["accuracy"] == result.accuracy
    provenance = header["provenance"]
    assert provenance["settings"] == json.loads(
        json.dumps(dataclasses.asdict(dataclasses.replace(QUICK, photos=320)))
    )
    assert (provenance["n_photos"], provenance["seen"]) == (16, 320)
    assert provenance["command"] == "typed"

    assert ExtractorKind.of("test_efficientnet", out) == ExtractorKind(2, 32)
    extractor = Extractor("test_efficientnet", classes=2, size=32)
    extractor.load(out)
    trained = extractor.network.state_dict()
    assert trained["classifier.bias"].shape == (2,)
    assert extractor(torch.rand(3, 1, 50, 40) * 100).shape == (3, 2)


def test_accuracy_is_the_share_of_those_held_out(photos, tmp_path, monkeypatch):
    """Against a network that knows the answers but for one, whatever the size of the batches."""

    class Knowing(torch.nn.Module):
        """Whether lightness varies down or across; wrong at the first photo it is shown."""

        shown = 0

        def forward(self, x):
            down = x.std(dim=2).mean(dim=(1, 2)) > x.std(dim=3).mean(dim=(1, 2))
            answer = torch.stack((down, ~down), dim=1).float()
            if self.shown == 0:
                answer[0] = answer[0].flip(0)
            self.shown += len(x)
            return answer

    work = module._Pretraining(
        dataclasses.replace(QUICK, batch=3),
        [photos],
        tmp_path / "x.safetensors",
        "",
        progress=False,
    )
    work.extractor.network = work.net = Knowing()
    assert work._measure() == 3 / 4


def test_classes_go_with_their_photos(photos, tmp_path):
    work = module._Pretraining(QUICK, [photos], tmp_path / "x.safetensors", "", progress=False)
    batches = work._batches(work.learnt, module._PLAIN, 0)
    lightness, classes, end = next(batches)
    batches.close()
    assert end == QUICK.batch
    assert lightness.shape == (8, 1, 32, 32)
    down = lightness.std(dim=2).mean(dim=(1, 2)) > lightness.std(dim=3).mean(dim=(1, 2))
    assert torch.equal(down, classes == 0)


# ---- going on --------------------------------------------------------------------------------


def test_stopped_and_gone_on_it_learns_the_same(photos, tmp_path):
    whole = run(photos, tmp_path / "whole.safetensors")
    out = tmp_path / "legs.safetensors"
    first = run(photos, out, leg=0.0)
    assert (first.reason, first.seen) == ("minutes", 8)
    assert np.isnan(first.accuracy)
    assert first.path == tmp_path / "legs.safetensors.part"
    assert not out.exists()
    second = run(photos, out)
    assert (second.reason, second.seen) == ("done", 48)
    assert first.losses + second.losses == whole.losses
    assert second.accuracy == whole.accuracy


def test_signal_ends_a_leg_cleanly(photos, tmp_path, monkeypatch):
    real = module._Pretraining._learn

    def learn(self, *batch):
        os.kill(os.getpid(), signal.SIGINT)
        return real(self, *batch)

    monkeypatch.setattr(module._Pretraining, "_learn", learn)
    result = run(photos, tmp_path / "x.safetensors")
    assert (result.reason, result.seen) == ("interrupted", 8)
    assert result.path.exists()


def test_other_settings_do_not_go_on(photos, tmp_path):
    out = tmp_path / "x.safetensors"
    run(photos, out, leg=0.0)
    with pytest.raises(ValueError, match=r"x\.safetensors\.part was begun with other settings"):
        run(photos, out, lr=1e-4)
    with pytest.raises(ValueError, match="begun with other data_hash"):
        pretrain(QUICK, [photos / "lying", photos / "standing"], out, progress=False)
    assert run(photos, out, leg=0.0, jobs=1).seen == 16  # how it is carried out may differ


def test_the_order_and_the_label_of_each_photo_must_be_the_same(photos, tmp_path):
    """Others are held out otherwise: it would be measured on what it has learnt."""
    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    sources, out = [folder / "lying", folder / "standing"], tmp_path / "x.safetensors"
    pretrain(QUICK, sources, out, minutes=0.0, progress=False)
    with pytest.raises(ValueError, match=r"begun with other order and label_of_each; give"):
        pretrain(QUICK, sources[::-1], out, progress=False)
    # The same photos in the same order, each under the other label.
    (folder / "lying").rename(folder / "other")
    (folder / "standing").rename(folder / "lying")
    (folder / "other").rename(folder / "standing")
    with pytest.raises(ValueError, match="begun with other label_of_each; give"):
        pretrain(QUICK, sources[::-1], out, progress=False)


def test_a_state_of_an_earlier_version_goes_on(photos, tmp_path, monkeypatch):
    def write_state(*args):
        *others, header = args
        del header["order"], header["label_of_each"]
        return state.write_state(*others, header)

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_state", write_state)
        run(photos, tmp_path / "x.safetensors", leg=0.0)
    assert run(photos, tmp_path / "x.safetensors", leg=0.0).seen == 16


# ---- what is refused -------------------------------------------------------------------------


def test_nothing_is_replaced_unasked(photos, tmp_path):
    out = tmp_path / "x.safetensors"
    out.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match="exists; choose another name"):
        run(photos, out)
    assert out.read_bytes() == b"mine"
    with pytest.raises(ValueError, match=r"written as \.safetensors, got .*x\.pth"):
        run(photos, tmp_path / "x.pth")
    settings = dataclasses.replace(QUICK, photos=8)
    assert pretrain(settings, [photos], out, overwrite=True, progress=False).reason == "done"
    assert read_header(out)["classes"] == 2


def test_what_came_meanwhile_is_not_replaced(photos, tmp_path, monkeypatch):
    out = tmp_path / "x.safetensors"
    measure = module._Pretraining._measure
    monkeypatch.setattr(
        module._Pretraining, "_measure", lambda work: out.write_bytes(b"mine") and measure(work)
    )
    with pytest.raises(FileExistsError, match="exists; choose another name"):
        run(photos, out, photos=8)
    assert out.read_bytes() == b"mine"
    assert (tmp_path / "x.safetensors.part").exists()  # what was learnt is not lost
    assert not (tmp_path / "x.safetensors.lock").exists()


def test_a_broken_photo_is_named(photos, tmp_path):
    shutil.copytree(photos, tmp_path / "photos")
    for path in (tmp_path / "photos" / "standing").iterdir():
        path.write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"photos/standing/\d\.png cannot be read"):
        run(tmp_path / "photos", tmp_path / "x.safetensors")


def test_nan_is_not_saved(photos, tmp_path, monkeypatch):
    monkeypatch.setattr(module._Pretraining, "_learn", lambda *_: torch.tensor(float("nan")))
    with pytest.raises(RuntimeError, match=r"NaN or infinite near photo 48; nothing was saved"):
        run(photos, tmp_path / "x.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_size_that_the_network_cannot_see(photos, tmp_path):
    with pytest.raises(ValueError, match="cannot look at squares of 64 px"):
        run(photos, tmp_path / "x.safetensors", extractor="inception_resnet_v2", size=64)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photos": 0}, "photos must be at least 1"),
        ({"batch": 1}, "batch at least 2"),
        ({"lr": 0}, "lr must be above 0"),
        ({"weight_decay": -1}, "weight_decay not negative"),
        ({"size": 60}, "size must be a multiple of 8, got 60"),
        ({"held_out": 0}, "held_out must lie between 0 and 1"),
        ({"min_photos": 1}, "min_photos be at least 2"),
    ],
)
def test_settings_that_make_no_sense(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(QUICK, **changes)
