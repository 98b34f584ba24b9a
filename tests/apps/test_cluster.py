"""`--engine ray`: the results of one computer, whatever happens to the workers."""

import builtins
import contextlib
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from unittest.mock import MagicMock

import cv2
import fsspec
import h5py
import numpy as np
import pytest
import skimage.data
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from zcolor.apps import cli, cluster, cluster_training
from zcolor.apps.cluster import color_files_on_ray
from zcolor.apps.cluster_engine import Pool, pool_for, ray_running, run_tasks
from zcolor.apps.cluster_training import build_priors_on_ray, pack_photos_on_ray
from zcolor.apps.export import export_onnx
from zcolor.apps.folder import color_files
from zcolor.apps.plan import plan_jobs
from zcolor.apps.remote import RemoteFolder
from zcolor.extras import install_command
from zcolor.files import write_image
from zcolor.metadata import Metadata
from zcolor.training import pack as packing
from zcolor.training import priors as counting
from zcolor.training.pack import pack_photos
from zcolor.training.priors import build_priors
from zcolor.training.settings import PackSettings, PriorSettings

# Ray warns of settings of its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


def files_of(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".part")
    }


@pytest.fixture
def scans(tmp_path):
    """Grey photographs of many sizes; `scans(n)` makes so many of them."""

    def make(n, side=96):
        folder = tmp_path / "scans"
        folder.mkdir()
        camera = Image.fromarray(skimage.data.camera())
        for i in range(n):
            camera.crop((7 * i, 5 * i, 7 * i + 300, 5 * i + 300)).resize((side, side + i)).save(
                folder / f"{i:02d}.jpg"
            )
        return folder

    return make


# ---- what is refused, without Ray ----------------------------------------------------------


@pytest.mark.parametrize("command", ["colorize", "pack", "priors"])
def test_an_address_needs_the_engine(tmp_path, capsys, command):
    out = tmp_path / "out.h5"
    assert run(command, tmp_path, "--out", out, "--address", "head:6379") == 2
    assert "add --engine ray" in re.sub(r"[│\s]+", " ", capsys.readouterr().err)
    assert not out.exists()


