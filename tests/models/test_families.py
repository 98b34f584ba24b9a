"""Every family of the registry, through the same commands: train, resume, evaluate, colour."""

import json
import shlex

import cv2
import numpy as np
import pytest
import torch
import tyro
from PIL import Image

from zcolor.apps.cli import main, with_recipe
from zcolor.apps.commands import Zcolor
from zcolor.checkpoint import read_header
from zcolor.models.classifier import Classifier
from zcolor.quantizer import AbGrid
from zcolor.registry import MODELS, find_family, load_model
from zcolor.settings import DecodeSettings
from zcolor.training.settings import TrainSettings

# What makes each family small, as it is typed; those that are not listed are small already.
SMALL = {
    "zhang": "--width 0.0625",
    "resnet34": "--width 0.0625",
    "plain34": "--width 0.0625",
    "densenet": "--width 0.125",
    "autoencoder": "--options channels=4",
    "fusion": "--options extractor=resnet10t extractor_weights=random extractor_size=32",
    "video-fusion": "--options extractor=resnet10t extractor_weights=random extractor_size=32",
    "vgg16": "--options weights=random width=0.03125",
}
SHARED = "--crops 32 --shares 1 --working-size 32 --batch 4 --val-photos 2 --jobs 1 --seed 1"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for i in range(8):
        small = rng.integers(0, 256, (4, 5, 3), np.uint8)
        cv2.imwrite(str(folder / f"{i}.png"), cv2.resize(small, (50, 40)))
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_trains_resumes_evaluates_and_colors(name, photos, tmp_path, capsys):
    run = tmp_path / "run"
    words = f"train {photos} --val {photos} --model {name} --out {run} --photos 8"
    words += f" {SHARED} {SMALL.get(name, '')}"
    assert main([*shlex.split(words), "--minutes", "0"]) == 0  # one step, then the time is spent
    assert "minutes: 4 photos seen" in capsys.readouterr().out
    assert main([*shlex.split(words), "--resume"]) == 0
    assert "done: 8 photos seen" in capsys.readouterr().out

    best = run / "best.safetensors"
    header = read_header(best)
    assert header["family"] == name
    assert header["provenance"]["seen"] == 8
    net = load_model(best)
    assert type(net) is find_family(name)
    assert (run / "priors.h5").exists() == isinstance(net, Classifier)

    figures = tmp_path / "figures.json"
    words = f"evaluate {photos} --model {best} --quick --limit 2 --json {figures}"
    assert main(shlex.split(words)) == 0
    found = json.loads(figures.read_text())["methods"]["vivid"]["figures"]
    assert 0 < found["auc_raw"]["value"] < 100

    result = tmp_path / "color.png"
    words = f"colorize {photos / '0.png'} -o {result} --model {best}"
    assert main(shlex.split(words)) == 0
    with Image.open(result) as image:
        assert image.size == (50, 40)


@pytest.mark.parametrize("name", MODELS)
def test_takes_photos_of_any_size(name, tmp_path):
    words = shlex.split(f"{MODELS[name].recipe} {SMALL.get(name, '')}")
    settings = tyro.cli(TrainSettings, args=words)
    family = find_family(name)
    header = {
        "working_size": 32,
        "width": settings.width,
        "targets": settings.targets,
        "options": vars(family.options_type.parse(settings.options)),
    }
    if issubclass(family, Classifier):
        header["grid"] = AbGrid().to_dict()
    net = family.from_header(header).eval()
    assert net.header().items() >= {"working_size": 32}.items()
    for height, width in ((1, 1), (9, 17), (32, 40)):
        lightness = torch.full((1, 1, height, width), 60.0)
        with torch.inference_mode():
            ab = net.predict_ab(lightness, DecodeSettings())
        assert ab.shape[:2] == (1, 2)
        assert ab.dtype == torch.float32
        assert bool(ab.isfinite().all())
        assert bool((ab.abs() <= 150).all())


@pytest.mark.parametrize("name", MODELS)
def test_the_recipe_comes_before_what_is_typed(name):
    typed = ["train", "a.h5", "b.h5", "--model", name, "--out", "run", "--lr", "0.0123"]
    words = with_recipe(typed)
    assert words == ["train", *shlex.split(MODELS[name].recipe), *typed[1:]]
    call = tyro.cli(Zcolor, args=words, config=(tyro.conf.CascadeSubcommandArgs,)).command
    assert call.data == ("a.h5", "b.h5")
    assert call.settings.model == name
    assert call.settings.lr == 0.0123  # typed last, so that it counts


@pytest.mark.parametrize("words", [["colorize", "train", "--model", "zhang"], ["--help"], []])
def test_other_commands_have_no_recipe(words):
    assert with_recipe(words) == words


def test_every_family_says_what_it_is():
    for name, entry in MODELS.items():
        assert entry.description, name
        assert entry.source, name
        assert bool(entry.weights) == bool(entry.n_parameters) == bool(entry.licence), name


def test_a_family_without_weights_says_how_to_get_some(monkeypatch, capsys):
    untrained = next(name for name, entry in MODELS.items() if not entry.weights)
    assert main(["colorize", "a.jpg", "--model", untrained]) == 2
    said = capsys.readouterr().err
    assert f"zcolor train PHOTOS --model {untrained} --out RUN" in said


def test_unknown_families_and_options_are_refused(photos, tmp_path, capsys):
    words = ["train", str(photos), "--out", str(tmp_path / "run")]
    assert main([*words, "--model", "zang"]) == 2
    assert "unknown model 'zang'; the families are" in capsys.readouterr().err
    assert main([*words, "--val", str(photos), "--options", "depth=3"]) == 2
    assert "unknown option 'depth=3'; this model takes NAME=VALUE" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
