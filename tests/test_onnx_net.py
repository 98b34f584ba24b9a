import contextlib
import hashlib
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from skimage import data
from torch import nn

import zcolor.colorizer
from zcolor import Colorizer, colorize, onnx_net
from zcolor.apps.export import export_onnx
from zcolor.checkpoint import CheckpointError
from zcolor.models.classifier import Classifier
from zcolor.onnx_net import FACTS_KEY, HASH_KEY, NO_HASH, read_onnx
from zcolor.photo import read_photo
from zcolor.registry import MODELS, find_weights, load_model, save_model

CPU = torch.device("cpu")


class Tiny(Classifier):
    """A family of three layers: exporting takes a second for each few of them."""

    def build(self):
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 9, stride=8, padding=4),
            nn.ReLU(),
            nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, self.grid.n_bins, 1),
        )

    def logits(self, scaled):
        return self.layers(scaled)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A small network with random weights whose colours differ over a picture."""
    with pytest.MonkeyPatch.context() as patch:
        entry = replace(MODELS["zhang"], network=f"{__name__}:Tiny", weights="")
        patch.setitem(MODELS, "tiny", entry)
        yield _saved(tmp_path_factory.mktemp("model") / "tiny.safetensors")


def _saved(path):
    torch.manual_seed(1)
    net = Tiny(working_size=64)
    nn.init.normal_(net.layers[-1].weight, std=30.0)
    q = net.grid.n_bins
    net.set_priors(
        torch.softmax(torch.randn(q), 0), net.cell_means * 0.9, torch.linspace(0.1, 3.0, q)
    )
    save_model(path, net, {"licence": "CC0"})
    return path


@pytest.fixture(scope="module")
def exported(weights):
    path = weights.with_suffix(".onnx")
    export_onnx(weights, path)
    return path


@pytest.fixture(scope="module")
def in_torch(weights):
    return Colorizer(weights, device="cpu")


@pytest.fixture(scope="module")
def in_onnx(exported):
    return Colorizer(exported, device="cpu")


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(data.coffee()[::4, ::4])  # (100, 150, 3)


@pytest.fixture
def float32(monkeypatch):
    """Torch in float32, as onnxruntime is, on CPUs with bfloat16 too."""
    monkeypatch.setattr(zcolor.colorizer, "fast_precision", lambda _: contextlib.nullcontext())


def share_within_a_level(a, b):
    return (np.abs(a.astype(int) - b.astype(int)).max(axis=-1) <= 1).mean()


# ---- the same answers ----------------------------------------------------------------------


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "accurate", "rebalance": 0.5},
        {"size": 120},  # above the model's own: two scales
        {"average": "crops"},
        {"reference": data.astronaut()[::8, ::8], "lend": 1.5},
    ],
    ids=lambda options: " ".join(options) or "default",
)
def test_pictures_of_both_runtimes_agree(in_torch, in_onnx, photo, options):
    expected = in_torch(photo, **options)
    assert np.ptp(expected.astype(int).mean(axis=-1) - expected[..., 0]) > 20  # it has colours
    assert share_within_a_level(in_onnx(photo, **options), expected) >= 0.999


@pytest.mark.parametrize("shape", [(1, 1, 7), (2, 5, 1), (1, 9, 131), (3, 40, 64), (1, 257, 18)])
def test_logits_are_those_of_torch_at_any_size(in_torch, in_onnx, shape):
    n, rows, columns = shape
    lightness = torch.rand(n, 1, rows, columns) * 100
    with torch.inference_mode():
        expected = in_torch.net(lightness)
    answer = in_onnx.net(lightness)
    assert answer.shape == expected.shape
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-3 * expected.std().item())


def test_all_but_the_layers_is_taken_over(in_torch, in_onnx):
    ours, theirs = in_onnx.net, in_torch.net
    assert isinstance(ours, Classifier)
    assert not ours.training
    assert not list(ours.parameters())
    assert ours.working_size == theirs.working_size
    assert ours.presets == theirs.presets
    for name in ("prior", "cell_means", "class_weights"):
        assert torch.equal(ours.get_buffer(name), theirs.get_buffer(name))
    assert torch.equal(ours.grid.centers, theirs.grid.centers)


@pytest.mark.usefixtures("float32")
def test_distribution_is_that_of_torch(in_torch, in_onnx, photo):
    ours, theirs = in_onnx.distribution(photo), in_torch.distribution(photo)
    assert (ours.decode() - theirs.decode()).abs().max() < 0.05
    assert ours.suggest(0.5, 0.5)[0].ab == pytest.approx(theirs.suggest(0.5, 0.5)[0].ab)


def test_the_file_alone_is_enough_to_decode(exported, in_torch):
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map[FACTS_KEY])
    assert facts["licence"] == "CC0"
    for name in ("prior", "cell_means", "class_weights"):
        assert facts[name] == in_torch.net.get_buffer(name).tolist()
    assert facts["centers"] == in_torch.net.grid.centers.tolist()
    lightness = torch.rand(1, 1, 33, 50) * 100
    (logits,) = session.run(None, {"lightness": lightness.numpy()})
    for name, preset in facts["presets"].items():
        tilt = (preset["rebalance"] - 1) * np.log(facts["class_weights"])
        tilted = (logits[0] + tilt[:, None, None]) / preset["temperature"]
        p = np.exp(tilted - tilted.max(axis=0))
        colors = (np.array(facts["cell_means"]) - preset["neutral"]) * preset["gain"]
        ab = np.einsum("qhw,qc->chw", p / p.sum(axis=0), colors)
        distance = np.linalg.norm(ab - ab.mean(axis=(1, 2), keepdims=True), axis=0)
        ab *= 1 + preset["contrast"] * distance / (distance + 10)
        with torch.inference_mode():
            expected = in_torch.net.predict_ab(lightness, in_torch.net.presets[name])
        np.testing.assert_allclose(ab, expected[0].numpy(), atol=0.05)


def test_scaled_lightness_gives_the_same_logits(in_onnx):
    lightness = torch.rand(1, 1, 16, 24) * 100
    logits = in_onnx.net.logits((lightness - 50) / 50)
    torch.testing.assert_close(logits, in_onnx.net(lightness), rtol=1e-3, atol=0.1)


def test_several_threads_may_ask_at_once(in_onnx):
    photos = [read_photo(np.roll(data.camera()[::8, ::8], 9 * i, axis=1)) for i in range(8)]
    alone = [in_onnx.predict_ab(photo) for photo in photos]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(in_onnx.predict_ab, photos))
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other)


# ---- how it is asked for -------------------------------------------------------------------


def test_the_name_alone_is_enough(exported, photo, in_onnx):
    assert np.array_equal(colorize(photo, model=str(exported), device="cpu"), in_onnx(photo))


def test_another_model_is_exported_at_the_start(weights, exported, in_onnx, photo, monkeypatch):
    asked = []

    def make(model):
        asked.append(model)
        return SimpleNamespace(data=exported.read_bytes())

    monkeypatch.setattr(zcolor.colorizer, "make_onnx", make)
    colorizer = Colorizer(weights, device="cpu", runtime="onnx")
    assert asked == [weights]
    assert np.array_equal(colorizer(photo), in_onnx(photo))


def test_runtimes_that_make_no_sense_are_refused(exported, weights):
    with pytest.raises(ValueError, match=r"is an ONNX model, which onnxruntime alone runs"):
        Colorizer(exported, device="cpu", runtime="torch")
    with pytest.raises(ValueError, match=r"unknown runtime 'tensorrt'; choose auto, torch or onnx"):
        Colorizer(weights, device="cpu", runtime="tensorrt")


def test_onnx_is_refused_where_layers_are_needed(exported):
    with pytest.raises(ValueError, match=r"has no layers in torch.*give the checkpoint"):
        load_model(exported)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint at nobody\.onnx"):
        find_weights("nobody.onnx")
    with pytest.raises(FileNotFoundError, match="there is no ONNX model at"):
        read_onnx(tmp_path / "nobody.onnx", CPU)


def test_without_onnxruntime_the_extra_is_named(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'pip install "zcolor\[export\]"'):
        Colorizer(exported, device="cpu")


# ---- files that are no good ----------------------------------------------------------------


@pytest.mark.parametrize("share", [0, 1e-5, 0.1, 0.5, 0.9, 0.99, 0.99999])
def test_a_file_that_was_cut_short_is_refused(exported, tmp_path, share):
    whole = exported.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=r"cut\.onnx .*zcolor export"):
        Colorizer(path, device="cpu")


def test_changed_bytes_are_noticed(exported, tmp_path):
    whole = exported.read_bytes()
    path = tmp_path / "changed.onnx"
    for place in np.linspace(0, len(whole) - 1, 40).astype(int):
        changed = bytearray(whole)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        with pytest.raises(CheckpointError):
            read_onnx(path, CPU)


def other_model(metadata):
    """An ONNX model that is not ours, with some metadata."""
    x, y = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")
    )
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    model = onnx.helper.make_model(
        onnx.helper.make_graph([node], "g", [x], [y]),
        ir_version=10,
        opset_imports=[onnx.helper.make_opsetid("", 18)],
    )
    onnx.helper.set_model_props(model, metadata)
    whole = model.SerializeToString()
    return whole.replace(NO_HASH.encode(), hashlib.sha256(whole).hexdigest().encode())


def test_models_of_others_are_refused(tmp_path):
    path = tmp_path / "other.onnx"
    path.write_bytes(other_model({}))
    with pytest.raises(CheckpointError, match=r"not one of zcolor's: its metadata have no"):
        read_onnx(path, CPU)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({}, "format version None, this zcolor reads 1"),
        ({"format_version": 2}, "format version 2, this zcolor reads 1"),
        ({"format_version": 1, "answer": "logits"}, "lacks what decoding needs .*presets"),
        ({"format_version": 1, "answer": "ab"}, "lacks what decoding needs .*working_size"),
    ],
)
def test_newer_and_incomplete_ones_are_refused(facts, why):
    metadata = {FACTS_KEY: json.dumps(facts), HASH_KEY: NO_HASH}
    with pytest.raises(CheckpointError, match=why):
        read_onnx(other_model(metadata), CPU)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "is no JSON object"),
        ("{not json", "is no JSON "),
        ("[" * 100_000, "is no JSON "),
        ('{"format_version": 1, "answer": "ab", "working_size": "64"}', "working_size must be at"),
        ('{"format_version": 1, "answer": "ab", "working_size": 10000}', "working_size must be at"),
    ],
    ids=["list", "text", "deep", "words", "large"],
)
def test_facts_that_are_none_are_refused_with_the_files_name(tmp_path, text, why):
    path = tmp_path / "other.onnx"
    path.write_bytes(other_model({FACTS_KEY: text, HASH_KEY: NO_HASH}))
    with pytest.raises(CheckpointError, match=rf"other\.onnx lacks what decoding needs.*{why}"):
        read_onnx(path, CPU)


def test_facts_of_another_kind_are_refused(exported):
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    facts = json.loads(session.get_modelmeta().custom_metadata_map[FACTS_KEY])
    for name in ("presets", "grid", "prior", "cell_means", "working_size"):
        for value in (None, [], "x", {}, 5):
            changed = json.dumps({**facts, name: value})
            with pytest.raises(CheckpointError, match="lacks what decoding needs"):
                read_onnx(other_model({FACTS_KEY: changed, HASH_KEY: NO_HASH}), CPU)


def test_what_fails_in_onnxruntime_is_a_clear_error(in_onnx):
    with pytest.raises(RuntimeError, match=r"onnxruntime failed .*\(1, 2, 8, 8\)"):
        in_onnx.net(torch.zeros(1, 2, 8, 8))


# ---- where it runs -------------------------------------------------------------------------


@pytest.mark.parametrize("has_cuda", [True, False])
def test_cuda_is_taken_where_onnxruntime_has_it(monkeypatch, caplog, has_cuda):
    asked = {}

    def session(_, options, providers):
        asked.update(providers=providers, threads=options.intra_op_num_threads)

    def available():
        return ["CUDAExecutionProvider"] * has_cuda + ["CPUExecutionProvider"]

    options = SimpleNamespace(add_session_config_entry=lambda *_: None)
    stand_in = SimpleNamespace(
        SessionOptions=lambda: options,
        InferenceSession=session,
        get_available_providers=available,
    )
    monkeypatch.setattr(onnx_net, "import_onnxruntime", lambda: stand_in)
    onnx_net._Graph(b"", "a.onnx", torch.device("cuda:1"))
    assert asked["threads"] == torch.get_num_threads()
    if has_cuda:
        first, last = asked["providers"]
        assert first == ("CUDAExecutionProvider", {"device_id": 1})
    else:
        (last,) = asked["providers"]
        assert "install onnxruntime-gpu" in caplog.text
    assert last == "CPUExecutionProvider"


@pytest.mark.slow
def test_the_shipped_model_agrees_on_photographs(tmp_path):
    """As it is used: torch in bfloat16 where the processor computes in it."""
    export_onnx("zhang", tmp_path / "zhang.onnx")
    ours = Colorizer(tmp_path / "zhang.onnx", device="cpu")
    theirs = Colorizer("zhang", device="cpu")
    for photo in (data.astronaut(), data.coffee(), data.chelsea()):
        assert share_within_a_level(ours(photo), theirs(photo)) >= 0.999