@pytest.mark.parametrize("command", ["colorize", "pack", "priors"])
def test_without_ray_the_extra_is_named(album, tmp_path, monkeypatch, capsys, command):
    original = builtins.__import__

    def without_ray(name, *args, **options):
        if name.partition(".")[0] == "ray":
            raise ImportError("No module named 'ray'")
        return original(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    assert run(command, album, "--out", tmp_path / "out.h5", "--engine", "ray") == 1
    message = f"zcolor: --engine ray needs Ray: {install_command('cluster')}\n"
    assert capsys.readouterr().err == message
    assert [path.name for path in tmp_path.iterdir()] == ["album"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "s3://bucket/a"], "s3://bucket/a is no folder of this computer; --engine ray"),
        (["-o", "nowhere://a", "--engine", "ray"], "Protocol not known: nowhere"),
        (["--dry-run", "--engine", "ray"], "a dry run only reads headers"),
        (["-o", "-", "--engine", "ray"], "a pipe carries a single picture"),
        (["--quality", "0", "--engine", "ray"], "quality must lie in 1..100, got 0"),
        (["--device", "gpu", "--engine", "ray"], "unknown device"),
        (["--model", "nobody", "--engine", "ray"], "nobody"),
    ],
)
def test_options_that_make_no_sense(album, capsys, options, message):
    before = files_of(album)
    assert run("colorize", album / "a.jpg", *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert files_of(album) == before


def test_file_urls_are_paths(album, tmp_path, weights, capsys):
    out = tmp_path / "my results"
    url = out.as_uri()
    assert "%20" in url
    assert run("colorize", album / "a.jpg", "-o", url, "--model", weights, "--device", "cpu") == 0
    assert capsys.readouterr().out == f"{out / 'a.jpg'}\n"


# ---- workers and stores --------------------------------------------------------------------


def test_gpus_are_taken_where_there_are_some():
    mixed = [{"CPU": 12.0, "GPU": 4.0}, {"CPU": 8.0}]
    assert pool_for(mixed, 1000, device="auto") == Pool(4, gpus=1, threads=3)
    assert pool_for(mixed, 1000, device="cuda", jobs=2) == Pool(2, gpus=1, threads=3)
    assert pool_for(mixed, 3, device="auto").size == 3
    assert pool_for(mixed, 1000, device="cpu") == Pool(20)
    assert pool_for(mixed, 1000, device="cpu", jobs=50).size == 20
    assert pool_for([{"CPU": 2.0}], 0) == Pool(1)
    with pytest.raises(ValueError, match="no machine of the cluster has a GPU"):
        pool_for([{"CPU": 2.0}], 10, device="cuda")
    with pytest.raises(ValueError, match="cuda:1 names none; use the device cuda"):
        pool_for(mixed, 10, device="cuda:1")


@pytest.mark.parametrize("url", ["memory://album/color/", "simplecache::file://{}/color"])
def test_a_remote_folder_writes_whole_files(tmp_path, url):
    remote = RemoteFolder(url.format(tmp_path))
    path = remote.path / "1950" / "a.png"
    other = remote.path / "b.png"
    assert remote.standing([path, other]) == frozenset()
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    for shown in (pixels, pixels[::-1]):  # the second replaces the first
        remote.write(path, shown, metadata=Metadata(), quality=95)
    assert remote.standing([path, other]) == {path}
    write_image(tmp_path / "here.png", pixels[::-1])
    with fsspec.open(remote.url_of(path)) as file:
        assert file.read() == (tmp_path / "here.png").read_bytes()
    fs, root = fsspec.core.url_to_fs(remote.url)
    assert [name.rpartition("/")[2] for name in fs.find(root)] == ["a.png"]


PIXELS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
ODD_NAMES = ("a::1.png", "a::2.png", "q?1.png", "q#1.png", "100%.png", "c:__d.png", "plain.png")


@pytest.mark.parametrize("url", ["memory://odd/color", "simplecache::file://{}/color"])
def test_results_of_any_name_have_a_place_of_their_own(tmp_path, url):
    remote = RemoteFolder(url.format(tmp_path))
    paths = [remote.path / "a::b" / name for name in ODD_NAMES]
    for shade, path in enumerate(paths):
        remote.write(path, PIXELS + shade, metadata=Metadata(), quality=95)
    assert remote.standing([*paths, remote.path / "a::3.png"]) == set(paths)
    fs, root = fsspec.core.url_to_fs(remote.url)
    assert fs.find(root) == sorted(f"{root}/a::b/{name}" for name in ODD_NAMES)
    for shade, path in enumerate(paths):
        found = cv2.imdecode(
            np.frombuffer(fs.cat_file(f"{root}/a::b/{path.name}"), np.uint8), cv2.IMREAD_COLOR_RGB
        )
        np.testing.assert_array_equal(found, PIXELS + shade)


@pytest.mark.parametrize(
    "url",
    ["memory://bucket//dup", "memory://bucket/x/../dd", "memory://bucket/./a", "memory://",
     "memory://bucket/a//", "simplecache::file:////tmp/x"],
)  # fmt: skip
def test_urls_that_mean_several_places_are_refused(url):
    with pytest.raises(ValueError, match=r"has an empty part, or \. or \.\., between"):
        RemoteFolder(url).check()


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("memory://my.bucket", "memory://my.bucket/a.jpg"),
        ("memory://bucket/album.2024/", "memory://bucket/album.2024/a.jpg"),
        ("memory://bucket/album.2024", "memory://bucket/album.2024/a.jpg"),
        ("memory://bucket/a.png/", "memory://bucket/a.png/a.jpg"),
        ("memory://bucket/b.png", "memory://bucket/b.png"),
        ("simplecache::file:///x.png", "simplecache::file:///x.png"),
    ],
)
def test_folders_of_a_store_may_have_a_dot(album, url, target):
    place, remote = cluster._where(url)
    jobs, _ = plan_jobs([album / "a.jpg"], place, is_folder=remote.is_folder, called=url)
    assert [remote.url_of(job.target) for job in jobs] == [target]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://b/a.png", "2 sources cannot go into the one file memory://b/a.png"),
        ("memory://b/a.pgm", "2 sources cannot go into the one file memory://b/a.pgm"),
    ],
)
def test_messages_name_the_url(album, capsys, url, message):
    photo = album / "a.jpg"
    assert run("colorize", photo, album / "a-color.jpg", "-o", url, "--engine", "ray") == 2
    assert message in capsys.readouterr().err
    assert run("colorize", photo, "-o", "memory://b/a.pgm", "--engine", "ray") == 2
    assert "cannot write colour to 'memory://b/a.pgm'" in capsys.readouterr().err


