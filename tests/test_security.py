"""No file that is read runs code, and nothing is written where it was not asked for."""

import ast
import os
import pickle
import random
import stat
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import zcolor
from fuzz import seeds
from zcolor.apps.folder import color_files
from zcolor.checkpoint import CheckpointError, write_checkpoint
from zcolor.models.zhang import Zhang
from zcolor.registry import load_model, save_model
from zcolor.settings import PRESETS
from zcolor.training import sources
from zcolor.training.counting_state import read_state
from zcolor.training.dataset import LoosePhotos, find_photos
from zcolor.training.hdf5 import SEAL_BYTES
from zcolor.training.packfile import PackedPhotos
from zcolor.training.priors import read_priors

PACKAGE = Path(zcolor.__file__).parent


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    net = Zhang(width=1 / 16, working_size=16)
    nn.init.normal_(net.classifier.weight, std=300.0)
    save_model(path, net, {})
    return path


class Evil:
    """Unpickled, it makes a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


# ---- no code in files ------------------------------------------------------------------------

_BANNED_MODULES = ("marshal", "shelve", "dill", "cloudpickle", "joblib", "tarfile", "telnetlib")
_BANNED_NAMES = ("eval", "exec", "compile", "__import__", "execfile")
_BANNED_CALLS = (
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "yaml.load",
    "yaml.unsafe_load",
    "tempfile.mktemp",
    "torch.jit.load",
    "torch.hub.load",
    "pandas.read_pickle",
)
_BANNED_METHODS = ("extract", "extractall", "unpack_archive")
_NEEDS = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}


def offences(text):
    """What a source file does that could run foreign code or write in foreign places."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "pickle" and [a.name for a in node.names] != ["UnpicklingError"]:
                found.append("from pickle")
        elif isinstance(node, ast.Call):
            names = []
            found += _call(node)
        else:
            continue
        found += [name for name in names if name.split(".")[0] in _BANNED_MODULES]
    return found


def _call(node):
    name, given = ast.unparse(node.func), {word.arg: word.value for word in node.keywords}
    if name in _BANNED_NAMES or name in _BANNED_CALLS:
        yield name
    if name.rpartition(".")[2] in _BANNED_METHODS and "." in name:
        yield name
    if name in _NEEDS:
        word, value = _NEEDS[name]
        if not (isinstance(given.get(word), ast.Constant) and given[word].value is value):
            yield name
    shell = given.get("shell")
    if shell is not None and not (isinstance(shell, ast.Constant) and shell.value is False):
        yield f"{name} with a shell"


def test_no_source_can_run_foreign_code():
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 80
    found = {str(path): offences(path.read_text(encoding="utf-8")) for path in files}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
    "text",
    [
        "import pickle\npickle.loads(b'')",
        "from pickle import loads",
        "import dill",
        "eval('1')",
        "exec(x)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p)",
        "np.load(p, allow_pickle=True)",
        "subprocess.run('ls', shell=True)",
        "os.system('ls')",
        "archive.extractall(p)",
        "from tarfile import open",
        "yaml.load(f)",
        "__import__(name)",
        "subprocess.Popen(x, shell=y)",
    ],
)
def test_the_search_finds_it(text):
    assert offences(text) != []


@pytest.mark.parametrize(
    "text",
    [
        "net.eval()",
        "re.compile('a')",
        "np.load(p, allow_pickle=False)",
        "model.load(p)",
        "from pickle import UnpicklingError",
        "torch.load(p, weights_only=True)",
    ],
)
def test_the_search_leaves_other_code_alone(text):
    assert offences(text) == []


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt", "model.pth", "model.bin"])
@pytest.mark.parametrize("kind", ["pickle", "torch", "zip"])
def test_a_pickle_under_any_name_is_refused_and_not_run(tmp_path, name, kind):
    ran, path = tmp_path / "ran", tmp_path / name
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Evil(ran)))
    elif kind == "torch":
        torch.save({"weights": Evil(ran)}, path)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps(Evil(ran)))
    with pytest.raises(CheckpointError, match=r"the checkpoints that `zcolor train` writes, never"):
        zcolor.colorize(np.zeros((16, 16), np.uint8), model=path, device="cpu")
    assert not ran.exists()


