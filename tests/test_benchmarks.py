"""The benchmarks: that they measure what they say. Nothing here is judged by the clock."""

import doctest
import importlib
import io
import json
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage.color import lab2rgb, rgb2lab
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import bench as bench_module
from benchmarks import case_cuda, case_memory, case_start, case_training, photographs
from benchmarks.__main__ import main
from benchmarks.bench import Bench, Row, Sizes, Target, pair_row
from benchmarks.cases import CASES, chosen_cases
from benchmarks.limits import Limits, copy_rate, count_macs, matmul_rate, measure_limits
from benchmarks.photographs import jpeg_bytes, make_folder, photograph
from benchmarks.reference import Reference
from benchmarks.report import describe_machine, number, to_markdown, write_report
from benchmarks.timing import (
    Pair,
    Spread,
    Usage,
    compare,
    cpu_share,
    interleave,
    n_cores,
    run_alone,
    zcolor_command,
)
from zcolor.models.zhang import Zhang
from zcolor.photo import read_photo
from zcolor.quantizer import AbGrid

LIMITS = Limits(100e9, 200e9, 10e9, 50e6, 40e6)
TINY = Sizes(
    small=(40, 48),
    medium=(48, 64),
    large=(56, 64),
    reference_width=1 / 16,
    n_files=5,
    megapixels=(0.002, 0.006),
    n_training=6,
    training_megapixels=(0.003, 0.006),
    batch=2,
    crop=16,
    steps=22,
    training_width=1 / 32,
    giant_jpeg=(40, 50),
    giant_png=(300, 20),
    growth=(0.001, 0.002, 0.004),
    n_small_files=(2, 4),
    batch_photos=2,
    batch_side=32,
)


@pytest.fixture
def tiny(tmp_path):
    bench = Bench(tmp_path / "scratch", tmp_path / "out", runs=1, sizes=TINY)
    bench.folder.mkdir()
    bench.limits = LIMITS  # in place of measuring them
    return bench


# ---- timing --------------------------------------------------------------------------------


@given(st.lists(st.floats(0.001, 1000), min_size=1))
def test_spread_is_ordered_and_of_the_values(values):
    spread = Spread.of(values)
    assert spread.low == min(values)
    assert spread.high == max(values)
    assert spread.low <= spread.lower <= spread.median <= spread.upper <= spread.high
    assert spread.median == pytest.approx(np.median(values))


def test_spread_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one run"):
        Spread.of([])


def test_the_speedup_is_the_median_of_the_ratios_not_the_ratio_of_the_medians():
    pair = Pair((1.0, 2.0, 10.0), (4.0, 4.0, 10.0))
    assert pair.speedup.median == 2.0
    assert (pair.speedup.low, pair.speedup.high) == (1.0, 4.0)
    assert pair.reference_seconds.median / pair.seconds.median == 2.0
    skewed = Pair((1.0, 2.0, 3.0), (9.0, 2.0, 3.0))
    assert skewed.speedup.median == 1.0


def test_runs_are_interleaved_in_alternating_order_after_warming_up():
    order = []
    seconds = {"a": iter([9.0, 1.0, 2.0, 3.0]), "b": iter([9.0, 4.0, 5.0, 6.0])}

    def task(name):
        def run():
            order.append(name)
            return next(seconds[name])

        return run

    measured = interleave({name: task(name) for name in "ab"}, runs=3)
    assert "".join(order) == "ab" + "ab" + "ba" + "ab"
    assert measured == {"a": (1.0, 2.0, 3.0), "b": (4.0, 5.0, 6.0)}


def test_no_runs_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        interleave({}, runs=0)


def test_compare_measures_each_side():
    pair = compare(lambda: time.sleep(0.02), lambda: None, runs=2)
    assert len(pair.ours) == len(pair.reference) == 2
    assert min(pair.ours) >= 0.02


def test_a_sleeping_process_keeps_no_core_busy_and_a_spinning_one_some():
    assert cpu_share(lambda: time.sleep(0.05)) < 0.5 / n_cores()

    def spin():
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass

    before = time.perf_counter()
    share = cpu_share(spin)
    assert share * n_cores() * (time.perf_counter() - before) >= 0.04


# ---- processes of their own ----------------------------------------------------------------


