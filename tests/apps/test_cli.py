import errno
import io
import json
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import tyro
from PIL import Image

import zcolor
from tests.clips import write_film
from zcolor.apps import cli, commands
from zcolor.apps.commands import Zcolor
from zcolor.apps.folder_report import FolderReport, PhotoResult
from zcolor.registry import list_families

COMMANDS = (
    "colorize", "video", "stylize", "serve", "evaluate", "inspect", "train", "pretrain", "pack",
    "priors", "export", "models", "demo",
)  # fmt: skip


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


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_photographs_are_no_urls(engine, tmp_path, monkeypatch, capsys):
    assert cli.main(["colorize", "s3://bucket/album", "--engine", engine]) == 2
    assert "looks like a URL, but photographs are read from files" in capsys.readouterr().err
    (tmp_path / "s3:" / "album").mkdir(parents=True)  # an odd name, and a folder nevertheless
    Image.new("L", (8, 8)).save(tmp_path / "s3:" / "album" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert cli.main(["colorize", "s3:/album", "--dry-run"]) == 0
    assert "a-color.png" in capsys.readouterr().out


def test_a_name_that_is_no_text_ends_nothing(weights, tmp_path):
    folder = os.fsencode(tmp_path / "in")
    os.mkdir(folder)
    path = os.path.join(folder, b"\xff.png")
    Image.new("L", (16, 16), 99).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", path)
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    words = ("colorize", tmp_path / "in", "-o", tmp_path / "out", "--model", weights)
    result = process(*words, env=strict, errors="surrogateescape")
    assert result.returncode == 0, result.stderr
    assert os.fsencode(result.stdout.strip()) == os.fsencode(tmp_path / "out") + b"/\xff.png"


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
    for command in (*COMMANDS, "--version"):
        assert command in shown


def test_version(capsys, monkeypatch):
    monkeypatch.setattr(cli, "version", lambda name: {"zcolor": zcolor.__version__}[name])
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"zcolor {zcolor.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_shows_an_example_that_parses(name, capsys):
    assert cli.main([name, "--help"]) == 0
    # In the frame below they stand once more, and may be wrapped.
    examples = re.findall(r"^example: zcolor (.+?) *$", capsys.readouterr().out, re.M)
    assert examples
    for example in examples:
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


def test_a_frame_stays_grey_unless_asked_for(colorize, album, tmp_path):
    with Image.open(album / "1950" / "b.PNG") as photo:
        pixels = np.asarray(photo.convert("L"))
    scan = tmp_path / "scan.png"
    Image.fromarray(np.pad(pixels, 6, constant_values=245)).save(scan)
    options = ["--decode", "argmax"]
    for name, extra in {"left": [], "whole": ["--frame", "color"]}.items():
        assert colorize(scan, "-o", tmp_path / f"{name}.png", *options, *extra) == 0
    left, whole = (
        np.asarray(Image.open(tmp_path / f"{n}.png")).astype(int) for n in ("left", "whole")
    )
    rim = np.ones(left.shape[:2], bool)
    rim[6:-6, 6:-6] = False
    assert np.ptp(left[rim], axis=1).max() == 0
    assert np.ptp(left[~rim], axis=1).max() > 10
    assert np.ptp(whole[rim], axis=1).max() > 10


def test_format_of_all_results(colorize, album, tmp_path):
    assert colorize(album, "-o", tmp_path / "out", "--format", "tiff") == 0
    names = sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.*"))
    assert names == ["1950/b.tif", "1950/summer/c.tif", "a.tif"]
    for name in names:
        with Image.open(tmp_path / "out" / name) as image:
            assert (image.format, image.mode) == ("TIFF", "RGB")


def test_resume_passes_over_what_is_done(colorize, album, tmp_path, capsys):
    out = tmp_path / "out"
    assert colorize(album / "a.jpg", "-o", out) == 0
    before = (out / "a.jpg").read_bytes()
    capsys.readouterr()
    assert colorize(album, "-o", out, "--resume") == 0
    shown = capsys.readouterr()
    assert (out / "a.jpg").read_bytes() == before
    assert len(shown.out.splitlines()) == 2
    assert shown.err.splitlines() == ["zcolor: 2 coloured, 1 done before"]
    assert colorize(album, "-o", out, "--resume", "--overwrite") == 2
    assert "choose one of them" in capsys.readouterr().err


def test_dry_run_writes_nothing(colorize, album, tmp_path, capsys, monkeypatch):
    (album / "bad.png").write_bytes(b"no picture")
    monkeypatch.setattr("zcolor.apps.folder.Colorizer", None)  # no model is loaded either
    assert colorize(album, "-o", tmp_path / "out", "--dry-run") == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [
        f"{album / name} -> {tmp_path / 'out' / target}"
        for name, target in (
            ("a.jpg", "a.jpg"),
            ("1950/b.PNG", "1950/b.PNG"),
            ("1950/summer/c.pgm", "1950/summer/c.png"),
        )
    ]
    assert shown.err.splitlines()[-1] == "zcolor: 3 to colour, 1 failed"
    assert "bad.png is no image" in shown.err
    assert not (tmp_path / "out").exists()


def test_summary_tells_of_every_picture(colorize, album, tmp_path):
    (album / "bad.png").write_bytes(b"no picture")
    path = tmp_path / "deep" / "summary.json"
    call = [album, "-o", tmp_path / "out", "--summary", path, "--saturation", "0.5"]
    assert colorize(*call) == 1
    summary = json.loads(path.read_text())
    assert summary["counts"] == {
        "done": 3,
        "before": 0,
        "skipped": 0,
        "failed": 1,
        "waiting": 0,
    }
    assert summary["settings"]["saturation"] == 0.5
    assert summary["version"] == zcolor.__version__
    photos = {photo["source"]: photo for photo in summary["photos"]}
    assert photos[str(album / "a.jpg")]["target"] == str(tmp_path / "out" / "a.jpg")
    assert photos[str(album / "a.jpg")]["seconds"] > 0
    assert photos[str(album / "bad.png")]["outcome"] == "failed"
    assert "is no image" in photos[str(album / "bad.png")]["reason"]


def test_compare_draws_before_and_after(colorize, album, tmp_path, capsys):
    sheet = tmp_path / "deep" / "sheet.png"
    call = [album, "-o", tmp_path / "out", "--compare", sheet]
    assert colorize(*call, "--decode", "argmax", "--saturation", "4") == 0
    with Image.open(sheet) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
    assert pixels.shape[1] >= 1600
    colorful = np.ptp(pixels, axis=2) > 30
    assert 0.01 < colorful.mean() < 0.5  # one of the two panels of each
    assert colorize(album / "a.jpg", "-o", tmp_path / "x.png", "--compare", "sheet.doc") == 2
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--compare", "b.jpg", "a.jpg"], "b.jpg exists, and the sheet would replace it"),
        (["--compare", "a.jpg", "a.jpg", "--overwrite"], "is one of the pictures or their results"),
        (["--compare", "x.jpg", "a.jpg", "-o", "x.jpg"], "is one of the pictures or their results"),
        (["--compare", "folder.jpg", "a.jpg"], "folder.jpg is a folder"),
        (["--summary", "b.jpg", "a.jpg"], "has the name of a picture; end it in .json"),
        (["--summary", "letter.txt", "a.jpg"], "letter.txt exists and is no summary of zcolor"),
        (["--summary", "folder.jpg", "a.jpg"], "folder.jpg is a folder"),
        (["--compare", "b.jpg/deep/sheet.png", "a.jpg"], "since b.jpg is no folder"),
        (["--summary", "b.jpg/summary.json", "a.jpg"], "since b.jpg is no folder"),
    ],
)
def test_sheet_and_summary_replace_nothing(options, said, colorize, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("a.jpg", "b.jpg"):
        Image.new("L", (16, 16), 90).save(name)
    (tmp_path / "letter.txt").write_text("Dear Ada")
    (tmp_path / "folder.jpg").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert colorize(*options) == (1 if "folder" in said else 2)
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_sheet_and_summary_of_an_earlier_run_are_replaced(colorize, album, tmp_path):
    sheet, summary = tmp_path / "sheet.png", tmp_path / "summary.json"
    call = [album, "-o", tmp_path / "out", "--compare", sheet, "--summary", summary]
    assert colorize(*call) == 0
    assert colorize(*call) == 2  # the sheet is no result that could be skipped
    sheet.write_bytes(b"older")
    assert colorize(*call, "--overwrite") == 0
    with Image.open(sheet) as image:
        assert image.width >= 1600
    assert colorize(*call, "--resume") == 0
    assert json.loads(summary.read_text())["counts"]["before"] == 3


def test_failures_are_told_where_sheet_and_summary_cannot_be_written(
    colorize, album, tmp_path, capsys, monkeypatch
):
    (album / "bad.png").write_bytes(b"no picture")

    def full(path, *args, **about):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("zcolor.apps.folder.write_sheet", full)
    monkeypatch.setattr("zcolor.apps.folder_report.write_summary", full)
    call = [album, "-o", tmp_path / "out", "--compare", tmp_path / "sheet.jpg"]
    assert colorize(*call, "--summary", tmp_path / "summary.json") == 1
    told = capsys.readouterr().err
    assert "bad.png is no image" in told
    assert re.search(r"failed .*No space left on device.*sheet\.jpg", told)
    assert "zcolor: 3 coloured, 2 failed" in told
    assert "summary.json" in told.splitlines()[-1]
    assert len([p for p in (tmp_path / "out").rglob("*") if p.is_file()]) == 3


# ---- a pipe --------------------------------------------------------------------------------


def pipe(data, *arguments):
    code = "import sys; from zcolor.apps.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "colorize", *map(str, arguments)],
        input=data,
        capture_output=True,
        check=False,
    )