@pytest.mark.parametrize("family", ["os:mkdir", "builtins:exec", "../zhang", "", None, ["zhang"]])
def test_a_header_names_no_code(tmp_path, family):
    write_checkpoint(tmp_path / "x.safetensors", {"a": torch.ones(1)}, {"family": family})
    with pytest.raises(CheckpointError, match="holds no model that zcolor knows"):
        load_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("width", 1e9),
        ("width", float("inf")),
        ("width", "wide"),
        ("working_size", 10**9),
        ("grid", {"bins": 10**6, "low": -1, "high": 1}),
        ("grid", {"centers": [[0, 0]] * 10**5}),
        ("grid", {"bins": 1e400, "low": -1, "high": 1}),
        ("options", {"x": 1}),
    ],
)
def test_a_header_that_asks_for_a_giant_is_refused(tmp_path, weights, key, value):
    net = load_model(weights)
    header = {**net.header(), "family": "zhang", key: value}
    write_checkpoint(tmp_path / "x.safetensors", net.state_dict(), header)
    with pytest.raises(CheckpointError, match=r"x\.safetensors does not fit its own header"):
        load_model(tmp_path / "x.safetensors")


@pytest.mark.parametrize("size", [0, -8, 10**9, 64.5, "64", None, float("nan"), [1]])
def test_a_working_size_that_is_none_is_refused_for_every_family(tmp_path, size):
    net = load_model("mean-chroma")
    header = {**net.header(), "family": "mean-chroma", "working_size": size}
    write_checkpoint(tmp_path / "x.safetensors", net.state_dict(), header)
    with pytest.raises(CheckpointError, match=r"x\.safetensors does not fit its own header"):
        load_model(tmp_path / "x.safetensors")


def test_a_header_without_presets_has_the_usual_ones(tmp_path, weights):
    net = load_model(weights)
    header = {**net.header(), "family": "zhang", "presets": {}}
    write_checkpoint(tmp_path / "x.safetensors", net.state_dict(), header)
    assert load_model(tmp_path / "x.safetensors").presets == PRESETS


def test_headers_that_json_chokes_on(tmp_path):
    for text in ("[" * 100_000, '{"a": ' + "9" * 5000 + "}"):
        save_file({"a": torch.ones(1)}, tmp_path / "x", metadata={"zcolor": text})
        with pytest.raises(CheckpointError, match="its header is no JSON"):
            load_model(tmp_path / "x")


def test_the_state_of_a_count_is_no_pickle(tmp_path, caplog):
    ran = tmp_path / "ran"
    np.savez(tmp_path / "x", job=np.array(Evil(ran), dtype=object))
    assert read_state(tmp_path / "x.npz", {}) is None
    assert "cannot be read" in caplog.text
    assert not ran.exists()


# ---- archives and lists ------------------------------------------------------------------------

_MEMBERS = ("../../up.jpg", "/absolute.jpg", "C:\\drive.jpg", "a\\..\\back.jpg", "a/../../b.jpg")