class NoCredentialsError(Exception):
    """As that of a store: no OSError."""


@pytest.mark.parametrize("step", ["__init__", "find"])
def test_a_store_that_cannot_be_reached_is_told_in_a_line(
    album, weights, capsys, monkeypatch, step
):
    class Denied(MemoryFileSystem):
        protocol, cachable = "denied", False

    def deny(*_args, **_options):
        raise NoCredentialsError("Unable to locate credentials")

    monkeypatch.setattr(Denied, step, deny)
    fsspec.register_implementation("denied", Denied, clobber=True)
    call = ["colorize", album / "a.jpg", "-o", "denied://bucket/a", "--engine", "ray"]
    assert run(*call, "--model", weights, "--device", "cpu") == 1
    error = capsys.readouterr().err
    assert re.search(
        r"zcolor: denied://bucket/a cannot be reached \(NoCredentialsError: Unable to locate "
        r"credentials\); check the address and the credentials\n",
        error,
    )
    assert error.count("\n") == 1


def test_what_a_store_refuses_is_told(tmp_path):
    (tmp_path / "color").touch()  # a file where the folder should be
    remote = RemoteFolder(f"simplecache::file://{tmp_path}/color")
    with pytest.raises(OSError, match=r"simplecache::file:.*/color/a.png cannot be written"):
        remote.write(
            remote.path / "a.png", np.zeros((2, 2, 3), np.uint8), metadata=Metadata(), quality=95
        )


def test_a_store_that_fails_on_the_way_keeps_no_part(tmp_path, monkeypatch):
    seen = []

    def fail(_self, temporary, _place):
        seen.append(Path(temporary).exists())
        raise OSError("the line is dead")

    monkeypatch.setattr(LocalFileSystem, "mv", fail)
    remote = RemoteFolder(f"simplecache::file://{tmp_path}/color")
    with pytest.raises(OSError, match=r"a\.png cannot be written .*the line is dead"):
        remote.write(
            remote.path / "a.png", np.zeros((2, 2, 3), np.uint8), metadata=Metadata(), quality=95
        )
    assert seen == [True]
    assert list((tmp_path / "color").iterdir()) == []


def test_onnx_is_exported_once_and_not_by_every_worker(tmp_path, capsys):
    call = ["colorize", str(tmp_path), "--engine", "ray", "--runtime", "onnx"]
    assert cli.main(call) == 2
    assert "export it once (zcolor export) and give the .onnx file" in capsys.readouterr().err


def test_the_runtime_that_is_asked_for_is_taken_or_refused(album, tmp_path, weights):
    export_onnx(weights, tmp_path / "tiny.onnx")
    with pytest.raises(ValueError, match="is an ONNX model, which onnxruntime alone runs"):
        color_files_on_ray([album], model=tmp_path / "tiny.onnx", runtime="torch", device="cpu")


@pytest.fixture
def in_this_process(monkeypatch):
    """The workers without Ray: made of JSON and given JSON, one after the other."""

    def run_tasks(worker, arguments, tasks, _pool):
        one = worker(**json.loads(json.dumps(arguments)))
        for task in tasks:
            yield from one.work(json.loads(json.dumps(task)))

    monkeypatch.setattr(cluster, "ray_running", lambda _address: contextlib.nullcontext())
    monkeypatch.setattr(cluster, "machines", lambda: [{"CPU": 2.0}])
    monkeypatch.setattr(cluster, "run_tasks", run_tasks)