def test_from_a_pipe_to_a_pipe(album, weights):
    data = (album / "a.jpg").read_bytes()
    result = pipe(data, "-", "--model", weights, "--device", "cpu", "--format", "png")
    assert (result.returncode, result.stderr) == (0, b"")
    with Image.open(io.BytesIO(result.stdout)) as image:
        assert image.format == "PNG"
        got = np.asarray(image).astype(int)
    expected = zcolor.Colorizer(weights, device="cpu")(Image.open(album / "a.jpg"))
    assert np.abs(got - np.asarray(expected)).max() <= 1


def test_a_pipe_that_carries_no_picture(weights):
    for data, message in ((b"", b"is empty (0 bytes)"), (b"words", b"is no image")):
        result = pipe(data, "-", "--model", weights, "--device", "cpu")
        assert (result.returncode, result.stdout) == (2, b"")
        assert message in result.stderr
        assert result.stderr.count(b"\n") == 1


class Piped:
    """Standard input or output with the bytes of a picture."""

    def __init__(self, data=b"", terminal=False):
        self.buffer, self.isatty = io.BytesIO(data), lambda: terminal


def test_a_pipe_and_a_file(colorize, album, tmp_path, monkeypatch, capsys):
    data = (album / "1950" / "b.PNG").read_bytes()
    out = tmp_path / "deep" / "new.tif"
    monkeypatch.setattr(sys, "stdin", Piped(data))
    assert colorize("-", "-o", out) == 0
    with Image.open(out) as image:
        assert (image.format, image.size) == ("TIFF", (60, 40))
    assert colorize("-", "-o", out) == 2
    assert f"{out} exists" in capsys.readouterr().err
    stdout = Piped()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stdout)
        assert colorize(album / "1950" / "b.PNG", "-o", "-") == 0
    with Image.open(io.BytesIO(stdout.buffer.getvalue())) as image:
        assert (image.format, image.mode) == ("PNG", "RGB")
    transparent = io.BytesIO()
    Image.new("LA", (20, 20), (90, 30)).save(transparent, "PNG")
    monkeypatch.setattr(sys, "stdin", Piped(transparent.getvalue()))
    assert colorize("-", "-o", tmp_path / "x.jpg") == 2
    assert "JPEG cannot hold the transparency" in capsys.readouterr().err