def test_a_command_alone_reports_its_own_peak_not_that_of_the_caller():
    # The caller holds far more than what is measured; written to, so that it is really there.
    ballast = np.ones(400_000_000, np.uint8)
    small = run_alone([sys.executable, "-c", "pass"])
    large = run_alone([sys.executable, "-c", "x = bytearray(b'1') * 150_000_000"])
    assert ballast[-1] == 1
    assert small.peak_bytes < 60e6
    assert 150e6 < large.peak_bytes < 230e6
    assert small.seconds > 0
    assert small.cpu_seconds > 0


def test_a_command_that_fails_is_an_error_with_what_it_said():
    with pytest.raises(RuntimeError, match=r"ended with 3: .*so it was"):
        run_alone(
            [sys.executable, "-c", "import sys; print('so it was', file=sys.stderr); sys.exit(3)"]
        )
    with pytest.raises(RuntimeError, match="cannot run no-such-program-here"):
        run_alone(["no-such-program-here"])


def test_commands_are_found_in_the_root_of_the_project():
    assert run_alone([sys.executable, "-c", "import benchmarks"]).seconds > 0


def test_the_command_is_that_of_zcolor():
    run_alone(zcolor_command("--version"))
    with pytest.raises(RuntimeError, match="ended with"):
        run_alone(zcolor_command("no-such-command"))


# ---- limits --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 64), (40, 88)])
def test_macs_are_half_of_what_torch_counts(shape):
    net = Zhang(width=0.25).eval()
    lightness = torch.rand(2, 1, *shape)
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        net(lightness)
    assert count_macs(net, lightness) == counter.get_total_flops() // 2
    assert not any(module._forward_hooks for module in net.modules())


def test_macs_of_the_papers_network():
    grid = AbGrid.from_centers(torch.rand(313, 2) * 100)
    net = Zhang(grid, width=1.0).to("meta")
    with torch.device("meta"):
        macs = count_macs(net.eval(), torch.empty(1, 1, 256, 256))
    assert macs == pytest.approx(41.8e9, rel=0.002)


def test_limits_are_measured():
    limits = measure_limits(sides=(32, 64), copied=100_000, picture=(32, 48))
    assert all(value > 0 for value in vars(limits).values())
    assert matmul_rate(torch.float32, (16,)) > 0
    assert copy_rate(1000) > 0


def test_limits_of_a_picture():
    assert LIMITS.arithmetic == 200e9
    assert LIMITS.network_seconds(50e9) == 0.5
    assert LIMITS.picture_seconds(1e6, 0) == pytest.approx(0.02 + 0.025)
    overlapped = LIMITS.picture_seconds(1e6, 50e9, overlapped=True)
    assert overlapped == pytest.approx(0.045 / n_cores() + 0.5)


# ---- pictures ------------------------------------------------------------------------------


def test_the_photographs_are_shipped_with_scikit_image():
    from skimage import data

    folder = Path(data.__file__).parent
    assert all(list(folder.glob(f"{name}.*")) for name in photographs.NAMES)


@settings(max_examples=20)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 12))
def test_photographs_have_their_size_and_are_always_the_same(height, width, index):
    pixels = photograph(height, width, index=index)
    assert pixels.shape == (height, width, 3)
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, photograph(height, width, index=index))


def test_photographs_differ():
    pictures = {photograph(32, 32, index=i).tobytes() for i in range(12)}
    assert len(pictures) == 12


def test_a_folder_is_mixed(tmp_path):
    paths = make_folder(tmp_path / "mixed", 10, megapixels=(0.002, 0.02))
    shapes, modes = [], set()
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "JPEG"
            shapes.append(image.size)
            modes.add(image.mode)
    areas = sorted(w * h / 1e6 for w, h in shapes)
    assert modes == {"RGB", "L"}
    assert areas[0] == pytest.approx(0.002, rel=0.05)
    assert areas[-1] == pytest.approx(0.02, rel=0.05)
    assert {np.sign(w - h) for w, h in shapes} == {-1, 0, 1}


@pytest.mark.parametrize("shape", [(300, 20), (7, 515)])
def test_giants_are_what_their_strips_say(tmp_path, shape):
    expected = np.concatenate(list(photographs._smooth_strips(*shape)))
    photographs.write_giant_png(tmp_path / "a.png", *shape)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), expected)
    photographs.write_giant_jpeg(tmp_path / "a.jpg", *shape)
    assert cv2.imread(str(tmp_path / "a.jpg")).shape == expected.shape
    assert len(np.unique(expected)) > 100