@pytest.mark.usefixtures("in_this_process")
def test_a_second_run_into_a_store_finds_what_stands_there(album, weights):
    url = "memory://again/album.2024"
    options = {"model": weights, "device": "cpu", "progress": False}
    (album / "a::2.jpg").write_bytes((album / "a.jpg").read_bytes())
    first = color_files_on_ray([album], url, runtime="torch", **options)
    assert sorted(first.done) == [
        f"{url}/{name}" for name in ("1950/b.PNG", "1950/summer/c.png", "a.jpg", "a::2.jpg")
    ]
    assert len(color_files_on_ray([album], url, **options).skipped) == 4
    again = color_files_on_ray([album], f"{url}/", resume=True, **options)
    assert sorted(again.before) == sorted(first.done)


# ---- on Ray --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ray():
    """A local Ray with two cores, for all tests of this module."""
    with ray_running(n_cores=2):
        yield importlib.import_module("ray")


@pytest.fixture
def both(weights):
    """Colour with both engines: `both(sources, out, **options)` gives their reports."""

    def call(sources, out, **options):
        options = {"model": weights, "device": "cpu", "progress": False, **options}
        here = color_files(sources, out, **options)
        found = files_of(out)
        out.rename(out.with_name("here"))
        return here, found, color_files_on_ray(sources, out, **options)

    return call


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
@pytest.mark.parametrize("jobs", [0, 1])
def test_the_results_are_those_of_one_computer(both, tmp_path, monkeypatch, jobs):
    """Good, bad, transparent, existing and doubly named pictures; files, report and sheet."""
    source = tmp_path / "in"
    (source / "deep").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for i in range(16):
        grey = rng.integers(0, 256, (20 + 7 * i, 160 - 5 * i), dtype=np.uint8)
        Image.fromarray(grey).save(source / f"{i}.{('jpg', 'png', 'tif', 'pgm')[i % 4]}")
    Image.new("L", (30, 30), 9).save(source / "1.pgm")  # like 1.png, once it is coloured
    Image.new("LA", (20, 20), (90, 30)).save(source / "a.png")
    (source / "a.bmp").write_bytes((source / "a.png").read_bytes())  # becomes a.png: taken first
    (source / "3.bmp").write_bytes(b"not a picture")
    (source / "4.png").write_bytes((source / "1.png").read_bytes()[:60])
    (source / "deep" / os.fsdecode(b"stra\xdfe \n.jpg")).write_bytes(
        (source / "0.jpg").read_bytes()
    )
    monkeypatch.chdir(tmp_path)
    sources = [Path("in"), Path("in/0.jpg"), Path("nowhere.jpg"), Path("out/in/8.jpg")]
    for out in ("out", "again"):
        (tmp_path / out / "in").mkdir(parents=True)
        for name in ("8.jpg", "12.jpg"):  # one of the originals, and an earlier result
            Image.new("L", (30, 30), 9).save(tmp_path / out / "in" / name)
    (tmp_path / "again").rename(tmp_path / "kept")
    here, found, there = _both_in_one_place(both, sources, tmp_path, jobs)
    assert there == here
    assert there.to_dict()["counts"] == {
        "done": 18, "before": 0, "skipped": 1, "failed": 6, "waiting": 0
    }  # fmt: skip
    assert files_of(tmp_path / "out") == found
    sheets = [(tmp_path / name).read_bytes() for name in ("here.jpg", "sheet.jpg")]
    assert sheets[0] == sheets[1]