def test_a_pipe_keeps_to_the_name_of_the_file(colorize, album, tmp_path, monkeypatch, capsys):
    data = (album / "a.jpg").read_bytes()
    monkeypatch.setattr(sys, "stdin", Piped(data))
    assert colorize("-", "-o", tmp_path / "p.png", "--format", "jpeg") == 2
    told = capsys.readouterr().err
    assert "p.png is the name of a PNG file, but the format asked for is JPEG" in told
    monkeypatch.chdir(tmp_path)
    assert colorize("-", "-o", "s3://bucket/p.png") == 2
    assert "s3://bucket/p.png is no folder of this computer" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["album"]
    assert colorize("-", "-o", (tmp_path / "p.png").as_uri()) == 0
    assert sorted(os.listdir(tmp_path)) == ["album", "p.png"]


def test_a_pipe_does_not_replace_the_original(colorize, album, monkeypatch, capsys):
    original = album / "a.jpg"
    before = original.read_bytes()
    with original.open() as given:
        monkeypatch.setattr(sys, "stdin", given)
        assert colorize("-", "-o", original, "--overwrite") == 2
    assert "is the original, which is never replaced" in capsys.readouterr().err
    assert original.read_bytes() == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["colorize", "album", "--summary", "s3://bucket/rep.json"],
        ["colorize", "album", "--compare", "s3://bucket/sheet.jpg"],
        ["export", "--out", "s3://bucket/zhang.onnx"],
        ["stylize", "album/a.jpg", "--style", "album/a.jpg", "-o", "s3://bucket/a.png"],
        ["video", "album/a.jpg", "-o", "s3://bucket/a.mp4"],
    ],
)
def test_outputs_are_no_urls(album, tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    files = sorted(tmp_path.rglob("*"))
    assert cli.main(arguments) == 2
    assert re.search(
        "s3:/.* looks like a URL, but the .* of this computer", capsys.readouterr().err
    )
    assert sorted(tmp_path.rglob("*")) == files


def test_a_texture_or_a_style(capsys):
    assert cli.main(["stylize", "--texture", "a.png", "--style", "b.png", "-o", "c.png"]) == 2
    assert "or a texture alone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-", "b.jpg"], "a single picture, got 2 inputs"),
        (["a.jpg", "b.jpg", "-o", "-"], "a single picture, got 2 inputs"),
        (["-", "--resume"], "are for files, not for a pipe"),
        (["nowhere.jpg", "-o", "-"], "there is no picture nowhere.jpg"),
        ([".", "-o", "-"], "there is no picture ."),
        (["-"], "standard input is the keyboard"),
        ([__file__, "-o", "-"], "standard output is the screen"),
    ],
)
def test_what_cannot_go_through_a_pipe(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, "stdin", Piped(terminal=True))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Piped(terminal=True))
        assert cli.main(["colorize", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quality", "0"], "quality must lie in 1..100"),
        (["--device", "gpu"], "unknown device 'gpu'"),
        (["--model", "zang"], "unknown model 'zang'"),
        (["--model", "zang.safetensors"], "no checkpoint at zang.safetensors"),
        (["-o", "x.doc"], "cannot write colour to 'x.doc'"),
        (["-o", "x.png", "--format", "jpeg"], "the name of a PNG file, but the format asked for"),
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


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        ([], "the same command with --resume goes on"),
        (["--overwrite"], "the same command begins again"),
    ],
)
def test_interrupted_batch_says_what_is_done(album, capsys, monkeypatch, options, advice):
    photo = PhotoResult(album / "x.pgm", "done", album / "x.png")
    report = FolderReport((photo,), waiting=3)
    monkeypatch.setattr("zcolor.apps.folder.color_files", lambda *a, **k: report)
    assert cli.main(["colorize", str(album), *options]) == 130
    shown = capsys.readouterr()
    assert shown.out == f"{album / 'x.png'}\n"
    assert shown.err == f"zcolor: 1 coloured, interrupted, 3 not reached ({advice})\n"


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            KeyboardInterrupt(),
            130,
            "zcolor: interrupted; the same command with --resume goes on\n",
        ),
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


