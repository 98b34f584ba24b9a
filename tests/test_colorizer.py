import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import color, data
from torch import nn

import zcolor.colorizer
from zcolor import Colorizer, colorize
from zcolor.models.zhang import Zhang
from zcolor.photo import read_photo, working_shape
from zcolor.registry import save_model
from zcolor.settings import ColorizeSettings


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network with random weights whose colours differ over a picture."""
    torch.manual_seed(1)
    net = Zhang(width=1 / 16, working_size=64)
    nn.init.normal_(net.classifier.weight, std=100.0)
    # Weights that differ, so that presets with another power of them do too; means beside the
    # centres, so that it shows which of them were taken.
    means = net.cell_means + 4
    net.set_priors(net.prior, means, torch.linspace(0.1, 3.0, net.grid.n_bins))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, net, {})
    return path


@pytest.fixture(scope="module")
def tiny(weights):
    return Colorizer(weights, device="cpu")


@pytest.fixture(scope="module")
def photo():
    """A colour photograph, (100, 150, 3) uint8."""
    return np.ascontiguousarray(data.coffee()[::4, ::4])


@pytest.fixture(scope="module")
def grey(photo):
    return np.array(Image.fromarray(photo).convert("L"))


def levels(a, b):
    """Largest difference, in levels of 255."""
    return int(np.abs(a.astype(int) - b.astype(int)).max())


# ---- the main job --------------------------------------------------------------------------


def encoded(array, file_format):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, file_format)
    return stream.getvalue()


def test_path_gives_a_pil_image(weights, grey, tmp_path):
    path = tmp_path / "grey.png"
    Image.fromarray(grey).save(path)
    colored = colorize(path, model=weights, device="cpu")
    assert isinstance(colored, Image.Image)
    assert (colored.mode, colored.size) == ("RGB", (150, 100))
    assert levels(np.asarray(colored), colorize(grey, model=weights, device="cpu")) == 0


def test_bytes_give_bytes(weights, grey):
    colored = colorize(encoded(grey, "PNG"), model=weights, device="cpu")
    assert isinstance(colored, bytes)
    with Image.open(io.BytesIO(colored)) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (150, 100))


def test_pil_gives_pil(weights, grey):
    colored = colorize(Image.fromarray(grey).convert("LA"), model=weights, device="cpu")
    assert (colored.mode, colored.size) == ("RGBA", (150, 100))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_numpy_gives_numpy(weights, grey, dtype):
    image = grey.astype(dtype) * {np.uint8: 1, np.uint16: 257, np.float32: 1 / 255}[dtype]
    image = image.astype(dtype)
    colored = colorize(image, model=weights, device="cpu")
    assert (colored.dtype, colored.shape) == (dtype, (100, 150, 3))
    batch = colorize(np.stack([image, image[::-1]])[..., None], model=weights, device="cpu")
    assert batch.shape == (2, 100, 150, 3)


def test_torch_gives_torch(weights, grey):
    image = torch.from_numpy(grey / 255).float()[None]
    colored = colorize(image, model=weights, device="cpu")
    assert isinstance(colored, torch.Tensor)
    assert (colored.dtype, colored.shape) == (torch.float32, (3, 100, 150))
    assert not colored.requires_grad
    assert not colored.is_inference()  # free to be used in training


def test_predicted_colours_may_be_changed_in_place(weights, grey):
    colorizer, photo = Colorizer(weights, device="cpu"), read_photo(grey)
    ab = colorizer.predict_ab(photo)
    ab *= 0
    assert np.ptp(np.asarray(photo.with_ab(ab)), axis=2).max() == 0


def test_shipped_model_colours_a_photograph(photo, grey):
    colored = colorize(grey)
    assert colored.shape == photo.shape
    error = color.rgb2lab(colored)[..., 0] - color.rgb2lab(color.gray2rgb(grey))[..., 0]
    assert np.abs(error).max() < 0.3  # 0.25 and the other white point of the reference
    # Whatever it takes the cup and the table for, they are not grey.
    assert np.hypot(*np.moveaxis(color.rgb2lab(colored)[..., 1:], -1, 0)).mean() > 2


def test_colour_of_the_input_is_ignored(tiny):
    red = np.full((48, 64, 3), (0.8, 0.3, 0.2))
    grey_of_same_lightness = tiny(red, saturation=0.0)
    assert np.ptp(grey_of_same_lightness, axis=2).max() < 1e-3
    ab = ab_of(tiny, red)
    assert (ab - ab_of(tiny, grey_of_same_lightness)).abs().max() < 0.05
    assert (ab - ab_of(tiny, red[..., ::-1])).abs().max() > 1  # another lightness is seen


def test_same_call_same_result(weights, grey):
    first, second = (colorize(grey, model=weights, device="cpu") for _ in range(2))
    assert np.array_equal(first, second)
    assert np.array_equal(first, Colorizer(weights, device="cpu")(grey))


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 2), (37, 53)])
def test_any_shape(tiny, shape):
    assert tiny(np.full(shape, 120, np.uint8)).shape == (*shape, 3)


# ---- options -------------------------------------------------------------------------------


def test_saturation(tiny, grey):
    without = tiny(grey, saturation=0)
    assert np.array_equal(without, color.gray2rgb(grey))
    chroma = [
        np.hypot(*np.moveaxis(color.rgb2lab(tiny(grey, saturation=s))[..., 1:], -1, 0)).mean()
        for s in (0.5, 1.0, 2.0)
    ]
    assert chroma[0] < chroma[1] < chroma[2]


def test_decode_methods_differ_and_meet_at_the_ends(tiny, grey):
    argmax, mean = tiny(grey, decode="argmax"), tiny(grey, decode="mean")
    between = tiny(grey, temperature=0.38)
    assert levels(argmax, between) > 10
    assert levels(mean, between) > 10
    assert np.array_equal(tiny(grey, temperature=0.0), argmax)
    assert np.array_equal(tiny(grey, temperature=1), mean)
    assert np.array_equal(tiny(grey, decode="annealed"), tiny(grey))


def test_presets_are_the_models_own_and_explicit_options_win(tiny, grey, monkeypatch):
    # Contrast is the preset's alone: no option changes it.
    plain = {name: own.changed(contrast=0) for name, own in tiny.net.presets.items()}
    strong = tiny(grey)
    monkeypatch.setattr(tiny.net, "presets", plain)
    assert levels(strong, tiny(grey)) > 5
    for name, own in tiny.net.presets.items():
        options = {
            "temperature": own.temperature,
            "rebalance": own.rebalance,
            "neutral": own.neutral,
            "saturation": own.gain / tiny.net.presets["vivid"].gain,
        }
        assert levels(tiny(grey, preset=name), tiny(grey, **options)) <= 1
    assert np.array_equal(tiny(grey), tiny(grey, preset="vivid"))
    assert levels(tiny(grey), tiny(grey, preset="accurate")) > 10
    options = {"temperature": 0.6, "rebalance": 2.0}
    both = [
        tiny(
            grey, preset=name, neutral=(0, 0), saturation=1 / tiny.net.presets[name].gain, **options
        )
        for name in ("vivid", "accurate")
    ]
    assert levels(*both) <= 1


def test_neutral_takes_a_cast_away(tiny, grey):
    """A flat answer of that ab comes out grey."""
    own = tiny.net.presets["vivid"]
    ab = tiny.net.predict_ab(read_photo(grey).lightness(32, "cpu"), own)
    cast = ab.mean(dim=(0, 2, 3)) / own.gain + torch.tensor(own.neutral)
    a, b = cast.clamp(-30, 30).tolist()
    before, after = tiny(grey, size=32), tiny(grey, size=32, neutral=(a, b))
    spread = [np.ptp(rgb.astype(float).mean(axis=(0, 1))) for rgb in (before, after)]
    assert spread[1] < spread[0] / 2


@pytest.mark.parametrize("average", ["flip", "crops"])
def test_averaging_makes_mirror_images_alike(tiny, grey, average):
    averaged = tiny(grey, average=average)
    assert levels(averaged, tiny(grey)) > 0
    mirrored = tiny(np.ascontiguousarray(grey[:, ::-1]), average=average)[:, ::-1]
    # The area resize to working size is symmetric but for rounding.
    assert levels(mirrored, averaged) <= 3


def test_colors_are_handed_on(tmp_path, grey):
    net = Zhang(width=1 / 32)
    net.set_priors(net.prior, torch.full_like(net.cell_means, 20.0), net.class_weights)
    save_model(tmp_path / "x.safetensors", net, {})
    colorizer = Colorizer(tmp_path / "x.safetensors", device="cpu")
    options = {"neutral": (0, 0)}
    mean = torch.tensor(20.0 * net.presets["vivid"].gain)
    assert torch.allclose(ab_of(colorizer, grey, **options), mean, atol=1e-3)
    centers = ab_of(colorizer, grey, colors="centers", **options)
    assert not torch.allclose(centers, mean, atol=1)


def ab_of(colorizer, image, **options):
    return colorizer.predict_ab(read_photo(image), ColorizeSettings(**options))


@pytest.mark.parametrize("size", [None, 32, 96, np.int64(40)])
def test_size_is_the_working_size(tiny, grey, size):
    h, w = working_shape(100, 150, int(size or 64))
    assert ab_of(tiny, grey, size=size).shape == (1, 2, h // 4, w // 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decode": "best"}, "decode must be 'annealed', 'argmax' or 'mean', got 'best'"),
        ({"decode": "argmax", "temperature": 0.3}, "decode='argmax' has no temperature"),
        ({"temperature": 1.5}, r"temperature must lie in \[0, 1\]"),
        ({"temperature": float("nan")}, "temperature must be a number"),
        ({"temperature": "hot"}, "temperature must be a number"),
        ({"colors": "many"}, "colors must be 'means' or 'centers'"),
        ({"size": 7}, r"size must lie in 8..4096 pixels \(left out, .* model's own\), got 7"),
        ({"size": 4097}, "size must lie in 8..4096"),
        ({"size": 99.5}, "size must be a whole number of pixels, got 99.5"),
        ({"size": "64"}, "size must be a whole number of pixels, got '64'"),
        ({"upsample": "nearest"}, "unknown upsample method 'nearest'"),
        ({"saturation": -0.1}, r"saturation must lie in \[0, 4\]"),
        ({"saturation": 4.1}, r"saturation must lie in \[0, 4\]"),
        ({"saturation": float("inf")}, r"saturation must lie in \[0, 4\]"),
        ({"device": "gpu"}, "unknown device 'gpu'; choose auto"),
        ({"model": "zang"}, "unknown model 'zang'; choose one of"),
    ],
)
def test_options_that_make_no_sense(weights, grey, options, message):
    with pytest.raises(ValueError, match=message):
        colorize(grey, **{"model": weights, "device": "cpu", **options})


@pytest.mark.parametrize(
    "options",
    [
        {"preset": "accurate"},
        {"decode": "argmax"},
        {"temperature": 0.95},
        {"colors": "centers"},
        {"rebalance": 0.0},
        {"neutral": (9.0, -9.0)},
        {"size": 32},
        {"upsample": "bilinear"},
        {"saturation": 0.5},
        {"average": "flip"},
        {"frame": "color"},
        {"reference": np.full((32, 32, 3), (200, 60, 40), np.uint8)},
    ],
    ids=lambda options: next(iter(options)),
)
def test_every_option_of_the_function_counts(weights, grey, options):
    framed = np.pad(grey, 14, constant_values=255)
    found = colorize(framed, model=weights, device="cpu", **options)
    assert np.array_equal(found, Colorizer(weights, device="cpu")(framed, **options))
    assert not np.array_equal(found, colorize(framed, model=weights, device="cpu"))
    if "reference" in options:
        more = colorize(framed, model=weights, device="cpu", **options, lend=1.5)
        assert not np.array_equal(more, found)


# ---- many pictures -------------------------------------------------------------------------


def test_batch_equals_single(tiny, photo, grey):
    images = [
        grey,
        Image.fromarray(photo),
        torch.from_numpy(grey[:60]),
        np.stack([grey, 255 - grey, grey // 2])[..., None],
        encoded(grey[:, ::-1].copy(), "PNG"),
        np.rot90(grey),
    ]
    together = tiny.batch(images)
    assert len(together) == len(images)
    for result, image in zip(together, images, strict=True):
        alone = tiny(image)
        assert type(result) is type(alone)
        if isinstance(result, bytes):
            result, alone = (Image.open(io.BytesIO(b)) for b in (result, alone))
        assert np.shape(result) == np.shape(alone)
        assert levels(np.asarray(result), np.asarray(alone)) <= 1


def test_batch_shares_forward_passes(tiny, grey, monkeypatch):
    passes = []
    predict = tiny.net.predict_ab
    monkeypatch.setattr(
        tiny.net,
        "predict_ab",
        lambda lightness, decode: passes.append(lightness.shape) or predict(lightness, decode),
    )
    tiny.batch([grey, np.rot90(grey), grey])
    h, w = working_shape(100, 150, 64)
    assert sorted(passes) == sorted([(2, 1, h, w), (1, 1, w, h)])


def test_passes_are_bounded(tiny, grey, monkeypatch):
    stack = np.stack([grey, 255 - grey, grey // 2])[..., None]
    whole = tiny(stack)
    monkeypatch.setattr(zcolor.colorizer, "_PIXELS_AT_ONCE", 2 * 56 * 80)
    assert levels(tiny(stack), whole) <= 1


def test_batch_hands_every_setting_on(tiny, grey):
    options = {
        "preset": "accurate",
        "colors": "centers",
        "average": "flip",
        "size": 40,
        "upsample": "bilinear",
        "saturation": 0.5,
    }
    (result,) = tiny.batch([grey], ColorizeSettings(**options))
    assert np.array_equal(result, tiny(grey, **options))
    for name in options:
        others = {key: value for key, value in options.items() if key != name}
        assert not np.array_equal(result, tiny(grey, **others))


def test_batch_of_nothing(tiny):
    assert tiny.batch([]) == []


@pytest.mark.parametrize(
    "single",
    [
        "photo.jpg",
        Path("photo.jpg"),
        b"bytes",
        bytearray(b"bytes"),
        memoryview(b"bytes"),
        io.BytesIO(b"bytes"),
        torch.zeros(3, 8, 8),
        np.zeros((8, 8), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        Image.new("L", (8, 8)),
        5,
    ],
    ids=lambda single: type(single).__name__,
)
def test_batch_refuses_a_single_picture(tiny, single):
    with pytest.raises(TypeError, match="batch takes a list of pictures, got a single"):
        tiny.batch(single)


def test_batch_takes_arrays_of_pictures_or_of_paths(tiny, tmp_path, grey):
    stack = np.stack([grey, 255 - grey])[..., None]
    for one, alone in zip(tiny.batch(stack), tiny.batch(list(stack)), strict=True):
        np.testing.assert_array_equal(one, alone)
    Image.fromarray(grey).save(tmp_path / "photo.png")
    (colored,) = tiny.batch(np.array([str(tmp_path / "photo.png")]))
    np.testing.assert_array_equal(np.asarray(colored), tiny(grey))


# ---- the distribution ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("for_decode", "for_colorize"),
    [
        ({}, {}),
        ({"method": "argmax"}, {"decode": "argmax"}),
        ({"temperature": 0.7, "colors": "centers"}, {"temperature": 0.7, "colors": "centers"}),
    ],
)
def test_distribution_decodes_to_what_colorize_uses(tiny, grey, for_decode, for_colorize):
    distribution = tiny.distribution(grey)
    assert torch.equal(distribution.decode(**for_decode), ab_of(tiny, grey, **for_colorize))


def test_distribution_of_another_size(tiny, grey):
    h, w = working_shape(100, 150, 96)
    assert tiny.distribution(grey, size=96).probabilities.shape == (1, 324, h // 4, w // 4)
    with pytest.raises(ValueError, match="size must lie in"):
        tiny.distribution(grey, size=5)


def test_a_distribution_is_the_callers_own(weights, grey):
    """It may be changed in place, and trained with; no later picture changes with it."""
    colorizer = Colorizer(weights, device="cpu")
    before = colorizer(grey)
    own = colorizer.distribution(grey)
    for tensor in (own.logits, own.means, own.class_weights, own.lightness):
        assert not tensor.is_inference()
        tensor *= torch.linspace(0.5, 2, tensor.shape[-1])
    assert np.array_equal(colorizer(grey), before)
    scale = torch.ones((), requires_grad=True)
    (own.logits * scale).sum().backward()
    assert scale.grad is not None


def test_model_without_a_distribution(grey):
    colorizer = Colorizer("mean-chroma", device="cpu")
    with pytest.raises(TypeError, match=r"MeanChroma predicts a colour.*use a model that classif"):
        colorizer.distribution(grey)


@pytest.mark.parametrize(
    "option",
    [
        {"decode": "argmax"},
        {"temperature": 0.0},
        {"colors": "centers"},
        {"rebalance": 4.0},
        {"neutral": (0, 30)},
    ],
    ids=lambda option: next(iter(option)),
)
def test_what_a_model_has_no_use_for_is_refused(grey, option):
    colorizer = Colorizer("mean-chroma", device="cpu")
    (name,) = option
    with pytest.raises(ValueError, match=f"MeanChroma answers with a colour.*leave {name} out"):
        colorizer(grey, **option)
    with pytest.raises(ValueError, match="answers with a colour"):
        colorizer.predict_ab(read_photo(grey), ColorizeSettings(**option))


def test_all_else_is_for_every_model(grey):
    colorizer = Colorizer("mean-chroma", device="cpu")
    plain = colorizer(grey)
    assert np.array_equal(colorizer(grey, preset="accurate"), plain)
    assert not np.array_equal(colorizer(grey, saturation=0.5), plain)


# ---- loading and threads -------------------------------------------------------------------


def test_threads_give_what_one_gives(tiny, grey):
    images = [np.roll(grey, 7 * i, axis=1)[: 40 + 5 * i].copy() for i in range(16)]
    expected = [tiny(image) for image in images]
    with ThreadPoolExecutor(8) as pool:
        for result, alone in zip(pool.map(tiny, images), expected, strict=True):
            assert np.array_equal(result, alone)


def test_colorize_loads_once_even_from_many_threads(weights, tmp_path, grey, monkeypatch):
    path = tmp_path / "fresh.safetensors"
    path.write_bytes(weights.read_bytes())
    loads, load = [], zcolor.colorizer.load_model
    monkeypatch.setattr(
        zcolor.colorizer, "load_model", lambda *a, **k: loads.append(a) or load(*a, **k)
    )
    gate = threading.Barrier(8)

    def call():
        gate.wait()
        return colorize(grey, model=path, device="cpu")

    with ThreadPoolExecutor(8) as pool:
        results = [job.result() for job in [pool.submit(call) for _ in range(8)]]
    assert len(loads) == 1
    assert all(np.array_equal(result, results[0]) for result in results)


def test_changed_checkpoint_is_loaded_again(weights, tmp_path, grey):
    path = tmp_path / "model.safetensors"
    path.write_bytes(weights.read_bytes())
    first = colorize(grey, model=path, device="cpu")
    save_model(path, Zhang(width=1 / 32, working_size=64), {})
    assert not np.array_equal(first, colorize(grey, model=path, device="cpu"))