def _both_in_one_place(both, sources, tmp_path, jobs):
    """Colour into `out` twice, which holds the same before each time."""
    rename = Path.rename

    def renamed(path, target):
        result = rename(path, target)
        if path.name == "out":
            rename(tmp_path / "kept", path)
            rename(tmp_path / "sheet.jpg", tmp_path / "here.jpg")
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "rename", renamed)
        return both(sources, tmp_path / "out", jobs=jobs, compare=tmp_path / "sheet.jpg")


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_the_shipped_network_gives_the_same_files(both, scans, tmp_path):
    here, found, there = both([scans(4)], tmp_path / "out", model="zhang")
    assert there == here
    assert len(found) == 4
    assert files_of(tmp_path / "out") == found


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_network_in_onnxruntime_gives_the_same_files(both, scans, tmp_path, weights):
    export_onnx(weights, tmp_path / "tiny.onnx")
    here, found, there = both([scans(3)], tmp_path / "out", model=tmp_path / "tiny.onnx")
    assert there == here
    assert len(found) == 3
    assert files_of(tmp_path / "out") == found


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_the_command_writes_to_a_url_and_resumes(scans, tmp_path, weights, capsys):
    folder = scans(6)
    call = ["colorize", folder, "--model", weights, "--device", "cpu"]
    assert run(*call, "-o", tmp_path / "here", "--summary", tmp_path / "here.json") == 0
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "02.jpg").write_bytes(b"done before")
    url = f"simplecache::file://{tmp_path}/there"
    capsys.readouterr()
    ending = ["-o", url, "--engine", "ray", "--resume", "--summary", tmp_path / "there.json"]
    assert run(*call, *ending) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [f"{url}/{i:02d}.jpg" for i in (0, 1, 3, 4, 5)]
    assert shown.err == "zcolor: 5 coloured, 1 done before\n"
    found = files_of(tmp_path / "there")
    assert found.pop("02.jpg") == b"done before"
    assert found == {n: d for n, d in files_of(tmp_path / "here").items() if n != "02.jpg"}
    summaries = [json.loads((tmp_path / f"{n}.json").read_text()) for n in ("here", "there")]
    assert summaries[0].keys() == summaries[1].keys()
    (folder / "03.jpg").write_bytes(b"no picture")
    (tmp_path / "there" / "03.jpg").unlink()
    assert run(*call, *ending) == 1
    assert "failed" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_a_killed_worker_loses_nothing(scans, tmp_path, weights):
    folder = scans(40, side=400)
    options = {"model": weights, "device": "cpu", "progress": False}
    here = color_files([folder], tmp_path / "here", **options)
    reports, out = [], tmp_path / "there"
    work = threading.Thread(
        target=lambda: reports.append(color_files_on_ray([folder], out, **options))
    )
    work.start()
    killed = []
    while len(killed) < 3 and work.is_alive():
        time.sleep(0.02)
        if len(list(out.glob("*.jpg"))) > 3 * len(killed):
            workers = [
                pid
                for pid, command in processes_below(os.getpid()).items()
                if command.startswith("ray::MapWorker") and pid not in killed
            ]
            if workers:
                os.kill(workers[-1], signal.SIGKILL)
                killed.append(workers[-1])
    work.join()
    assert len(killed) == 3
    (there,) = reports
    assert there.failed == ()
    assert [photo.source for photo in there.of("done")] == [p.source for p in here.of("done")]
    assert files_of(out) == files_of(tmp_path / "here")


def processes_below(pid):
    """The commands of a process's children, and theirs, by their numbers."""
    lines = subprocess.check_output(["ps", "-A", "-o", "pid=,ppid=,args="], text=True).splitlines()
    rows = [line.split(maxsplit=2) for line in lines]
    found, waiting = {}, [pid]
    while waiting:
        parent = waiting.pop()
        children = {int(row[0]): row[-1] for row in rows if int(row[1]) == parent}
        found |= children
        waiting += children
    return found


class Mortal:
    """Dies of task 5, once or always; a file remembers the deaths."""

    def __init__(self, *, deaths, memory):
        self.deaths, self.memory = deaths, memory

    def work(self, task):
        died = os.path.getsize(self.memory)
        if task["number"] == 5 and died < self.deaths:
            with open(self.memory, "ab") as file:
                file.write(b"x")
            os.kill(os.getpid(), 9)
        yield {"number": task["number"], "name": task["name"]}, bytes([task["number"]])


