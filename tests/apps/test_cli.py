import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tyro
from PIL import Image

import zcolor
from zcolor.apps import cli
from zcolor.apps.commands import Zcolor
from zcolor.apps.folder import FolderReport


@pytest.fixture
def colorize(weights):
    """`zcolor colorize` with the small network, in this process."""

    def call(*arguments):
        options = ["--model", str(weights), "--device", "cpu"]
        return cli.main(["colorize", *map(str, arguments), *options])

    return call


def process(*arguments, **options):
    code = "import sys; from zcolor.apps.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


# ---- the whole door ------------------------------------------------------------------------


def test_a_process_of_its_own(weights, album, tmp_path):
    (album / "bad.jpg").write_bytes(b"no picture")
    result = process(
        "colorize", album, "-o", tmp_path / "out", "--model", weights, "--device", "cpu"
    )
    assert result.returncode == 1
    out = tmp_path / "out"
    names = ["a.jpg", "1950/b.PNG", "1950/summer/c.png"]
    assert result.stdout.splitlines() == [str(out / name) for name in names]
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == sorted(names)
    errors = result.stderr.splitlines()
    assert errors[-2].startswith(f"failed {album / 'bad.jpg'} is no image")
    assert errors[-1] == "zcolor: 3 coloured, 1 failed"
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["colorize", "--help"], ["train", "--help"], ["models"]]
)
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys; from zcolor.apps.cli import main; status = main(sys.argv[1:]);"
        "print(*{'torch', 'numpy', 'scipy', 'cv2', 'PIL'} & set(sys.modules), file=sys.stderr);"
        "sys.exit(status)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0
    assert result.stderr.strip() == ""
    assert len(result.stdout.splitlines()) > 1


def test_help_names_every_command(capsys):
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for command in ("colorize", "train", "pack", "priors", "models", "demo", "--version"):
        assert command in shown


def test_version(capsys, monkeypatch):
    monkeypatch.setattr(cli, "version", lambda name: {"zcolor": zcolor.__version__}[name])
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"zcolor {zcolor.__version__}\n"


@pytest.mark.parametrize("name", ["colorize", "train", "pack", "priors", "models", "demo"])
def test_help_of_a_command_shows_an_example_that_parses(name, capsys):
    assert cli.main([name, "--help"]) == 0
    (example,) = set(re.findall(r"example: zcolor (.+?) *│?$", capsys.readouterr().out, re.M))
    call = tyro.cli(Zcolor, args=shlex.split(example), config=cli._STYLE)
    assert type(call.command).__name__.lower() == name


# ---- colorize ------------------------------------------------------------------------------


def test_one_picture(colorize, album, capsys):
    assert colorize(album / "1950" / "b.PNG") == 0
    shown = capsys.readouterr()
    assert shown.out == f"{album / '1950' / 'b-color.PNG'}\n"
    assert shown.err.splitlines()[-1] == "zcolor: 1 coloured"


def test_nothing_is_overwritten_unasked(colorize, album, capsys):
    target = album / "a-color.jpg"
    before = target.read_bytes()
    assert colorize(album / "a.jpg") == 0
    assert f"skipped {album / 'a.jpg'}: {target} exists; --overwrite" in capsys.readouterr().err
    assert target.read_bytes() == before
    assert colorize(album / "a.jpg", "--overwrite") == 0
    assert target.read_bytes() != before


