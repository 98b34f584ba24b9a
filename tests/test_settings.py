"""Settings: what they refuse, how they change, and that they load nothing heavy."""

import ast
import dataclasses
import inspect
import json
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from zcolor import settings
from zcolor.settings import PRESETS, ColorizeSettings, DecodeSettings
from zcolor.training.settings import AugmentSettings, PackSettings, PriorSettings, TrainSettings

ROOT = Path(__file__).resolve().parent.parent
CLASSES = [
    member
    for member in vars(settings).values()
    if dataclasses.is_dataclass(member) and member.__module__ == settings.__name__
]


def test_import_loads_no_heavy_library():
    code = (
        "import sys, zcolor.training.settings as s; s.TrainSettings(); "
        "print(*sorted({'torch', 'numpy', 'scipy', 'skimage', 'cv2', 'h5py', 'PIL'} "
        "& {name.split('.')[0] for name in sys.modules}))"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_defaults_are_valid_frozen_and_comparable(cls):
    made = cls()
    assert made == cls()
    assert hash(made) == hash(cls())
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(cls)[0].name, None)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_field_has_a_docstring(cls):
    """Command lines are derived from them."""
    body = ast.parse(inspect.getsource(cls)).body[0].body
    documented = {
        first.target.id
        for first, second in pairwise(body)
        if isinstance(first, ast.AnnAssign)
        and isinstance(second, ast.Expr)
        and isinstance(second.value, ast.Constant)
    }
    assert documented == {field.name for field in dataclasses.fields(cls)}


# ---- decoding --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "temperature"),
    [
        ({}, 0.38),
        ({"temperature": 0.2}, 0.2),
        ({"method": "argmax"}, 0.0),
        ({"method": "mean"}, 1.0),
    ],
)
def test_effective_temperature(options, temperature):
    assert DecodeSettings(**options).effective_temperature == temperature


def test_changed_replaces_what_is_given():
    base = DecodeSettings(method="annealed", temperature=0.3, colors="means")
    assert base.changed() == base
    assert base.changed(colors="centers") == DecodeSettings("annealed", 0.3, "centers")
    assert base.changed(temperature=0.0) == DecodeSettings("annealed", 0.0, "means")
    assert base.changed(method="mean") == DecodeSettings("mean", 0.3, "means")
    assert base.changed(method="annealed", temperature=1.0).effective_temperature == 1.0


def test_a_temperature_alone_asks_for_the_annealed_mean():
    changed = DecodeSettings(method="argmax").changed(temperature=0.5)
    assert changed.method == "annealed"
    assert changed.effective_temperature == 0.5


def test_going_back_to_annealed_takes_the_temperature_along():
    base = DecodeSettings(temperature=0.2)
    assert base.changed(method="argmax").changed(method="annealed") == base


def test_colouring_takes_from_the_preset_what_is_not_given():
    own = {
        "vivid": DecodeSettings("argmax", 0.2, "centers"),
        "accurate": DecodeSettings("mean", 0.3, "means"),
    }
    assert ColorizeSettings().decode_settings(own) == own["vivid"]
    assert ColorizeSettings(preset="accurate").decode_settings(own) == own["accurate"]
    # What is given wins over the preset.
    given = ColorizeSettings(decode="annealed")
    assert given.decode_settings(own) == DecodeSettings("annealed", 0.2, "centers")
    given = ColorizeSettings(preset="accurate", temperature=0.5, colors="centers", rebalance=2)
    assert given.decode_settings(own) == DecodeSettings("annealed", 0.5, "centers", 2)


def test_a_shift_of_neutral_is_replaced_and_the_gain_stays():
    base = DecodeSettings(neutral=(1, 3), gain=1.2)
    assert base.changed(temperature=0.5).neutral == (1.0, 3.0)
    assert base.changed(neutral=(0, 0)) == DecodeSettings(gain=1.2)
    own = {"vivid": base, "accurate": base}
    assert ColorizeSettings(neutral=(2, 4)).decode_settings(own).neutral == (2.0, 4.0)
    # What JSON makes of it is the same again.
    assert DecodeSettings(**json.loads(json.dumps(dataclasses.asdict(base)))) == base


def test_vivid_favours_rare_colours_more_than_accurate():
    assert set(PRESETS) == {"vivid", "accurate"}
    assert PRESETS["vivid"].rebalance > PRESETS["accurate"].rebalance


# ---- refusals --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["argmax", "mean"])
def test_a_temperature_for_a_method_that_has_none_is_refused(method):
    with pytest.raises(ValueError, match=f"decode='{method}' has no temperature .* leave the"):
        DecodeSettings().changed(method=method, temperature=0.5)