def test_members_with_paths_that_lead_out_are_read_and_never_written(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    with zipfile.ZipFile(deep / "x.zip", "w") as archive:
        for name in _MEMBERS:
            archive.writestr(name, seeds.pictures()["jpeg"])
        link = zipfile.ZipInfo("link.jpg")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    before = sorted(tmp_path.rglob("*"))
    photos = LoosePhotos(find_photos([deep / "x.zip"]))
    read = [entry.member for i, entry in enumerate(photos.entries) if _readable(photos, i)]
    assert len(read) == len(_MEMBERS)
    assert len(photos) == len(_MEMBERS) + 1  # the link is eleven bytes of text, and no picture
    assert sorted(tmp_path.rglob("*")) == before
    assert not any(Path(entry.label).is_absolute() for entry in photos.entries)


def _readable(photos, index):
    if photos.entries[index].member == "link.jpg":
        with pytest.raises(ValueError, match="no image that can be read"):
            photos.read(index)
        return False
    return photos.read(index).shape == (seeds.HEIGHT, seeds.WIDTH, 3)


def test_members_that_unpack_to_more_than_the_limit_are_not_unpacked(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.png", bytes(3_000_000))
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 2_999_999)
    photos = LoosePhotos(find_photos([tmp_path / "x.zip"]))
    with pytest.raises(ValueError, match=r"x\.zip!bomb\.png has 3000000 bytes, more than the lim"):
        photos.read(0)
    (tmp_path / "loose.png").write_bytes(bytes(3_000_000))
    with pytest.raises(ValueError, match=r"loose\.png has 3000000 bytes, more than the limit"):
        LoosePhotos(find_photos([tmp_path / "loose.png"])).read(0)


def test_a_member_larger_than_its_archive_is_refused_before_there_is_room_for_it(tmp_path):
    stream = bytearray(seeds.archives()["stored"])
    entry = stream.index(b"PK\x01\x02")
    stream[entry + 20 : entry + 28] = (2**31 - 1).to_bytes(4, "little") * 2
    (tmp_path / "x.zip").write_bytes(stream)
    with pytest.raises(zipfile.BadZipFile, match="says that it is larger than its archive"):
        LoosePhotos(find_photos([tmp_path / "x.zip"])).read(0)


def test_lists_that_name_themselves(tmp_path):
    (tmp_path / "a.txt").write_text("b.txt\n")
    (tmp_path / "b.txt").write_text("./a.txt\n")
    with pytest.raises(ValueError, match=r"the list .*a\.txt names itself; take that line out"):
        find_photos([tmp_path / "a.txt"])
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ValueError, match=r"the list .*c\.txt is no UTF-8 text"):
        find_photos([tmp_path / "c.txt"])


# ---- packs and priors --------------------------------------------------------------------------


@pytest.fixture
def pack(tmp_path):
    (tmp_path / "pack.h5").write_bytes(seeds.packs()["pack"])
    return tmp_path / "pack.h5"


def unsealed(path, change):
    """Write a pack as earlier versions did, then change it."""
    with PackedPhotos(path)._file as whole, h5py.File(path.with_name("old.h5"), "w") as old:
        for name in whole:
            whole.copy(name, old)
        old.attrs.update(whole.attrs)
        change(old)
    return path.with_name("old.h5")


def test_any_changed_byte_of_the_index_is_refused_before_hdf5_reads_it(pack):
    data = pack.read_bytes()
    photos = PackedPhotos(pack)
    start, size = photos._bytes.id.get_offset(), photos._bytes.nbytes
    index = [i for i in range(len(data)) if not start <= i < start + size]
    rng = random.Random(0)
    for position in [*range(SEAL_BYTES, SEAL_BYTES + 8), *rng.sample(index, 150)]:
        changed = bytearray(data)
        changed[position] ^= 1 << rng.randrange(8)
        pack.write_bytes(changed)
        if changed[:SEAL_BYTES].split() == data[:SEAL_BYTES].split() and position < SEAL_BYTES:
            continue  # a space of the seal became another one
        with pytest.raises(ValueError, match=r"pack\.h5 is no HDF5 file or was cut short"):
            PackedPhotos(pack)