def test_options_reach_the_colorizer(colorize, album, tmp_path):
    options = {
        "grey": ["--saturation", "0"],
        "argmax": ["--decode", "argmax"],
        "cold": ["--temperature", "0"],
        "small": ["--decode", "argmax", "--size", "16"],
        "centers": ["--decode", "argmax", "--colors", "centers"],
        "bilinear": ["--decode", "argmax", "--upsample", "bilinear"],
        "accurate": ["--preset", "accurate"],
        "vivid": [],
        "averaged": ["--average", "flip"],
    }
    pixels = {}
    for name, extra in options.items():
        assert colorize(album / "1950" / "b.PNG", "-o", tmp_path / f"{name}.png", *extra) == 0
        pixels[name] = np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int)
    assert np.ptp(pixels["grey"], axis=2).max() == 0
    assert np.ptp(pixels["argmax"], axis=2).max() > 10
    assert np.array_equal(pixels["argmax"], pixels["cold"])
    assert not np.array_equal(pixels["argmax"], pixels["small"])
    assert np.array_equal(pixels["argmax"], pixels["centers"])  # untrained means are the centres
    assert not np.array_equal(pixels["argmax"], pixels["bilinear"])
    assert not np.array_equal(pixels["accurate"], pixels["vivid"])
    assert not np.array_equal(pixels["averaged"], pixels["vivid"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quality", "0"], "quality must lie in 1..100"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--model", "zang"], "unknown model 'zang'"),
        (["--model", "zang.safetensors"], "no checkpoint at zang.safetensors"),
        (["-o", "x.doc"], "cannot write colour to 'x.doc'"),
    ],
)
def test_usage_errors_are_one_line(album, weights, capsys, arguments, message):
    model = [] if "--model" in arguments else ["--model", str(weights)]
    assert cli.main(["colorize", str(album / "a.jpg"), *model, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("zcolor: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "colorize"),
        (["paint"], "paint"),
        (["colorize", "a.jpg", "--size", "big"], "--size"),
        (["colorize", "a.jpg", "--colour"], "--colour"),
        (["colorize", "a.jpg", "--saturation", "9"], "saturation must lie in"),
        (["colorize", "a.jpg", "--decode", "mean", "--temperature", "0.1"], "has no temperature"),
        (["train", "a.h5"], "--out"),
    ],
)
def test_calls_that_cannot_be_parsed(capsys, arguments, message):
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_debug_shows_the_trace(album, capsys):
    call = ["colorize", str(album / "a.jpg"), "--device", "gpu"]
    assert cli.main([*call, "--debug"]) == 2
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.splitlines()[-1].startswith("zcolor: unknown device")
    assert cli.main(["--debug", *call]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_interrupted_batch_says_what_is_done(album, capsys, monkeypatch):
    report = FolderReport(done=(album / "x.png",), waiting=3)
    monkeypatch.setattr("zcolor.apps.folder.color_files", lambda *a, **k: report)
    assert cli.main(["colorize", str(album)]) == 130
    shown = capsys.readouterr()
    assert shown.out == f"{album / 'x.png'}\n"
    assert shown.err == "zcolor: 1 coloured, interrupted, 3 not reached\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "zcolor: interrupted\n"),
        (OSError("the disk\nis full"), 1, "zcolor: the disk is full\n"),
        (MemoryError(), 1, "zcolor: MemoryError\n"),
    ],
)
def test_what_the_machine_does_is_no_usage_error(capsys, monkeypatch, error, code, message):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr("zcolor.apps.folder.color_files", fail)
    assert cli.main(["colorize", "a.jpg"]) == code
    assert capsys.readouterr().err == message


# ---- the other commands --------------------------------------------------------------------


def test_models_are_listed(capsys):
    assert cli.main(["models"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["name", "size", "licence"]
    for name, row in zip(zcolor.list_models(), rows, strict=True):
        assert re.match(rf"{name} +[\d.]+ MB  +BSD-2-Clause ", row)


def test_demo_says_where(tmp_path, weights, album, capsys):
    call = ["demo", "-o", str(tmp_path / "sheets"), "--model", str(weights), "--device", "cpu"]
    assert cli.main([*call, "--samples", str(album)]) == 0
    shown = capsys.readouterr().out
    assert f"2 before/after sheets are in {tmp_path / 'sheets'}" in shown
    assert str(tmp_path / "sheets" / "_all.jpg") in shown
    assert cli.main([*call, "--samples", str(tmp_path / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error():
    done = subprocess.run(
        f'{sys.executable} -c \'from zcolor.apps.cli import main; main(["train", "--help"])\''
        " | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "usage" in done.stdout
    assert done.stderr == ""
