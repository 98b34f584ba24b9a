"""The pages are true: their Python runs, their commands parse, their pictures are there.

Blocks of ```python and ```py of a page run one after the other in one namespace, in a folder with
a few small photographs; `zcolor colorize` and `zcolor models` in blocks of ```console run there
too, other commands are parsed. A comment `<!-- not run: why -->` before a block has it only parsed.
"""

import ast
import configparser
import contextlib
import dataclasses
import importlib
import importlib.util
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import skimage.data
import tyro
from PIL import Image

from tests.clips import write_film
from zcolor.apps import cli
from zcolor.apps.commands import Zcolor
from zcolor.checkpoint import read_header
from zcolor.registry import find_weights, list_families, load_model
from zcolor.training.settings import TrainSettings

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *sorted(DOCS.glob("*.md")),
    *sorted((DOCS / "recipes").glob("*.md")),
    *sorted((DOCS / "studies").glob("*.md")),
]
EXAMPLES = sorted((DOCS / "examples").glob("*.py"))
LARGEST_PICTURE = 400_000  # bytes
LARGEST_GALLERY = 1_500_000  # bytes, all of it
LONGEST_EXAMPLE = 60  # lines


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    text: str
    runs: bool


def blocks(page):
    text = page.read_text(encoding="utf-8")
    fence = re.compile(
        r"(?P<not_run><!-- not run: [^>]+ -->\s*)?"
        r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$",
        re.M | re.S,
    )
    return [
        Block(
            page.name,
            text.count("\n", 0, found.start("text")) + 1,
            found["language"],
            re.sub(rf"^{found['indent']}", "", found["text"], flags=re.M),
            found["not_run"] is None,
        )
        for found in fence.finditer(text)
    ]


ALL = {page: blocks(page) for page in PAGES}
WITH_PYTHON = [
    page for page, found in ALL.items() if any(b.language in ("python", "py") for b in found)
]


def commands(text):
    """The lines after a prompt, those that end in a backslash joined, without their comments."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


CONSOLE = [
    pytest.param(command, block.runs, id=f"{block.page}:{block.line}: {command[:60]}")
    for found in ALL.values()
    for block in found
    if block.language == "console"
    for command in commands(block.text)
]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """Small photographs under the names that the pages use."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "album").mkdir()
    photos = {"astronaut": (96, 96), "coffee": (112, 80), "chelsea": (96, 64)}
    for name, size in photos.items():
        photo = Image.fromarray(getattr(skimage.data, name)()).resize(size)
        photo.save(folder / "album" / f"{name}.jpg")
        photo.save(folder / f"{name}.png")
    grey = Image.fromarray(skimage.data.astronaut()).convert("L").resize((96, 96))
    grey.save(folder / "grandmother.jpg")
    grey.save(folder / "photo.jpg")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(folder / "scan.tif")
    write_film(folder / "film.mp4", [np.asarray(grey)] * 3)
    return folder