# ---- the reference -------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*negative Z values")
def test_the_reference_is_the_usual_path_step_by_step():
    torch.manual_seed(1)
    reference = Reference(width=1 / 16)
    reference.net.classifier.weight.data.normal_(std=3)  # so that there is colour
    pixels = photograph(37, 53)
    lab = rgb2lab(pixels)
    small = Image.fromarray(pixels).resize((256, 256), Image.Resampling.BICUBIC)
    lightness = torch.tensor(rgb2lab(np.asarray(small))[..., 0], dtype=torch.float32)
    with torch.inference_mode():
        logits = reference.net(lightness[None, None])[0].numpy().astype(np.float64) / 0.38
    p = np.exp(logits - logits.max(axis=0))
    p /= p.sum(axis=0)
    ab = np.tensordot(reference.net.grid.centers.numpy().T.astype(np.float64), p, axes=1)
    full = [cv2.resize(plane, (53, 37), interpolation=cv2.INTER_LINEAR) for plane in ab]
    expected = np.rint(255 * lab2rgb(np.dstack((lab[..., 0], *full))))
    colored = reference.color(Image.fromarray(pixels)).astype(float)
    assert colored.shape == pixels.shape
    assert np.abs(colored - expected).max() <= 1
    assert np.abs(colored - np.rint(255 * lab2rgb(lab * (1, 0, 0)))).max() > 10


def test_the_reference_reads_grey_files_and_writes_jpeg(tmp_path):
    reference = Reference(width=1 / 16)
    jpeg = jpeg_bytes(photograph(24, 32), grey=True)
    (tmp_path / "a.jpg").write_bytes(jpeg)
    reference.color_file(tmp_path / "a.jpg", tmp_path / "b.jpg")
    for data in (reference.color_bytes(jpeg), (tmp_path / "b.jpg").read_bytes()):
        with Image.open(io.BytesIO(data)) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (32, 24))
            assert image.layer[0][1:3] == (1, 1)  # colour is not halved