@pytest.fixture
def mortal(ray, tmp_path):
    """Run tasks with a worker that dies so many times."""
    module = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(module)
    memory = tmp_path / "deaths"
    memory.touch()

    def call(deaths, **options):
        tasks = [{"number": i, "name": "a\udcff\n"} for i in range(12)]
        arguments = {"deaths": deaths, "memory": str(memory)}
        return list(run_tasks(Mortal, arguments, tasks, Pool(2), **options))

    yield call
    ray.cloudpickle.unregister_pickle_by_value(module)


@pytest.mark.slow
def test_a_task_whose_worker_died_is_done_again_in_its_place(mortal):
    answers = mortal(2, in_order=True)
    assert answers == [({"number": i, "name": "a\udcff\n"}, bytes([i])) for i in range(12)]


@pytest.mark.slow
def test_a_task_that_kills_every_worker_ends_nothing_but_itself(mortal):
    numbers = sorted(answer["number"] for answer, _ in mortal(1000))
    assert numbers == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11]
    with pytest.raises(RuntimeError, match="the work on the cluster ended: "):
        mortal(1000, in_order=True)


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_workers_that_cannot_start_end_the_work(scans, tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "Colorizer", MagicMock())  # this machine has the model
    with pytest.raises(RuntimeError, match=r"the work on the cluster ended: .*nobody"):
        color_files_on_ray([scans(1)], tmp_path / "out", model=tmp_path / "nobody", progress=False)


# ---- training data -------------------------------------------------------------------------


@pytest.fixture
def colors(tmp_path):
    """A folder of 70 photographs of all sorts of colours, two that are none, and one twice."""
    folder = tmp_path / "colors"
    folder.mkdir()
    for seed in range(70):
        patches = np.random.default_rng(seed).integers(0, 256, (6, 4, 3))
        pixels = np.kron(patches, np.ones((15, 15, 1))).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed:02d}.png")
    (folder / "33.png").write_bytes(b"no picture")
    (folder / "60.png").write_bytes((folder / "60.png").read_bytes()[:99])
    (folder / "69.png").write_bytes((folder / "01.png").read_bytes())
    return folder


def content_of(path):
    """Every dataset and attribute of an HDF5 file."""
    with h5py.File(path) as file:
        return {
            **{name: (data.dtype, data[()].tolist()) for name, data in file.items()},
            **{f"@{name}": str(value) for name, value in file.attrs.items()},
        }


def interrupt_after(monkeypatch, module, name, n):
    """Press Ctrl-C at the n-th thing that is handed over."""
    real = getattr(module, name)

    def spread(*arguments, **options):
        for count, part in enumerate(real(*arguments, **options)):
            if count == n:
                raise KeyboardInterrupt
            yield part

    monkeypatch.setattr(module, name, spread)


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_packs_are_those_of_one_computer(colors, tmp_path, monkeypatch):
    settings = PackSettings(short_side=48)
    pack_photos([colors], tmp_path / "a.h5", settings, progress=False)
    with monkeypatch.context() as patch:
        interrupt_after(patch, cluster_training, "run_tasks", 40)
        with pytest.raises(KeyboardInterrupt):
            pack_photos_on_ray([colors], tmp_path / "b.h5", settings, progress=False)
    assert (tmp_path / "b.h5.part").exists()
    seen = []
    add = packing.Journal.add
    monkeypatch.setattr(packing.Journal, "add", lambda *a: (seen.append(1), add(*a)))
    report = pack_photos_on_ray([colors], tmp_path / "b.h5", settings, progress=False)
    assert len(seen) == 30
    assert (report.kept, len(report.broken), len(report.duplicates)) == (67, 2, 1)
    assert content_of(tmp_path / "a.h5") == content_of(tmp_path / "b.h5")
    texts = [(tmp_path / f"{name}.report.txt").read_text() for name in "ab"]
    assert texts[0].replace("a.h5", "b.h5") == texts[1]