@pytest.fixture
def desk(stand_ins, tmp_path, monkeypatch):
    """A copy of them to work in."""
    shutil.copytree(stand_ins, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- what stands in the pages ---------------------------------------------------------------


def test_the_fences_are_found():
    for page, found in ALL.items():
        n_fences = len(re.findall(r"^ *```", page.read_text(encoding="utf-8"), re.M))
        assert len(found) == n_fences / 2, page.name


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_python_of_a_page_runs(page, desk, capsys):
    namespace = {"__name__": "page"}
    for block in ALL[page]:
        if block.language not in ("python", "py"):
            continue
        code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
        if block.runs:
            exec(code, namespace)


@pytest.mark.parametrize(("command", "runs"), CONSOLE)
def test_command_of_a_page_is_true(command, runs, desk):
    words = shlex.shlex(command, posix=True, punctuation_chars="|><")
    words.whitespace_split = True
    parts, part = [], []
    for word in words:  # a shell's comment is left out
        if word in ("|", ">", "<"):
            parts, part = [*parts, (part, word)], []
        else:
            part.append(word)
    for words, before in [*parts, (part, "")]:
        redirected = bool(parts) and (before == "" and parts[-1][1] in "><")
        if not redirected:
            check(words, runs=runs and not parts)


def check(words, *, runs):
    """One program and its arguments."""
    match words:
        # Where `make` puts it, and as an active environment finds it.
        case ["zcolor" | ".venv/bin/zcolor", *arguments] | ["zcolor", "--debug", *arguments]:
            # Starting Ray takes long: tests/apps/test_cluster.py does it.
            check_zcolor(arguments, runs=runs and "ray" not in arguments)
        case ["make", target]:
            assert re.search(rf"^{target}:.*##", (ROOT / "Makefile").read_text(), re.M), target
        case ["pip", "install", what]:
            check_extras(what)
        case ["python", "-m", module, *_]:
            assert importlib.util.find_spec(module), module
        case ["python", script, *_]:
            assert (ROOT / script).is_file(), script
        case ["torchrun", *arguments]:
            script = next(i for i, word in enumerate(arguments) if word.endswith(".py"))
            assert (ROOT / arguments[script]).is_file()
            check_zcolor([Path(arguments[script]).stem, *arguments[script + 1 :]], runs=False)
        case ["cat", name]:
            assert Path(name).is_file()
        case ["export", setting]:
            assert re.fullmatch(r"[A-Z_]+=\S+", setting)
        case ["curl", *_] | ["tensorboard", "--logdir", _]:
            pass
        case _:
            pytest.fail(f"a command that no test knows: {words}")


def check_zcolor(arguments, *, runs):
    if arguments in (["--help"], ["--version"]):
        return
    # Exits where it does not parse.
    call = tyro.cli(Zcolor, args=cli.with_recipe(arguments), config=cli._STYLE)
    model = getattr(call.command, "model", "zhang")
    if runs and arguments[0] in ("colorize", "models") and model == "zhang":
        device = ["--device", "cpu"] if arguments[0] == "colorize" else []
        assert cli.main([*arguments, *device]) == cli.OK


def check_extras(what):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    wanted = re.fullmatch(r"(?:\.|zcolor)(?:\[([\w,]+)\])?", what)
    assert wanted, what
    for extra in filter(None, (wanted[1] or "").split(",")):
        assert extra in config["options.extras_require"]


def test_a_wrong_command_is_noticed(desk, capsys):
    with pytest.raises(SystemExit):
        check_zcolor(["colorize", "photo.jpg", "--presett", "vivid"], runs=False)
    with pytest.raises(pytest.fail.Exception, match="no test knows"):
        check(["zcolour", "photo.jpg"], runs=False)
    with pytest.raises(AssertionError):
        check(["make", "coffee"], runs=False)


# ---- the pictures and the shelf of pages ----------------------------------------------------


def test_pictures_are_small_and_all_are_shown():
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for picture in (DOCS / "images").iterdir():
        assert picture.stat().st_size <= LARGEST_PICTURE, picture.name
        assert f"images/{picture.name})" in text, f"no page shows {picture.name}"
    gallery = sum(picture.stat().st_size for picture in (DOCS / "images").glob("gallery-*"))
    assert 0 < gallery <= LARGEST_GALLERY


def shelf(index):
    """What the tables of contents of a page list."""
    return {
        line
        for block in re.findall(r"```\{toctree\}\n(.*?)```", index.read_text("utf-8"), re.S)
        for line in block.split("\n")
        if line and not line.startswith(":")
    }


def test_every_page_is_on_the_shelf():
    rooms = {"reference/index", "recipes/index", "studies/index"}
    there = {path.stem for path in DOCS.glob("*.md")} - {"index"} | rooms
    assert shelf(DOCS / "index.md") == there
    for room in ("recipes", "studies"):
        there = {path.stem for path in (DOCS / room).glob("*.md")} - {"index"}
        assert shelf(DOCS / room / "index.md") == there


def test_every_family_has_a_recipe():
    there = {path.stem for path in (DOCS / "recipes").glob("*.md")} - {"index"}
    assert there == set(list_families())


def test_pictures_of_studies_are_small_and_all_are_shown():
    text = "\n".join(page.read_text(encoding="utf-8") for page in (DOCS / "studies").glob("*.md"))
    for picture in (DOCS / "studies").iterdir():
        if picture.suffix != ".md":
            assert picture.stat().st_size <= LARGEST_PICTURE, picture.name
            assert f"({picture.name})" in text, f"no page shows {picture.name}"


def test_every_module_of_the_reference_is_there():
    for page in (DOCS / "reference").glob("*.md"):
        named = re.findall(r"\.\. (?:auto\w+):: (zcolor[\w.]*)", page.read_text(encoding="utf-8"))
        for name in named:
            module, _, member = name.rpartition(".")
            found = importlib.util.find_spec(name) if module != "zcolor" else None
            if found is None and importlib.util.find_spec(name) is None:
                assert hasattr(importlib.import_module(module), member), name


def card_results():
    """What `zcolor evaluate` writes, with a figure of its own for every method and measure."""
    figures = ["auc_raw", "auc_rebalanced", "chroma", "colorfulness", "cast_a", "cast_b"]
    figures += ["ciede2000", "psnr_rgb", "lightness_max"]
    methods = ["grey", "mean colour", "vivid", "accurate", "ceiling", "truth", "T=0", "T=1"]

    def method(row, offset):
        found = {name: {"value": 10 * row + k + offset} for k, name in enumerate(figures)}
        apart = {name: {"value": 1.0, "low": 0.5, "high": 2.5} for name in figures}
        number = {"T=0": 0.0, "T=1": 1.0}.get(methods[row])
        minus_grey = {} if methods[row] in ("grey", "truth") else apart
        return {"figures": found, "minus_grey": minus_grey, "temperature": number}

    preset = {"temperature": 0.5, "rebalance": 2.0, "neutral": [1.0, 2.5], "gain": 1.0}
    network = {k: {"value": 0.25} for k in ("top1", "top5", "cross_entropy")}
    return {
        name: {
            "model": {
                "sha256": "5eed",
                "presets": {p: {**preset, "contrast": 0.125} for p in ("vivid", "accurate")},
            },
            "precision": "float32",
            "data": {"hash": "da7a"},
            "methods": {m: method(row, offset / 16) for row, m in enumerate(methods)},
            "networks": {
                k: {**network, "calibration_error": 3.5}
                for k in ("zhang", "zhang, natural", "prior")
            },
        }
        for offset, name in enumerate(load(DOCS / "card.py").MEASURED)
    }


def test_the_tables_of_the_card_say_what_was_measured():
    card = load(DOCS / "card.py")
    runs = card_results()
    tables = {write.__name__: write(runs) for page in card.BLOCKS.values() for write in page}
    # Photographs: 0 for all, 1 / 16 for the aged ones; `vivid` is row 2, `accurate` row 3.
    vivid = "| **`vivid` (default)** | 20.00 | +1.00 ± 1.00 | 21.00 | +1.00 ± 1.00 | 22.0 | 23.0 |"
    assert f"{vivid} 24.0, 25.0 |" in tables["whole"]
    assert "| truth | 100 | | 100 | | 52.0 | 53.0 | |" in tables["whole"]
    assert "CIEDE2000 grey 6.00, vivid 26.00, accurate 36.00" in tables["whole"]
    assert tables["curve"].count("\n| vivid | 0 | ") == 1
    assert tables["film"].splitlines()[2] == (
        "| `vivid` | 20.00 | 20.06 | -0.06 | 21.00 | 21.06 | -0.06 "
        "| +1.00 ± 1.00 and +1.00 ± 1.00 |"
    )
    centers = (list(runs).index("centers") - list(runs).index("first300")) / 16
    assert f"| centres of the cells | {' | '.join([f'{centers:+.2f}'] * 4)} |" in tables["variants"]
    assert "| `vivid`, AuC raw above grey | at least 0 | 20.000 | reached |" in tables["aims"]
    assert "| `vivid`, cast in a and b | at most 2 | 25.000 | **missed** |" in tables["aims"]
    assert "| zcolor `accurate` | 30.00 | +30.00 | 31.00 | +30.00 | 33.0 |" in tables["ours"]
    assert "| `vivid` | 0.5 | 2 | 1, 2.5 | 1 | 0.125 |" in tables["presets"]
    for word in ("5eed", "da7a", "float32"):
        assert word in tables["weights"]
    widths = {
        (name, line.count("|"))
        for name, table in tables.items()
        for line in table.splitlines()
        if line.startswith("|")
    }
    assert len(widths) == len(tables) - 1, "rows of one table differ in length"


def test_the_card_has_a_place_for_every_table_and_nothing_else_changes():
    card = load(DOCS / "card.py")
    runs = card_results()
    for page in card.BLOCKS:
        text = (DOCS / page).read_text(encoding="utf-8")
        once = card.filled(page, text, runs)
        assert card.filled(page, once, runs) == once
        outside = re.compile("(?<=-->\n).*?(?=<!-- end -->)", re.S)
        assert outside.sub("", once) == outside.sub("", text)
        with pytest.raises(ValueError, match="it needs one"):
            card.filled(page, text.replace("<!-- measured: ", "<!-- "), runs)


def test_the_presets_on_the_pages_are_those_of_the_model():
    presets = load_model("zhang").presets
    numbers = {name: dataclasses.asdict(decode) for name, decode in presets.items()}
    table = load(DOCS / "card.py").presets({"all": {"model": {"presets": numbers}}})
    for page in ("model-card.md", "choosing-colours.md"):
        assert table in (DOCS / page).read_text(encoding="utf-8")


def test_the_card_was_measured_with_the_weights_that_ship():
    """New weights ask for `python docs/card.py VAL.h5 RUNS`, whatever their presets."""
    sha256 = read_header(find_weights("zhang"))["sha256"]
    page = (DOCS / "model-card.md").read_text(encoding="utf-8")
    assert f"Weights with the SHA-256 `{sha256}`" in page


def test_settings_of_the_walk_are_those_of_the_example():
    """The page of commands and the program must not drift apart."""
    walk = (DOCS / "train-your-own.md").read_text(encoding="utf-8")
    command = next(c for c in commands(walk) if c.startswith("zcolor train"))
    call = tyro.cli(Zcolor, args=shlex.split(command)[1:], config=cli._STYLE)
    assert call.command.settings == load(DOCS / "examples" / "train_your_own.py").SETTINGS


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_site_builds_without_a_warning(tmp_path):
    result = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", DOCS, tmp_path / "html"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    for page in DOCS.rglob("*.md"):
        assert (tmp_path / "html" / page.relative_to(DOCS).with_suffix(".html")).is_file()
    # Colons in the docstrings of fields do not make types.
    reference = (tmp_path / "html" / "reference" / "training.html").read_text(encoding="utf-8")
    assert "<p>JPEG quality (4:4:4) of photos" in reference
    # Nothing is loaded from elsewhere by whoever reads it.
    for page in (tmp_path / "html").rglob("*.html"):
        loads = re.findall(r"<(?:script|link|img)\b[^>]*", page.read_text(encoding="utf-8"))
        assert [
            tag for tag in loads if re.search(r"""(?:src|href)=["']?(?:https?:)?//""", tag)
        ] == []


# ---- the examples ---------------------------------------------------------------------------


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image)


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_example_is_short_and_says_what_it_does(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) < LONGEST_EXAMPLE
    doc = ast.get_docstring(ast.parse(text))
    assert f"python docs/examples/{path.name}" in doc
    assert path.name in (DOCS / "api.md").read_text(encoding="utf-8")