@pytest.mark.parametrize(
    ("cls", "options", "words"),
    [
        (DecodeSettings, {"method": "median"}, "decode must be .*, got 'median'"),
        (DecodeSettings, {"temperature": -0.01}, r"temperature must lie in \[0, 1\] .* -0.01"),
        (DecodeSettings, {"temperature": 1.01}, r"temperature must lie in \[0, 1\] .* 1.01"),
        (DecodeSettings, {"temperature": math.nan}, r"temperature must lie in \[0, 1\] .* nan"),
        (DecodeSettings, {"temperature": "0.5"}, r"temperature must lie in .* got '0.5'"),
        (DecodeSettings, {"rebalance": "2"}, r"rebalance must lie in .* got '2'"),
        (DecodeSettings, {"colors": "modes"}, "colors must be 'means' or 'centers', got 'modes'"),
        (ColorizeSettings, {"preset": "loud"}, "unknown preset 'loud'; choose one of 'vivid'"),
        (ColorizeSettings, {"average": "all"}, "unknown average 'all'; choose one of 'none'"),
        (DecodeSettings, {"rebalance": -0.1}, r"rebalance must lie in \[0, 4\].*got -0.1"),
        (DecodeSettings, {"rebalance": float("nan")}, "rebalance must lie"),
        (ColorizeSettings, {"rebalance": 5.0}, "rebalance must lie"),
        (ColorizeSettings, {"rebalance": "much"}, "rebalance must be a number"),
        (DecodeSettings, {"neutral": (0, 31)}, r"neutral must be two numbers .* got \(0, 31\)"),
        (DecodeSettings, {"neutral": (0, math.nan)}, "neutral must be two numbers"),
        (DecodeSettings, {"neutral": (1, 2, 3)}, "neutral must be two numbers"),
        (DecodeSettings, {"neutral": 3}, "neutral must be two numbers"),
        (DecodeSettings, {"gain": -1}, r"gain must lie in \[0, 4\], got -1"),
        (DecodeSettings, {"gain": math.inf}, "gain must lie"),
        (DecodeSettings, {"contrast": -0.1}, r"contrast must lie in \[0, 4\], got -0.1"),
        (DecodeSettings, {"contrast": math.nan}, "contrast must lie"),
        (ColorizeSettings, {"neutral": ("a", "b")}, "neutral must be two numbers"),
        (ColorizeSettings, {"decode": "best"}, "decode must be .*, got 'best'"),
        (ColorizeSettings, {"decode": "mean", "temperature": 0.3}, "'mean' has no temperature"),
        (ColorizeSettings, {"temperature": 1.5}, r"temperature must lie in \[0, 1\] .* 1.5"),
        (ColorizeSettings, {"temperature": math.nan}, "temperature must be a number .* nan"),
        (ColorizeSettings, {"temperature": "hot"}, "temperature must be a number .* 'hot'"),
        (ColorizeSettings, {"colors": "many"}, "colors must be 'means' or 'centers', got 'many'"),
        (ColorizeSettings, {"size": 7}, r"size must lie in 8\.\.4096 pixels .* got 7"),
        (ColorizeSettings, {"size": 4097}, r"size must lie in 8\.\.4096 pixels .* got 4097"),
        (ColorizeSettings, {"size": 99.5}, "size must be a whole number of pixels, got 99.5"),
        (ColorizeSettings, {"size": math.inf}, "size must be a whole number of pixels, got inf"),
        (ColorizeSettings, {"size": "64"}, "size must be a whole number of pixels, got '64'"),
        (ColorizeSettings, {"upsample": "cubic"}, "unknown upsample method 'cubic'; .*'bilinear'"),
        (ColorizeSettings, {"saturation": -0.1}, r"saturation must lie in \[0, 4\] .* -0.1"),
        (ColorizeSettings, {"saturation": 4.1}, r"saturation must lie in \[0, 4\] .* 4.1"),
        (ColorizeSettings, {"saturation": "1"}, r"saturation must lie in \[0, 4\] .* '1'"),
        (PackSettings, {"short_side": 7}, "short_side must be at least 8 .* got 7 and 32"),
        (PackSettings, {"min_side": 0}, "min_side at least 1, got 128 and 0"),
        (PackSettings, {"fractions": (0.8, 0.1, 0.2)}, "three shares that sum to 1 .* 0.2"),
        (PackSettings, {"fractions": (1.1, -0.1, 0.0)}, "three shares that sum to 1 .* -0.1"),
        (PackSettings, {"fractions": (0.8, 0.1, math.nan)}, "three shares that sum to 1 .* nan"),
        (PackSettings, {"quality": 0}, r"quality must lie in 1\.\.100, got 0"),
        (PackSettings, {"quality": 101}, r"quality must lie in 1\.\.100, got 101"),
        (PriorSettings, {"bins": 1}, "at least 2 bins and finite low < high, got 1"),
        (PriorSettings, {"range": (5.0, 5.0)}, "low < high"),
        (PriorSettings, {"range": (5.0, math.nan)}, "low < high"),
        (PriorSettings, {"range": (-math.inf, math.inf)}, "finite low < high"),
        (PriorSettings, {"stride": 0}, "stride must be at least 1.*stride=0"),
        (PriorSettings, {"size": -1}, "size=-1"),
        (PriorSettings, {"smoothing": -0.5}, "smoothing=-0.5"),
        (PriorSettings, {"floor": 0.0}, "floor above 0; got .*floor=0.0"),
        (PriorSettings, {"mixing": -0.1}, r"mixing \(lambda\) must lie in \[0, 1\], got -0.1"),
        (PriorSettings, {"mixing": 1.1}, r"mixing \(lambda\) must lie in \[0, 1\], got 1.1"),
        (AugmentSettings, {"scale": (0.0, 2.0)}, "0 < low <= high, got"),
        (AugmentSettings, {"scale": (2.0, 1.5)}, "0 < low <= high, got"),
        (AugmentSettings, {"scaled": 1.5}, r"a share in \[0, 1\], got 1.5"),
        (AugmentSettings, {"rotation": -1.0}, "must not be negative"),
        (AugmentSettings, {"shear": -0.1}, "must not be negative"),
        (AugmentSettings, {"jitter": -0.1}, "must not be negative"),
        (AugmentSettings, {"jitter": 1.0}, "jitter below 1"),
        (TrainSettings, {"crops": (64,)}, "crops and shares must be equally long"),
        (TrainSettings, {"shares": (0.7, 0.2, 0.2)}, "sum to 1"),
        (TrainSettings, {"shares": (1.2, -0.3, 0.1)}, "none below 0"),
        (TrainSettings, {"crops": (), "shares": ()}, "sum to 1"),
        (TrainSettings, {"crops": (64, 96, 100)}, r"crops must be multiples of 8, got .*100"),
        (TrainSettings, {"crops": (0, 96, 128)}, "crops must be multiples of 8"),
        (TrainSettings, {"photos": 0}, "photos, batch and accumulate must be at least 1, got 0"),
        (TrainSettings, {"batch": 0}, "must be at least 1"),
        (TrainSettings, {"accumulate": 0}, "must be at least 1"),
        (TrainSettings, {"batch": 64, "accumulate": 3}, r"batch \(64\) must be a multiple of acc"),
        (TrainSettings, {"ema": 1.0}, r"ema and warmup must lie in \[0, 1\), got 1.0"),
        (TrainSettings, {"ema": -0.1}, "ema and warmup"),
        (TrainSettings, {"warmup": 1.0}, "ema and warmup"),
        (TrainSettings, {"width": 0.0}, "width and lr must be above 0"),
        (TrainSettings, {"lr": 0.0}, "width and lr must be above 0"),
        (TrainSettings, {"lr_floor": -1e-6}, "lr_floor at least 0"),
        (TrainSettings, {"targets": "smooth"}, "targets must be one of soft, hard, got 'smooth'"),
        (TrainSettings, {"rebalancing": "on"}, "rebalancing must be one of neglog, zhang, none"),
        (TrainSettings, {"optimizer": "lion"}, "optimizer must be one of muon, adamw, adam, sgd"),
        (TrainSettings, {"schedule": "step"}, "schedule must be one of cosine, plateau"),
        (TrainSettings, {"monitor": "test"}, "monitor must be one of val, train"),
    ],
)
def test_senseless_values_are_refused(cls, options, words):
    with pytest.raises(ValueError, match=words):
        cls(**options)


@pytest.mark.parametrize(
    ("cls", "options"),
    [
        (DecodeSettings, {"temperature": 0.0}),
        (DecodeSettings, {"temperature": 1.0}),
        (ColorizeSettings, {"decode": None, "temperature": 0.0, "size": 8, "saturation": 0.0}),
        (ColorizeSettings, {"temperature": 1.0, "size": 4096, "saturation": 4.0}),
        (PackSettings, {"fractions": (0.7, 0.2, 0.1), "quality": 100}),
        (PackSettings, {"fractions": (1.0, 0.0, 0.0)}),
        (PriorSettings, {"bins": 2, "stride": 1, "smoothing": 0.0, "mixing": 0.0}),
        (AugmentSettings, {"scale": (1.0, 1.0), "rotation": 0.0, "shear": 0.0, "jitter": 0.0}),
        (TrainSettings, {"crops": (8,), "shares": (1.0,), "ema": 0.0, "warmup": 0.0}),
        (TrainSettings, {"batch": 64, "accumulate": 4, "optimizer": "sgd", "monitor": "train"}),
    ],
)
def test_values_at_the_edge_are_taken(cls, options):
    made = cls(**options)
    assert {name: getattr(made, name) for name in options} == options