@pytest.mark.slow
@pytest.mark.usefixtures("ray")
def test_priors_are_those_of_one_computer(colors, tmp_path, monkeypatch):
    """Of a pack and loose photos together; interrupted on Ray, ended on Ray and here."""
    pack_photos([colors], tmp_path / "pack.h5", PackSettings(fractions=(1, 0, 0)), progress=False)
    sources = [colors, tmp_path / "pack.h5"]
    settings = PriorSettings(bins=10, size=40)
    build_priors(sources, tmp_path / "a.h5", settings, progress=False)
    build_priors_on_ray(sources, tmp_path / "b.h5", settings, progress=False)
    assert content_of(tmp_path / "a.h5") == content_of(tmp_path / "b.h5")
    for name, end in (("c", build_priors), ("d", build_priors_on_ray)):
        with monkeypatch.context() as patch:
            interrupt_after(patch, cluster_training, "run_tasks", 3)
            with pytest.raises(KeyboardInterrupt):
                build_priors_on_ray(sources, tmp_path / f"{name}.h5", settings, progress=False)
        state = counting.read_state
        starts = []
        with monkeypatch.context() as patch:
            patch.setattr(
                counting, "read_state", lambda *a, s=state, t=starts: t.append(s(*a)) or t[-1]
            )
            end(sources, tmp_path / f"{name}.h5", settings, progress=False)
        assert starts[0].n_done == 3 * 32
        assert content_of(tmp_path / "a.h5") == content_of(tmp_path / f"{name}.h5")


# ---- from start to end ---------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_of_its_own_leaves_nothing_behind_even_after_ctrl_c(scans, tmp_path, weights):
    folder, out = scans(60, side=600), tmp_path / "out"
    call = [sys.executable, "-m", "zcolor.apps.cli", "colorize", folder, "-o", out]
    call = [*map(str, call), "--model", str(weights), "--device", "cpu"]
    code = "import sys; from zcolor.apps.cli import main; sys.exit(main(sys.argv[1:]))"
    call[1:3] = ["-c", code]
    before = set(Path(tempfile.gettempdir()).glob("zc-*"))
    with subprocess.Popen(
        [*call, "--engine", "ray"], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        while len(list(out.glob("*.jpg"))) < 3 and process.poll() is None:
            time.sleep(0.02)
        children = processes_below(process.pid)
        assert len(children) > 2
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert re.search(r"zcolor: \d+ coloured, interrupted, \d+ not reached \(.*\)\n\Z", error)
    assert set(Path(tempfile.gettempdir()).glob("zc-*")) == before
    time.sleep(1)
    everything = processes_below(1) | processes_below(os.getpid())
    assert not [name for pid, name in children.items() if everything.get(pid) == name]
    for path in out.glob("*.jpg"):
        with Image.open(path) as image:
            image.load()
    rest = subprocess.run(
        [*call, "--engine", "ray", "--resume"], capture_output=True, text=True, check=False
    )
    assert rest.returncode == 0, rest.stderr
    assert re.fullmatch(r"zcolor: \d+ coloured, \d+ done before\n", rest.stderr)
    color_files([folder], tmp_path / "here", model=weights, device="cpu", progress=False)
    assert files_of(out) == files_of(tmp_path / "here")


@pytest.mark.slow
def test_no_cluster_answers(album, tmp_path, weights, monkeypatch, capsys):
    ray = importlib.import_module("ray")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)

    def nobody(**options):
        raise ConnectionError(f"nobody at {options['address']}")

    monkeypatch.setattr(ray, "init", nobody)
    options = ["--engine", "ray", "--address", "head:6379", "--model", weights]
    assert run("colorize", album, "-o", tmp_path / "out", *options) == 1
    error = capsys.readouterr().err
    assert "zcolor: there is no Ray cluster at head:6379 (nobody at head:6379); start one" in error
    assert not (tmp_path / "out").exists()