def test_example_colour_folder(desk, capsys):
    example = load(DOCS / "examples" / "colour_folder.py")
    (desk / "album" / "broken.jpg").write_bytes(b"no picture")
    assert example.main("album", "out") == 1
    assert {p.name for p in (desk / "out").iterdir()} == {
        "astronaut.jpg", "coffee.jpg", "chelsea.jpg"
    }  # fmt: skip
    assert "3 coloured, 0 done before" in capsys.readouterr().out
    assert example.main("album", "out") == 1
    assert "0 coloured, 3 done before" in capsys.readouterr().out


def test_example_use_distribution(desk, capsys):
    load(DOCS / "examples" / "use_distribution.py").main("photo.jpg")
    printed = capsys.readouterr().out
    assert re.search(r"mean confidence \d+%", printed)
    assert printed.count("rgb (") >= 1
    samples = [pixels(f"photo-sample-{n}.png") for n in range(4)]
    assert samples[0].shape == (96, 96, 3)
    assert (samples[0] != samples[1]).any()
    assert pixels("photo-confidence.png").shape == (96, 96)


def test_example_batch_on_gpu(desk, capsys):
    assert load(DOCS / "examples" / "batch_on_gpu.py").main("album", "out") == 3
    assert pixels("out/coffee.png").shape == (80, 112, 3)
    assert "3 photos on" in capsys.readouterr().out


@pytest.mark.slow
def test_example_train_your_own(desk, capsys):
    example = load(DOCS / "examples" / "train_your_own.py")
    photos = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.chelsea()]
    for number in range(24):  # parts that do not overlap, so that none counts as a duplicate
        photo, at = photos[number % 3], number // 3
        y, x = divmod(at, 4)
        part = photo[y * 140 : y * 140 + 132, x * 110 : x * 110 + 100]
        Image.fromarray(part).save(desk / "album" / f"{number}.png")
    quick = TrainSettings(
        photos=4, batch=2, lr=1e-5, crops=(32,), shares=(1.0,), epoch_photos=4, val_photos=1,
        jobs=1, device="cpu",
    )  # fmt: skip
    target = example.main("album", "runs/first", "photo.jpg", quick)
    assert pixels(target).shape == (96, 96, 3)
    assert "done: 4 photos seen" in capsys.readouterr().out


def test_example_serve_names_what_is_there():
    with contextlib.suppress(ImportError):  # of the extra `web`, when it is called
        assert callable(load(DOCS / "examples" / "serve.py").main)