def test_the_reference_stays_channels_first_and_float32():
    reference = Reference(width=1 / 16)
    assert all(p.is_contiguous() and p.dtype == torch.float32 for p in reference.net.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert reference.forward(torch.rand(1, 1, 16, 16)).dtype == torch.float32


# ---- rows and the report -------------------------------------------------------------------


def test_targets():
    assert Target.at_least(5.0, 5, "x") == Target("at least 5x", holds=True)
    assert not Target.at_least(4.99, 5, "x").holds
    assert Target.at_most(1.6, 1.6, " GB").holds
    assert not Target.at_most(1.61, 1.6, " GB").holds


def test_a_row_of_a_pair():
    pair = Pair((0.1, 0.2, 0.4), (1.0, 1.0, 1.0))
    row = pair_row("a", "b", pair, limit_seconds=0.05, least_ratio=6)
    assert (row.ours, row.reference, row.ratio.median) == (200.0, 1000.0, 5.0)
    assert row.share_of_limit == pytest.approx(0.25)
    assert not row.target.holds


def test_the_share_of_the_limit_of_a_rate():
    assert Row("a", "b", "photos/s", 30.0, limit=40.0).share_of_limit == 0.75
    assert Row("a", "b", "ms", 40.0, limit=30.0).share_of_limit == 0.75
    assert Row("a", "b", "ms", 40.0).share_of_limit is None


@pytest.mark.parametrize(
    ("value", "text"), [(1234567.8, "1,234,568"), (99.5, "99.5"), (0.0123, "0.0123"), (5, "5")]
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def rows():
    spread = Spread.of([1.0, 2.0, 3.0])
    return [
        Row("small", "one", "ms", 2.0, spread=spread, reference=12.0, reference_is="usual",
            ratio=spread, limit=1.0, limit_is="copying", target=Target("at least 5x", holds=False)),
        Row("memory", "two", "GB", 1.5, target=Target("at most 1.6 GB", holds=True), note="fine"),
        Row("plain", "three", "", 1.02),
    ]  # fmt: skip


def test_the_report_says_everything(tmp_path):
    page = write_report(tmp_path / "new", {"cores": 2}, "size 128", LIMITS, rows())
    assert page == (tmp_path / "new" / "benchmarks.md").read_text(encoding="utf-8")
    lines = page.splitlines()
    assert "- cores: 2" in lines
    assert "- targets: 1 of 2 hold" in lines
    assert (
        "| small | one | 2 ms (1.5..2.5; 1..3) | 12 ms | 2.00x (1.5..2.5; 1..3) | 1 ms (50%) "
        "| at least 5x | **no** |" in lines
    )
    assert "| plain | three | 1.02 |  |  |  |  |  |" in lines
    assert "- small, one: reference: usual; limit: copying" in lines
    assert "- memory, two: fine" in lines
    data = json.loads((tmp_path / "new" / "benchmarks.json").read_text(encoding="utf-8"))
    assert data["setting"] == "size 128"
    assert data["limits"]["copy"] == 10e9
    first = data["rows"][0]
    assert first["ratio"] == {"median": 2.0, "low": 1.0, "lower": 1.5, "upper": 2.5, "high": 3.0}
    assert first["target"] == {"text": "at least 5x", "holds": False}
    assert first["share_of_limit"] == 0.5


def test_every_line_of_the_table_has_its_columns():
    lines = to_markdown({}, "", LIMITS, rows()).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert {line.count("|") for line in table} == {9}


def test_the_machine_is_described():
    machine = describe_machine()
    assert machine["cores"] == n_cores()
    assert machine["memory_gb"] > 0.5
    assert machine["torch"].startswith(torch.__version__.partition("+")[0])
    assert json.dumps(machine)


@pytest.mark.parametrize("name", ["bench", "case_memory", "limits", "report", "timing"])
def test_the_examples_in_the_docstrings(name):
    tested = doctest.testmod(importlib.import_module(f"benchmarks.{name}"))
    assert tested.attempted > 0
    assert tested.failed == 0


# ---- the cases -----------------------------------------------------------------------------

JUDGED = {"small", "medium", "large", "folder", "forward", "priors", "training"}


@pytest.mark.parametrize(
    "name",
    ["small", "medium", "large", "folder", "forward", "lab", "upsampling", "priors", "training"],
)
@pytest.mark.filterwarnings("ignore:.*too few photos")
def test_a_case_gives_its_rows(tiny, name):
    found = CASES[name].measure(tiny)
    assert found
    assert {row.case for row in found} == {name}
    assert all(row.ours > 0 for row in found)
    assert any(row.ratio is not None and row.reference for row in found)
    assert any(row.target is not None for row in found) == (name in JUDGED)
    assert to_markdown({}, "", LIMITS, found)


def test_means(tiny, monkeypatch):
    monkeypatch.setattr("benchmarks.case_means.SIDE", 32)
    monkeypatch.setattr("shutil.which", lambda _: None)  # compiling takes long
    found = CASES["means"].measure(tiny)
    assert len({row.what for row in found}) == 4
    others = {row.reference_is for row in found}
    assert {"float32, channels first", "one thread", "decoded whole"} <= others
    assert all(row.ours > 0 and row.reference and row.target is None for row in found)


def test_settings_are_stated(tiny):
    text = bench_module.setting(tiny)
    assert "working size 128" in text
    assert "preset vivid" in text


@pytest.fixture
def commands(monkeypatch):
    """Commands that are written down in place of running them."""
    seen = []

    def fake(command):
        seen.append(list(command))
        if "-o" in command:
            out = Path(command[command.index("-o") + 1])
            if out.suffix:
                out.write_bytes(b"")
        return Usage(seconds=0.25, cpu_seconds=0.5, peak_bytes=1_500_000_000 + len(seen))

    for module in (case_start, case_memory, case_training):
        monkeypatch.setattr(module, "run_alone", fake)
    return seen


def test_startup(tiny, commands):
    found = CASES["startup"].measure(tiny)
    assert [row.target and row.target.text for row in found] == [
        "at most 300 ms",
        "at most 500 ms",
        None,
    ]
    assert all(row.ours == 250 for row in found)
    assert [sys.executable, "-c", "import zcolor"] in commands


def test_memory_and_giants(tiny, commands):
    found = CASES["memory"].measure(tiny) + CASES["giants"].measure(tiny)
    assert [row.target and row.target.text for row in found] == [
        None, None, "at most 1.6 GB", "at most 3.5 GB"
    ]  # fmt: skip
    assert all(row.ours == pytest.approx(1.5) for row in found)
    assert not list(tiny.folder.glob("giant*"))


def test_growth_and_many(tiny, commands):
    found = CASES["growth"].measure(tiny)
    assert [row.unit for row in found] == ["ms", "GB"] * 3 + [""]
    assert found[-1].target is not None
    with Image.open(tiny.out / "growth.png") as plot:
        assert plot.width > 100
    (row,) = CASES["many"].measure(tiny)
    assert row.target.holds
    assert len(list((tiny.folder / "many").iterdir())) == 4
    assert len(list((tiny.folder / "many-part").iterdir())) == 2


@pytest.mark.filterwarnings("ignore:.*too few photos")
def test_training_memory_runs_a_short_and_a_long_job(tiny, commands):
    (row,) = CASES["training-memory"].measure(tiny)
    photos = [command[command.index("--photos") + 1] for command in commands]
    assert photos == ["10", "44"]
    assert row.target.holds


@given(st.floats(0.5, 2.0), st.floats(1e-3, 10.0))
def test_the_exponent_of_growth(exponent, factor):
    sizes = (1.0, 3.0, 10.0, 30.0, 100.0)
    seconds = [1e6, *(factor * size**exponent for size in sizes[1:])]
    assert case_memory.growth_exponent(sizes, seconds) == pytest.approx(exponent, abs=1e-6)


def test_the_log_of_training_is_read_from_its_first_entry(tmp_path):
    entries = [
        {"seen": 40, "total": 1.0, "minutes": 1.0},
        {"seen": 80, "total": 1.0, "minutes": 1.5},
        {"seen": 90, "val_loss": 1.0},
        {"seen": 120, "total": 1.0, "minutes": 3.0},
    ]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    assert case_training._steady_seconds(log) == pytest.approx(120 / 80)
    log.write_text(json.dumps(entries[0]), encoding="utf-8")
    with pytest.raises(ValueError, match="one entry; train for more steps"):
        case_training._steady_seconds(log)


def test_the_accelerator_case_on_the_cpu(tiny):
    found = case_cuda.device_rows(
        tiny, torch.device("cpu"), compiler=lambda net: net, arithmetic=1e12
    )
    assert [row.unit for row in found] == [
        "photos/s",
        "%",
        "%",
        "%",
        "ms",
        "ab units",
        "levels of 255",
    ]
    assert found[-1].ours == found[-2].ours == 0  # it agrees with itself


def test_the_arithmetic_counted_for_a_photo_is_that_of_the_shipped_network(tiny):
    lightness = read_photo(np.zeros((300, 200), np.uint8)).lightness(128, "cpu")
    assert tiny.photo_macs(300, 200) == count_macs(tiny.colorizer.net, lightness)


def test_cases_are_chosen(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    usual = chosen_cases((), large=False)
    assert usual == [n for n, case in CASES.items() if not case.large and not case.needs_cuda]
    assert set(chosen_cases((), large=True)) - set(usual) == {"giants", "growth", "many"}
    assert chosen_cases(("many", "small"), large=False) == ["small", "many"]
    with pytest.raises(ValueError, match="no case tiny; choose from small, medium"):
        chosen_cases(("tiny",), large=False)
    with pytest.raises(ValueError, match="needs CUDA"):
        chosen_cases(("cuda",), large=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert chosen_cases((), large=False)[-1] == "cuda"


def test_the_whole_command_writes_both_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench_module, "measure_limits", lambda: LIMITS)
    monkeypatch.setattr("benchmarks.__main__.Bench", lambda *args: Bench(*args, sizes=TINY))
    main(("small", "lab"), out=tmp_path / "report", runs=1)
    printed = capsys.readouterr().out
    assert printed.strip() == (tmp_path / "report" / "benchmarks.md").read_text().strip()
    data = json.loads((tmp_path / "report" / "benchmarks.json").read_text())
    assert [row["case"] for row in data["rows"]] == ["small", "lab"]


def test_no_runs_and_unknown_cases_are_refused_before_anything_is_measured(tmp_path):
    with pytest.raises(ValueError, match="runs must be at least 1"):
        main(("small",), out=tmp_path, runs=0)
    with pytest.raises(ValueError, match="no case"):
        main(("smal",), out=tmp_path)
    assert not list(tmp_path.iterdir())