def test_priors_have_a_seal_too(tmp_path):
    data = bytearray(seeds.priors()["regular"])
    (tmp_path / "p.h5").write_bytes(data)
    assert read_priors(tmp_path / "p.h5").n_photos == 9
    data[len(data) // 2] ^= 1
    (tmp_path / "p.h5").write_bytes(data)
    with pytest.raises(ValueError, match=r"p\.h5 is no HDF5 .*does not have the SHA-256"):
        read_priors(tmp_path / "p.h5")


def test_packs_of_earlier_versions_are_read(pack):
    old = PackedPhotos(unsealed(pack, lambda file: None))
    assert len(old) == 3
    assert np.array_equal(old.read(1), PackedPhotos(pack).read(1))
    assert old.names == PackedPhotos(pack).names


def test_a_pack_that_points_at_other_files_is_refused(pack, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(b"s" * 400)

    def external(file):
        del file["bytes"]
        file.create_dataset("bytes", (400,), np.uint8, external=[(str(secret), 0, 400)])

    def link(file):
        del file["bytes"]
        file["bytes"] = h5py.ExternalLink("pack.h5", "/bytes")

    def virtual(file):
        del file["bytes"]
        layout = h5py.VirtualLayout((400,), np.uint8)
        layout[:] = h5py.VirtualSource(str(pack), "bytes", (400,))
        file.create_virtual_dataset("bytes", layout)

    for change in (external, link, virtual):
        with pytest.raises(ValueError, match=r"'bytes' is (a link|not stored in one piece)"):
            PackedPhotos(unsealed(pack, change))


def test_an_index_that_points_outside_is_refused(pack):
    changes = {
        "offset": (0, 10**12),
        "length": (0, -5),
        "label": (2, 7),
        "split": None,
        "hash": None,
    }
    for name, wrong in changes.items():

        def change(file, name=name, wrong=wrong):
            if wrong is None:
                del file[name]
            else:
                file[name][wrong[0]] = wrong[1]

        with pytest.raises(ValueError, match=r"old\.h5 is no HDF5 file or was cut short"):
            PackedPhotos(unsealed(pack, change))


def test_a_dataset_larger_than_its_file_is_not_read(pack):
    def change(file):
        del file["split"]
        file.create_dataset("split", (10**13,), np.uint8)

    with pytest.raises(ValueError, match="says that it is larger than its file"):
        PackedPhotos(unsealed(pack, change))


# ---- output folders ----------------------------------------------------------------------------


def test_links_do_not_lead_out_of_the_output_folder(weights, tmp_path):
    """A folder below the output that is a link elsewhere is refused, a link to a file replaced."""
    album, out, elsewhere = tmp_path / "album", tmp_path / "out", tmp_path / "elsewhere"
    for folder in (album / "1950", album / "1960", out, elsewhere):
        folder.mkdir(parents=True)
    picture = seeds.pictures()["png-grey"]
    for name in ("1950/a.png", "1960/b.png", "c.png", "d.png"):
        (album / name).write_bytes(picture)
    (out / "1950").symlink_to(elsewhere)
    (elsewhere / "secret").write_text("mine")
    (out / "c.png").symlink_to(elsewhere / "secret")
    (out / "d.png").symlink_to(elsewhere / "not-there")
    options = {"model": weights, "device": "cpu", "progress": False}

    report = color_files([album], out, **options)
    assert sorted(path.name for path in report.done) == ["b.png", "d.png"]
    assert [path.name for path, _ in report.skipped] == ["c.png"]  # the link stands there already
    ((source, reason),) = report.failed
    assert source == album / "1950" / "a.png"
    assert "is a symbolic link that leads out of the output folder" in reason
    assert "remove the link, or name that folder as the output" in reason
    assert [path.name for path in elsewhere.iterdir()] == ["secret"]
    assert not (out / "d.png").is_symlink()

    assert len(color_files([album], out, overwrite=True, **options).done) == 3
    assert not (out / "c.png").is_symlink()
    assert (elsewhere / "secret").read_text() == "mine"
    assert [path.name for path in elsewhere.iterdir()] == ["secret"]


def test_the_output_folder_itself_may_be_a_link(weights, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    (tmp_path / "album" / "sub").mkdir(parents=True)
    (tmp_path / "album" / "sub" / "a.png").write_bytes(seeds.pictures()["png-grey"])
    report = color_files(
        [tmp_path / "album"], tmp_path / "out", model=weights, device="cpu", progress=False
    )
    assert len(report.done) == 1
    assert (tmp_path / "real" / "sub" / "a.png").is_file()


def test_linked_folders_are_not_searched_for_pictures(weights, tmp_path):
    (tmp_path / "album").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.png").write_bytes(seeds.pictures()["png-grey"])
    (tmp_path / "album" / "link").symlink_to(tmp_path / "other")
    report = color_files([tmp_path / "album"], model=weights, device="cpu", progress=False)
    assert report.done == ()
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["a.png"]