def test_video(weights, tmp_path, capsys):
    source, out = tmp_path / "film.mp4", tmp_path / "new.mkv"
    write_film(source, [np.full((48, 64), 60 + 9 * i, np.uint8) for i in range(3)])
    call = ["video", str(source), "--model", str(weights), "--device", "cpu"]
    assert cli.main([*call, "-o", str(out), "--smooth", "0.5"]) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{out}\n"
    assert "zcolor: 3 frames coloured, 1 scenes" in shown.err
    assert cli.main([*call, "-o", str(out)]) == 2
    assert "exists" in capsys.readouterr().err
    assert cli.main([*call, "--crf", "99"]) == 2


def test_the_defaults_of_the_commands_are_those_of_the_doors():
    from zcolor.apps import video, web_work
    from zcolor.temporal import SMOOTH

    assert (commands.Video.smooth, commands.Video.crf) == (SMOOTH, video.CRF)
    limits = web_work.WebLimits()
    for name in ("max_upload_mb", "max_pixels", "queue"):
        assert getattr(commands.Serve, name) == getattr(limits, name)


# ---- the other commands --------------------------------------------------------------------


def test_models_are_listed(capsys):
    assert cli.main(["models"]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:4] == ["name", "parameters", "size", "licence"]
    found = {row.split()[0]: row for row in rows}
    assert set(found) == set(list_families())
    for name, row in found.items():
        size = (
            r"[\d.]+ M +[\d.]+ MB  +BSD-2-Clause " if name in zcolor.list_models() else "to train "
        )
        assert re.match(rf"{name} +{size}", row)


def test_demo_says_where(tmp_path, weights, album, capsys):
    call = ["demo", "-o", str(tmp_path / "sheets"), "--model", str(weights), "--device", "cpu"]
    assert cli.main([*call, "--samples", str(album)]) == 0
    shown = capsys.readouterr().out
    assert f"2 before/after sheets are in {tmp_path / 'sheets'}" in shown
    assert str(tmp_path / "sheets" / "_all.jpg") in shown
    assert cli.main([*call, "--samples", str(tmp_path / "none")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_demo_says_what_to_type_next(tmp_path, monkeypatch):
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    monkeypatch.setattr("sys.executable", str(programs / "python"))
    monkeypatch.setenv("PATH", "")
    assert cli._typed() == f"{programs / 'python'} -m zcolor"
    (programs / "zcolor").touch(mode=0o755)
    assert cli._typed() == str(programs / "zcolor")
    monkeypatch.chdir(tmp_path)
    assert cli._typed() == os.path.join(".venv", "bin", "zcolor")
    monkeypatch.setenv("PATH", str(programs))
    assert cli._typed() == "zcolor"


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
