"""The fuzzer: the same files for the same seed, and nothing escapes it."""

import json
import textwrap

import pytest

from fuzz.child import load_readers
from fuzz.mutate import MOST_AT_ONCE, mutated
from fuzz.readers import READERS, make_file
from fuzz.report import table
from fuzz.run import FuzzSettings, run
from fuzz.seeds import pictures

PLANTED = """
    import ctypes, time
    from pathlib import Path
    from fuzz.readers import Reader

    def _read(path):
        data = path.read_bytes()
        if len(data) % 5 == 1:
            raise KeyError("planted")
        if len(data) % 5 == 2:
            raise ValueError("no name")
        if len(data) % 5 == 3:
            raise ValueError(f"{path} is damaged")

    def _crash(path):
        if path.read_bytes() != b"x" * 50:
            ctypes.string_at(0)

    def _hang(path):
        if path.read_bytes() != b"x" * 50:
            time.sleep(1000)

    def _hungry(path):
        if path.read_bytes() != b"x" * 50:
            bytearray(10**12)

    def _refuse_everything(path):
        raise ValueError(f"{path} is damaged")

    def _seeds():
        return {"seed": b"x" * 50}

    def _one(read):
        return lambda: {"planted": Reader(_seeds, read, (ValueError,), 1.0, ".x")}

    bug, crash, hang, hungry = _one(_read), _one(_crash), _one(_hang), _one(_hungry)
    refuse = _one(_refuse_everything)
"""


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Run the fuzzer with a reader that has a fault of its own."""
    (tmp_path / "planted_readers.py").write_text(textwrap.dedent(PLANTED))
    monkeypatch.syspath_prepend(tmp_path)

    def call(which, **settings):
        settings = {"files": 20, "seconds": 60.0, "out": tmp_path / "out", **settings}
        return run(FuzzSettings(readers=f"planted_readers:{which}", **settings), progress=False)

    return call


def test_the_same_seed_makes_the_same_files():
    readers = READERS()
    files = [make_file(readers, 7, number) for number in range(60)]
    assert files == [make_file(READERS(), 7, number) for number in range(60)]
    assert files != [make_file(readers, 8, number) for number in range(60)]
    assert {name for name, _ in files} >= {"picture", "checkpoint", "pack"}
    whole = {data for reader in readers.values() for data in reader.seeds().values()}
    assert sum(data in whole for _, data in files) <= 5  # now and then a change changes nothing


def test_mutations_are_of_every_kind():
    import random

    data = pictures()["tiff"]
    files = [mutated(data, [b"other" * 20], random.Random(i)) for i in range(400)]
    lengths = [len(file) for file in files]
    assert min(lengths) < 100
    assert max(lengths) > len(data)
    assert any(len(file) == len(data) and file != data for file in files)
    assert any(b"other" in file for file in files)
    assert MOST_AT_ONCE > 1


def test_a_planted_bug_is_caught_and_its_file_kept(planted, tmp_path):
    report = planted("bug", files=40)
    figures = report.readers["planted"]
    assert figures.outcomes.total() == report.n_files == 40
    assert set(figures.kinds) == {
        "KeyError",
        "ValueError",
        "ValueError without the name of the file",
    }
    assert len(report.failures) == figures.outcomes["fault"] > 5
    first = report.failures[0]
    assert first["kind"] in ("KeyError", "ValueError without the name of the file")
    assert "planted" in first["trace"]
    readers = load_readers("planted_readers:bug")
    for told in report.failures:
        kept = (tmp_path / "out" / "failed").glob(f"0-{told['number']}-*")
        assert [path.read_bytes() for path in kept] == [make_file(readers, 0, told["number"])[1]]
    assert "fault KeyError (planted)" in table(report)
    told = json.loads((tmp_path / "out" / "fuzz.json").read_text())
    assert told["n_files"] == 40
    assert told["readers"]["planted"]["outcomes"]["fault"] == len(report.failures)


@pytest.mark.slow
def test_the_verdicts_do_not_depend_on_the_number_of_processes(planted):
    def verdicts(jobs):
        report = planted("bug", jobs=jobs)
        return [(told["number"], told["kind"]) for told in report.failures]

    assert verdicts(1) == verdicts(2)


def test_a_planted_crash_is_caught_and_the_run_goes_on(planted):
    report = planted("crash", files=2)
    assert report.readers["planted"].outcomes == {"crash": 2}
    assert report.failures[0]["kind"] == "SIGSEGV"
    assert "string_at" in report.failures[0]["trace"]
    assert report.failures[0]["file"].endswith("0-0-planted-crash.x")


@pytest.mark.slow
def test_a_hang_is_ended(planted):
    report = planted("hang", files=2, seconds=1.0)
    assert report.readers["planted"].outcomes == {"hang": 2}


@pytest.mark.slow
def test_memory_is_bounded(planted):
    report = planted("hungry", files=3)
    assert report.readers["planted"].kinds == {"MemoryError": 3}


@pytest.mark.slow
def test_a_whole_file_that_cannot_be_read_ends_the_run(planted):
    with pytest.raises(RuntimeError, match="the whole planted 'seed' cannot be read"):
        planted("refuse")


@pytest.mark.slow
def test_every_reader_promises_what_it_says(tmp_path):
    """A small run of the real thing: not one failure."""
    report = run(FuzzSettings(files=1500, seed=3, out=tmp_path), progress=False)
    assert set(report.readers) == set(READERS())
    assert report.n_files == 1500
    assert report.failures == [], table(report)


@pytest.mark.parametrize("name", ["files", "minutes", "jobs", "seconds", "memory_mb"])
def test_settings_that_make_no_sense(name):
    with pytest.raises(ValueError, match=f"{name} must be above 0"):
        FuzzSettings(**{name: 0})


def test_unknown_readers():
    with pytest.raises(
        ValueError, match=r"unknown readers \['film'\]; there are picture, checkpoint"
    ):
        run(FuzzSettings(only=("film",)), progress=False)
