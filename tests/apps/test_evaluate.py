"""`zcolor evaluate`: the same figures however it is run, and pages that show them."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import sys
import types
import zipfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from zcolor.apps import cli
from zcolor.apps.evaluate import run_evaluation
from zcolor.apps.evaluate_files import check_files
from zcolor.apps.evaluate_perceptual import FID_WEIGHTS, LPIPS_WEIGHTS
from zcolor.apps.evaluate_plots import draw_plots
from zcolor.apps.evaluate_results import EvaluationReport, ranked
from zcolor.apps.evaluate_ways import Ways, temperature_variants
from zcolor.checkpoint import read_header
from zcolor.colorizer import Colorizer
from zcolor.metrics import AucMeter
from zcolor.models.autoencoder import Autoencoder
from zcolor.precision import computes_in_bfloat16
from zcolor.registry import load_model, save_model
from zcolor.settings import PRESETS, ColorizeSettings, EvaluateSettings
from zcolor.training.dataset import open_photos
from zcolor.training.packfile import PackedPhoto, write_pack
from zcolor.training.settings import FilmSettings
from zcolor.training.validate import measured_photo, rgb8_to_lab, validate

FAST = EvaluateSettings(quick=True, replicates=20, jobs=2)
SIZES = ((128, 150), (140, 128), (60, 84), (128, 150), (131, 140))
VARIANTS = temperature_variants(ColorizeSettings(), (0.38, 1))


def colors(seed: int, size: tuple[int, int]) -> np.ndarray:
    """Soft gradients of (height, width)."""
    small = np.random.default_rng(seed).integers(0, 256, (3, 4, 3)).astype(np.uint8)
    return cv2.resize(small, size[::-1], interpolation=cv2.INTER_LINEAR)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of photographs of mixed sizes, in a tree."""
    folder = tmp_path_factory.mktemp("photos") / "truth"
    (folder / "deep").mkdir(parents=True)
    for i, size in enumerate(SIZES):
        name = f"deep/{i}.png" if i % 2 else f"{i}.png"
        Image.fromarray(colors(i, size)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def report(photos, weights, tmp_path_factory):
    """One evaluation with everything, for the tests that look at it."""
    out = tmp_path_factory.mktemp("out")
    found = run_evaluation(
        [photos],
        model=weights,
        variants=VARIANTS,
        settings=EvaluateSettings(replicates=20, jobs=1),
        device="cpu",
        json=out / "all.json",
        page=out / "all.html",
        command="zcolor evaluate photos",
        progress=False,
    )
    return found, out


def values(found) -> dict[tuple[str, str, str], float]:
    return {
        (method.name, name, end): getattr(figure, end)
        for method in (*found.methods, *found.networks)
        for name, figure in method.figures.items()
        for end in ("value", "low", "high")
    }


def test_same_figures_whatever_the_batch_and_the_threads(photos, weights):
    runs = [
        run_evaluation(
            [photos],
            model=weights,
            variants=VARIANTS,
            settings=EvaluateSettings(quick=True, replicates=20, batch=batch, jobs=jobs),
            device="cpu",
            progress=False,
        )
        for batch, jobs in ((1, 1), (8, 3))
    ]
    one, many = map(values, runs)
    assert one.keys() == many.keys()
    for key, value in one.items():
        # Convolutions round differently in a batch, and 8 bits now and then with them.
        assert many[key] == pytest.approx(value, rel=1e-5, abs=5e-3, nan_ok=True), key


def test_the_same_run_twice_is_the_same(photos, weights, report):
    again = run_evaluation(
        [photos],
        model=weights,
        variants=VARIANTS,
        settings=EvaluateSettings(replicates=20, jobs=2),
        device="cpu",
        progress=False,
    )
    np.testing.assert_equal(values(again), values(report[0]))


def test_figures_are_those_of_validation(photos, weights, report):
    net, cpu = load_model(weights), torch.device("cpu")
    for name, temperature in (("T=0.38", 0.38), ("T=1", 1.0)):
        decode = dataclasses.replace(net.presets["vivid"], temperature=temperature)
        expected = validate(
            net,
            open_photos([photos]),
            range(len(SIZES)),
            decode,
            device=cpu,
            bf16=computes_in_bfloat16(cpu),
        )
        figures = report[0].method(name).figures
        assert figures["auc_raw"].value == pytest.approx(expected.auc_raw, abs=5e-3)
        assert figures["auc_rebalanced"].value == pytest.approx(expected.auc_rebalanced, abs=5e-3)
        assert figures["chroma"].value == pytest.approx(expected.chroma, abs=5e-3)


def test_baselines_stand_beside_the_model_and_bound_it(report):
    found, _ = report
    names = [method.name for method in found.methods]
    assert names == ["grey", "mean colour", "T=0.38", "T=1", "ceiling", "truth"]
    assert found.method("grey").figures["chroma"].value < 0.01
    auc = {name: found.method(name).figures["auc_raw"].value for name in names[:-1]}
    assert auc["ceiling"] == max(auc.values())
    assert auc["ceiling"] > 90
    # The colours of the photos are vivid, the mean of a uniform prior is not.
    assert found.method("truth").figures["colorfulness"].value > 30
    assert found.networks[-1].name == "prior"
    assert found.networks[-1].figures["cross_entropy"].value == pytest.approx(np.log(324), abs=1e-4)


def test_a_model_with_nothing_to_decode_takes_presets_and_no_temperature(photos):
    options = {"model": "mean-chroma", "settings": FAST, "device": "cpu", "progress": False}
    with pytest.raises(ValueError, match=r"MeanChroma answers with a colour.*leave temperature"):
        run_evaluation([photos], variants=VARIANTS, **options)
    found = run_evaluation([photos], variants={"vivid": ColorizeSettings()}, **options)
    assert found.info["variants"]["vivid"]["temperature"] is None


def test_several_working_sizes_have_a_ceiling_each(photos, weights):
    variants = {"own": ColorizeSettings(), "large": ColorizeSettings(size=64)}
    found = run_evaluation(
        [photos], model=weights, variants=variants, settings=FAST, device="cpu", progress=False
    )
    names = [method.name for method in found.methods]
    assert names[2:-1] == ["own", "large", "ceiling at 32", "ceiling at 64"]
    names = [network.name for network in found.networks]
    natural = ["tiny at 32, natural", "tiny at 64, natural"]
    assert names == ["tiny at 32", "tiny at 64", *natural, "prior"]
    coarse, fine = (found.method(f"ceiling at {size}").figures["auc_raw"] for size in (32, 64))
    assert fine.value > coarse.value


# ---- results of others -------------------------------------------------------------------------


@pytest.fixture
def pairs(photos, weights, tmp_path):
    """Results of the model, written as anybody would, in another format."""
    folder = tmp_path / "others"
    colorizer = Colorizer(weights, device="cpu")
    for path in photos.rglob("*.png"):
        target = (folder / path.relative_to(photos)).with_suffix(".tif")
        target.parent.mkdir(parents=True, exist_ok=True)
        # Small photos are measured at 128 px, and so is what the model is given.
        colored = colorizer(np.asarray(Image.open(path)), temperature=1.0)
        Image.fromarray(colored).save(target)
    return folder


def test_results_of_others_are_measured_by_the_same_code(photos, pairs, weights):
    found = run_evaluation(
        [photos], results=[pairs], model=weights, settings=FAST, device="cpu", progress=False
    )
    names = [method.name for method in found.methods]
    assert names == ["grey", "mean colour", "ceiling", "others", "truth"]
    meter = AucMeter()
    for path in photos.rglob("*.png"):
        result = (pairs / path.relative_to(photos)).with_suffix(".tif")
        pictures = [measured_photo(np.asarray(Image.open(p))) for p in (result, path)]
        meter.add(*(rgb8_to_lab(rgb)[:, 1:] for rgb in pictures))
    figures = found.method("others").figures
    assert figures["auc_raw"].value == pytest.approx(meter.raw())
    assert figures["auc_rebalanced"].value == pytest.approx(meter.rebalanced())
    assert found.networks == ()
    assert found.failed == ()


def test_missing_and_odd_results_are_named_and_the_rest_is_measured(photos, pairs, weights):
    (pairs / "0.tif").unlink()
    (pairs / "2.tif").write_bytes(b"no picture")
    Image.open(pairs / "4.tif").resize((50, 40)).save(pairs / "4.tif")
    shutil.copy(pairs / "deep" / "1.tif", pairs / "unknown.tif")
    found = run_evaluation(
        [photos], results=[pairs], model=weights, settings=FAST, device="cpu", progress=False
    )
    assert found.n_photos == 2
    reasons = {name.split("/")[-1]: reason for name, reason in found.failed}
    assert set(reasons) == {"0.png", "2.png", "4.png", "unknown.tif"}
    assert "no result 0.*" in reasons["0.png"]
    assert "has 50 x 40 pixels, its truth 140 x 131" in reasons["4.png"]
    assert "no true photo unknown.*" in reasons["unknown.tif"]
    assert all(f"not measured: {name}" in found.table() for name, _ in found.failed)


def test_a_zip_of_results_beside_the_model_itself(photos, pairs, weights, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", pairs)
    found = run_evaluation(
        [photos],
        results=[archive],
        model=weights,
        variants={"ours": ColorizeSettings(temperature=1.0)},
        settings=FAST,
        device="cpu",
        progress=False,
    )
    ours, theirs = (found.method(name).figures["auc_raw"].value for name in ("ours", "packed"))
    # Equal but for the small photo, which was coloured at another size.
    assert ours == pytest.approx(theirs, abs=0.5)


def test_a_damaged_member_of_an_archive_is_named_and_the_rest_is_measured(
    command, photos, pairs, tmp_path
):
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", pairs))
    with zipfile.ZipFile(archive) as packed:
        start = packed.getinfo("0.tif").header_offset + 200
    data = bytearray(archive.read_bytes())
    data[start] ^= 255
    archive.write_bytes(data)
    code, said = command("--results", archive, "--limit", "0")
    assert code == 1
    assert "4 photos" in said.out
    assert re.search(r"not measured: .*0\.png: ", said.out)


def test_pairs_that_make_no_sense_are_refused(photos, pairs, weights, tmp_path):
    def run(inputs, results):
        return run_evaluation(inputs, results=results, model=weights, settings=FAST, progress=False)

    with pytest.raises(ValueError, match="one folder or archive of true photos, got 2"):
        run([photos, photos], [pairs])
    with pytest.raises(ValueError, match="called 'others'"):
        run([photos], [pairs, tmp_path / "x" / "others"])
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        run([photos], [tmp_path / "nowhere"])
    with pytest.raises(ValueError, match="no folder and no zip"):
        run([photos], [pairs / "0.tif"])
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    shutil.copy(pairs / "0.tif", lonely / "zero.tif")
    with pytest.raises(ValueError, match="has a result in"):
        run([photos], [lonely])
    grey = tmp_path / "grey"
    shutil.copytree(pairs, grey)
    with pytest.raises(ValueError, match="called 'grey'"):
        run([photos], [grey])


# ---- packs -------------------------------------------------------------------------------------


def test_the_val_split_of_a_pack_or_else_all_of_it(weights, tmp_path):
    def pack(name: str, splits: list[int]):
        photos, payloads = [], []
        for i, split in enumerate(splits):
            data = cv2.imencode(".png", colors(i, (128, 130)))[1].tobytes()
            photos.append(PackedPhoto(len(data), 128, 130, split, "x", bytes([i] * 16), str(i)))
            payloads.append(data)
        write_pack(tmp_path / name, photos, payloads)
        return tmp_path / name

    def n_photos(path, **options):
        found = run_evaluation(
            [path], model=weights, device="cpu", progress=False, settings=FAST, **options
        )
        return found.n_photos

    mixed, whole = pack("mixed.h5", [0, 0, 1, 1, 1]), pack("whole.h5", [0, 0])
    assert n_photos(mixed) == 3
    assert n_photos(mixed, split="train") == 2
    assert n_photos(whole) == 2


def test_a_limit_spreads_over_the_set_and_damaged_ones_are_named(photos, weights, tmp_path):
    folder = tmp_path / "some"
    shutil.copytree(photos, folder)
    (folder / "0.png").write_bytes(b"broken")
    found = run_evaluation(
        [folder],
        model=weights,
        settings=EvaluateSettings(quick=True, replicates=5, limit=3),
        device="cpu",
        progress=False,
    )
    assert set(found.photo_gains) == {1, 3}  # of 0, 1 and 3
    assert [name.split("/")[-1] for name, _ in found.failed] == ["0.png"]
    for path in folder.rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(ValueError, match="none of the 5 photos could be measured"):
        run_evaluation([folder], model=weights, settings=FAST, device="cpu", progress=False)


# ---- what is written ---------------------------------------------------------------------------


def test_table_is_aligned_and_says_what_was_left_out(report):
    text = report[0].table()
    lines = text.splitlines()
    assert lines[0].startswith("5 photos")
    head = next(line for line in lines if "mean colour" in line)
    raw = next(line for line in lines if line.startswith("AuC raw [%]"))
    # Columns end where their names do.
    assert (
        head.index("T=0.38") + len("T=0.38") == [m.end() for m in re.finditer("±[0-9.]+", raw)][2]
    )
    assert "AuC raw [%]: minus grey" in text
    assert "cross-entropy [nats]" in text
    assert "note: " in text
    assert "LPIPS" in text


def test_json_says_everything(report, weights):
    found, out = report
    data = json.loads((out / "all.json").read_text(encoding="utf-8"))
    assert data["model"]["sha256"] == read_header(weights)["sha256"]
    assert (data["model"]["data_hash"], data["model"]["steps"]) == ("of photos", 7)
    assert len(data["data"]["hash"]) == 64
    assert data["command"] == "zcolor evaluate photos"
    assert data["variants"]["T=1"]["decodes_with"]["temperature"] == 1
    assert {"zcolor", "torch", "python"} <= set(data["versions"])
    assert "Poisson bootstrap" in data["protocol"]
    figure = data["methods"]["T=1"]["figures"]["ciede2000"]
    assert figure["low"] < figure["value"] < figure["high"]
    expected = found.method("T=1").gains["auc_raw"].value
    assert data["methods"]["T=1"]["minus_grey"]["auc_raw"]["value"] == expected
    assert sum(data["networks"]["tiny"]["calibration"][0]) > 0
    assert data["failed"] == []


def test_json_and_page_say_in_which_precision_and_what_film(photos, weights, report, tmp_path):
    _, out = report
    data = json.loads((out / "all.json").read_text(encoding="utf-8"))
    fast = computes_in_bfloat16(torch.device("cpu"))
    assert data["precision"] == ("bfloat16" if fast else "float32")
    assert f"precision&quot;: &quot;{data['precision']}" in (out / "all.html").read_text("utf-8")
    assert data["film"] is None
    settings = dataclasses.replace(FAST, film=True, limit=1)
    aged = run_evaluation(
        [photos], model=weights, settings=settings, device="cpu", progress=False
    ).info["film"]
    assert aged == {"seed": 1839, **dataclasses.asdict(FilmSettings(share=1.0))}


def test_a_model_that_does_not_classify_has_grey_alone_beside_it(photos, tmp_path):
    path = tmp_path / "regressor.safetensors"
    save_model(path, Autoencoder(working_size=32), {})
    found = run_evaluation(
        [photos],
        model=path,
        settings=dataclasses.replace(FAST, limit=1),
        device="cpu",
        progress=False,
    )
    assert [method.name for method in found.methods] == ["grey", "regressor", "truth"]
    assert found.networks == ()
    note = "the model does not classify: no mean colour, no ceiling"
    assert note in found.notes
    assert f"note: {note}" in found.table()


def test_page_stands_by_itself(report):
    _, out = report
    page = (out / "all.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=['\"](?!data:)", page)
    assert page.count("image/png;base64") == 5
    # Five photos: one of each kind, three pictures of each.
    assert page.count("image/jpeg;base64") == 9
    for title in ("Best photos", "Worst photos", "Protocol", "AuC rebalanced"):
        assert title in page
    assert sorted(path.name for path in out.iterdir()) == ["all.html", "all.json"]


def test_names_are_escaped_on_the_page(photos, weights, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    shutil.copy(photos / "0.png", folder / "<script>.png")
    run_evaluation(
        [folder],
        model=weights,
        settings=FAST,
        device="cpu",
        page=tmp_path / "page.html",
        progress=False,
    )
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;" in page
    assert "<script" not in page


def test_plots_are_pictures(report):
    plots = draw_plots(report[0])
    assert len(plots) == 5
    for png in plots.values():
        picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape[0] > 300
        assert picture.std() > 5


def test_without_matplotlib_the_page_says_so(report, monkeypatch):
    from zcolor.apps.evaluate_report import page_html

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    page = page_html(report[0])
    assert "No plots: drawing needs matplotlib" in page
    assert "image/png" not in page


def test_a_missing_folder_is_found_before_the_work(photos, weights, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        run_evaluation([photos], model=weights, json=tmp_path / "no" / "a.json", progress=False)


@pytest.mark.parametrize("option", ["json", "page"])
@pytest.mark.parametrize("others", [b"my notes", b'{"my": "figures"}', b"\x89PNG\xff\xfe", b""])
def test_files_of_others_are_not_replaced(photos, weights, tmp_path, option, others):
    path = tmp_path / "mine.html"
    path.write_bytes(others)
    with pytest.raises(FileExistsError, match=r"mine\.html exists and was not written by zc"):
        run_evaluation([photos], model=weights, progress=False, **{option: path})
    assert path.read_bytes() == others


def test_files_of_an_earlier_evaluation_are_replaced_but_not_by_each_other(report, tmp_path):
    _, out = report
    check_files(out / "all.json", out / "all.html")
    check_files(tmp_path / "new.json", tmp_path / "new.html")
    with pytest.raises(FileExistsError, match=r"all\.html exists .* for the figures"):
        check_files(out / "all.html")
    with pytest.raises(FileExistsError, match=r"all\.json exists .* for the page"):
        check_files(None, out / "all.json")
    with pytest.raises(ValueError, match="cannot both go to"):
        check_files(tmp_path / "x", tmp_path / "." / "x")
    with pytest.raises(IsADirectoryError, match="is a folder; name a file for the page"):
        check_files(None, tmp_path)
    with pytest.raises(NotADirectoryError, match="is no folder; name another file for the figures"):
        check_files(out / "all.json" / "x")


def test_names_that_are_no_text_cost_no_file(photos, weights, tmp_path):
    folder = tmp_path / "latin"
    folder.mkdir()
    name = os.fsdecode(b"stra\xdfe.png")
    shutil.copy(photos / "0.png", folder / name)
    (folder / os.fsdecode(b"b\xf6se.png")).write_bytes(b"broken")
    out = {"json": tmp_path / "e.json", "page": tmp_path / "e.html"}
    found = run_evaluation(
        [folder], model=weights, settings=FAST, device="cpu", progress=False, **out
    )
    data = json.loads(out["json"].read_text("utf-8"))
    assert data["shown"][0]["name"] == str(folder / name)
    assert data["failed"][0]["name"] == found.failed[0][0]
    assert "stra\\udcdfe.png" in out["page"].read_text("utf-8")


def test_a_file_that_cannot_be_written_costs_neither_the_table_nor_the_other_file(
    photos, weights, tmp_path, monkeypatch
):
    def fail(_report, path):
        raise OSError(f"no room for {path}")

    def pipe(report):
        told.append(report)
        raise BrokenPipeError

    told = []
    options = {"model": weights, "settings": FAST, "device": "cpu", "progress": False}
    options |= {"json": tmp_path / "e.json", "page": tmp_path / "e.html"}
    options["variants"] = {"one": ColorizeSettings()}
    monkeypatch.setattr(EvaluationReport, "write_json", fail)
    with pytest.raises(OSError, match=r"no room for .*e\.json"):
        run_evaluation([photos / "0.png"], tell=told.append, **options)
    assert told[0].n_photos == 1
    assert (tmp_path / "e.html").exists()
    monkeypatch.undo()
    with pytest.raises(BrokenPipeError):
        run_evaluation([photos / "0.png"], tell=pipe, **options)
    assert (tmp_path / "e.json").exists()


def test_packages_that_are_not_installed_cost_no_evaluation(photos, weights, monkeypatch):
    def unknown(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("zcolor.apps.evaluate.version", unknown)
    found = run_evaluation(
        [photos / "0.png"], model=weights, settings=FAST, device="cpu", progress=False
    )
    assert found.info["versions"]["opencv-python-headless"] == "unknown"


# ---- LPIPS and FID: by stand-ins of torchmetrics, and LPIPS by itself --------------------------


class FakeLpips:
    """Mean absolute difference, with the face of the real one."""

    def __init__(self, net_type, normalize):
        assert (net_type, normalize) == ("alex", True)

    def __call__(self, result, truth):
        assert result.shape == truth.shape
        assert result.shape[:2] == (1, 3)
        assert 0 <= result.min() <= result.max() <= 1
        return (result - truth).abs().mean()

    def reset(self):
        pass


class FakeFid:
    """Distance of the mean levels, with the face of the real one."""

    def __init__(self, feature):
        assert feature == 2048
        self.levels = {True: [], False: []}

    def update(self, pixels, real):
        assert pixels.dtype == torch.uint8
        self.levels[real].append(pixels.float().mean().item())

    def compute(self):
        return torch.tensor(abs(np.mean(self.levels[True]) - np.mean(self.levels[False])))


@pytest.fixture
def torchmetrics(monkeypatch, tmp_path):
    """Stand-ins, and an empty folder of weights."""
    for name, attributes in {
        "torchvision": {},
        "torch_fidelity": {},
        "torchmetrics": {},
        "torchmetrics.image": {},
        "torchmetrics.image.lpip": {"LearnedPerceptualImagePatchSimilarity": FakeLpips},
        "torchmetrics.image.fid": {"FrechetInceptionDistance": FakeFid},
    }.items():
        module = types.ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    return tmp_path / "checkpoints"


def run_slow(photos, weights):
    settings = EvaluateSettings(replicates=5, limit=2)
    return run_evaluation([photos], model=weights, settings=settings, device="cpu", progress=False)


def test_perceptual_measures_are_taken_where_they_are_there(photos, weights, torchmetrics):
    for name in (LPIPS_WEIGHTS, FID_WEIGHTS):
        (torchmetrics / name).write_bytes(b"")
    found = run_slow(photos, weights)
    assert found.notes == ()
    figures = found.method("tiny").figures
    assert figures["lpips"].low < figures["lpips"].value < figures["lpips"].high
    assert figures["fid"].value > 0
    assert "lpips" not in found.method("truth").figures
    assert "FID" in found.table()


def test_lpips_is_that_of_torchmetrics(photos, weights, torchvision, monkeypatch, tmp_path):
    """The real metric, on an AlexNet of random weights, against a call of it by hand."""
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    alexnet = torchvision.models.alexnet(weights=None)
    torch.save(alexnet.state_dict(), tmp_path / "checkpoints" / LPIPS_WEIGHTS)
    found = run_slow(photos, weights)

    lpips = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
    truths = [measured_photo(open_photos([photos], "all").read(i)) for i in (0, 2)]
    colorizer = Colorizer(weights, device="cpu")
    by_hand = [
        lpips(*(torch.from_numpy(rgb.copy()).permute(2, 0, 1)[None] / 255 for rgb in pair)).item()
        for pair in ((colorizer(truth), truth) for truth in truths)
    ]
    assert min(by_hand) > 0
    assert found.method("tiny").figures["lpips"].value == pytest.approx(np.mean(by_hand), rel=1e-4)


def test_without_weights_they_are_left_out_and_named(photos, weights, torchmetrics):
    found = run_slow(photos, weights)
    assert "lpips" not in found.method("tiny").figures
    assert f"LPIPS was left out: its weights are missing, {LPIPS_WEIGHTS}" in found.table()
    assert f"FID was left out: its weights are missing, {FID_WEIGHTS}" in found.table()
    assert not list(torchmetrics.iterdir())


# ---- small things ------------------------------------------------------------------------------


def test_ranking_takes_ends_and_middle_each_once():
    gains = {i: float(i) for i in range(20)}
    found = ranked(gains, 6)
    assert found["best"] == [19, 18, 17, 16, 15, 14]
    assert found["worst"] == [0, 1, 2, 3, 4, 5]
    assert found["median"] == [7, 8, 9, 10, 11, 12]
    for n in range(8):
        few = ranked({i: float(i) for i in range(n)}, 6)
        together = [index for some in few.values() for index in some]
        assert len(set(together)) == len(together)
        assert bool(together) == bool(n)


def test_settings_that_make_no_sense_are_refused(photos, weights):
    with pytest.raises(ValueError, match="batch and replicates"):
        EvaluateSettings(batch=0)
    with pytest.raises(ValueError, match="name of a baseline"):
        run_evaluation(
            [photos], model=weights, variants={"grey": ColorizeSettings()}, progress=False
        )
    with pytest.raises(ValueError, match="nothing to measure on"):
        run_evaluation([], model=weights, progress=False)


# ---- the door --------------------------------------------------------------------------------


@pytest.fixture
def command(weights, photos, capsys):
    """`zcolor evaluate` on the photographs; returns the exit code, what it said and the JSON."""

    def run(*arguments, inputs=None):
        quick = ["--quick", "--replicates", "5", "--limit", "2", "--model", str(weights)]
        code = cli.main(["evaluate", str(inputs or photos), *quick, *map(str, arguments)])
        return code, capsys.readouterr()

    return run


def test_the_command_measures_both_presets_and_writes_what_is_asked(command, tmp_path):
    code, said = command("--json", tmp_path / "e.json", "--page", tmp_path / "e.html")
    assert code == 0
    assert "2 photos" in said.out
    for name in ("grey", "mean colour", "vivid", "accurate", "ceiling"):
        assert name in said.out, name
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["command"].startswith("zcolor evaluate")
    own = found["variants"]["accurate"]["decodes_with"]
    assert own["rebalance"] == PRESETS["accurate"].rebalance
    assert found["methods"]["vivid"]["figures"] != found["methods"]["accurate"]["figures"]
    assert "<html" in (tmp_path / "e.html").read_text()


def test_the_command_measures_temperatures_or_what_is_chosen(command, tmp_path):
    assert command("--temperatures", "0", "1", "--json", tmp_path / "t.json")[0] == 0
    assert {"T=0", "T=1"} < set(json.loads((tmp_path / "t.json").read_text())["methods"])
    assert command("--decode", "argmax", "--json", tmp_path / "c.json")[0] == 0
    chosen = json.loads((tmp_path / "c.json").read_text())["methods"]["chosen"]
    cold = json.loads((tmp_path / "t.json").read_text())["methods"]["T=0"]
    assert chosen["figures"] == cold["figures"]


def test_a_preset_that_is_named_is_measured_alone(command):
    code, said = command("--preset", "accurate")
    assert code == 0
    assert "accurate" in said.out
    assert "vivid" not in said.out


def test_temperatures_keep_all_else_of_the_preset():
    own = {
        name: way.decode_settings(PRESETS)
        for name, way in Ways(preset="accurate", temperatures=(0.3, 0.6)).variants().items()
    }
    assert own == {
        f"T={t}": dataclasses.replace(PRESETS["accurate"], temperature=t) for t in (0.3, 0.6)
    }


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ("--temperature 0.9 --temperatures 0.5", "name it among them"),
        ("--decode argmax --temperatures 0.5", "has no temperature"),
        ("--results RES --temperatures 0.5", "leave out temperatures"),
        ("--results RES --preset vivid --rebalance 2", "leave out preset, rebalance"),
        ("--results RES --size 64", "leave out size"),
        ("--results RES --film", "film ages what a network sees"),
        ("--results RES --split val", "have no splits; leave out split 'val'"),
    ],
)
def test_options_that_would_do_nothing_are_refused(command, photos, options, reason):
    words = [str(photos) if word == "RES" else word for word in options.split()]
    code, said = command(*words)
    assert code == 2
    assert reason in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("option", [("--frame", "color"), ("--reference", "a.jpg")])
def test_what_is_not_measured_is_no_option(command, option):
    assert command(*option)[0] == 2


def test_averages_and_film_change_what_is_measured(command, tmp_path):
    def auc(*options):
        assert command(*options, "--json", tmp_path / "a.json")[0] == 0
        figures = json.loads((tmp_path / "a.json").read_text())["methods"]
        return [figures[name]["figures"]["auc_raw"]["value"] for name in ("grey", "vivid")]

    plain, flipped, film = auc(), auc("--average", "flip"), auc("--film")
    assert plain[0] == flipped[0] == film[0]
    assert len({plain[1], flipped[1], film[1]}) == 3


def test_the_command_measures_results_of_others(command, photos, tmp_path):
    theirs = tmp_path / "theirs"
    shutil.copytree(photos, theirs)
    code, said = command("--results", theirs)
    assert code == 0
    assert "theirs" in said.out
    assert "vivid" not in said.out
    (theirs / "0.png").unlink()
    code, said = command("--results", theirs)
    assert code == 1
    assert re.search(r"not measured: .*0\.png: no result 0\.\*", said.out)


def test_wrong_calls_are_one_line(command, tmp_path):
    code, said = command(inputs=tmp_path / "nothing")
    assert code == 2
    assert said.err.startswith("zcolor: ")
    assert said.err.count("\n") == 1
    assert command("--page", tmp_path / "no" / "page.html")[0] == 2


def test_a_reference_is_refused(photos, weights):
    variants = {"lent": ColorizeSettings(reference="other.jpg")}
    with pytest.raises(ValueError, match="no evaluation with one is offered"):
        run_evaluation([photos], model=weights, variants=variants)
