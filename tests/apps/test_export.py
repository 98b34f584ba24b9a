import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from zcolor import Colorizer, onnx_graph
from zcolor.apps.export import export_onnx
from zcolor.checkpoint import read_header
from zcolor.models.mean_chroma import MeanChroma, MeanChromaOptions
from zcolor.onnx_graph import TOLERANCE, largest_difference, make_onnx
from zcolor.onnx_net import FACTS_KEY, read_onnx
from zcolor.quantizer import AbGrid
from zcolor.registry import find_family, find_weights, load_model, save_model
from zcolor.settings import PRESETS, DecodeSettings


def small_net(family, **header):
    """A small network of a family with random weights, as its header describes it."""
    known = {"grid": AbGrid().to_dict(), "width": 1 / 16, "targets": "soft", "working_size": 64}
    net = find_family(family).from_header({**known, **header})
    for module in net.modules():  # not what every network begins with
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return net.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """One that is exported quickly."""
    torch.manual_seed(0)
    net = MeanChroma(working_size=96, options=MeanChromaOptions(net="cnn1", scale=100.0))
    torch.nn.init.normal_(net.layers[-1].weight, std=1.0)
    path = tmp_path_factory.mktemp("export") / "mean.safetensors"
    save_model(path, net, {"data_hash": "abc"}, half=False)
    return path


@pytest.fixture(scope="module")
def report(checkpoint):
    return export_onnx(checkpoint, checkpoint.parent / "new" / "mean.onnx")


@pytest.fixture(scope="module")
def session(report):
    return onnxruntime.InferenceSession(report.path, providers=["CPUExecutionProvider"])


@pytest.fixture
def made_before(report, monkeypatch):
    """The model as it was made once, so that a test of files need not wait for it."""
    made = onnx_graph.OnnxModel(report.path.read_bytes(), "mean-chroma", 544, 0.0)
    monkeypatch.setattr("zcolor.apps.export.make_onnx", lambda _: made)
    return made


# ---- what is written -----------------------------------------------------------------------


def test_report_says_what_was_written(report):
    assert report.family == "mean-chroma"
    assert report.n_parameters == 544
    assert report.n_bytes == report.path.stat().st_size > 4 * 544
    assert 0 <= report.difference <= TOLERANCE
    text = report.summary()
    for part in ("544 parameters", "opset 18", f"{report.difference:.2g} ab", "1 x 37 x 129"):
        assert part in text


def test_nothing_else_is_left(report):
    assert [path.name for path in report.path.parent.iterdir()] == ["mean.onnx"]


def test_onnxruntime_alone_runs_any_size(session, checkpoint):
    (given,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (given.name, given.shape) == ("lightness", ["n", 1, "h", "w"])
    assert answer.name == "ab"
    net = load_model(checkpoint)
    for shape in ((1, 1, 1, 1), (2, 1, 31, 7), (1, 1, 128, 128), (1, 1, 200, 130)):
        lightness = torch.rand(shape) * 100
        (ab,) = session.run(None, {"lightness": lightness.numpy()})
        with torch.inference_mode():
            expected = net.predict_ab(lightness, DecodeSettings()).numpy()
        assert ab.shape == expected.shape
        np.testing.assert_allclose(ab, expected, atol=TOLERANCE)
        assert np.abs(ab).max() > 10 * TOLERANCE


def test_metadata_say_what_it_is(session, checkpoint):
    facts = json.loads(session.get_modelmeta().custom_metadata_map[FACTS_KEY])
    assert facts["family"] == "mean-chroma"
    assert facts["answer"] == "ab"
    assert facts["working_size"] == 96
    assert facts["licence"] == "not stated"
    assert facts["checkpoint"] == read_header(checkpoint)
    assert facts["presets"]["vivid"]["temperature"] == PRESETS["vivid"].temperature


def test_licence_of_what_ships_is_stated():
    for model in ("mean-chroma", find_weights("mean-chroma")):
        assert onnx_graph._facts(load_model(model), model)["licence"] == "BSD-2-Clause"


def test_no_paths_of_this_machine_are_in_it(report):
    data = report.path.read_bytes()
    for path in (onnx_graph.__file__, torch.__file__, sys.prefix):
        assert path.encode() not in data
    assert b"stack_trace" not in data


# ---- files ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("made_before")
def test_a_file_that_exists_is_replaced_only_if_asked(tmp_path, made_before):
    out = tmp_path / "a.onnx"
    out.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"a\.onnx exists; .*--overwrite"):
        export_onnx("zhang", out)
    assert out.read_bytes() == b"mine"
    export_onnx("zhang", out, overwrite=True)
    assert out.read_bytes() == made_before.data


@pytest.mark.parametrize("name", ["a.pb", "a", "onnx"])
def test_other_endings_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"an ONNX file ends in \.onnx, got"):
        export_onnx("zhang", tmp_path / name)


def test_a_folder_is_refused(tmp_path):
    (tmp_path / "a.onnx").mkdir()
    with pytest.raises(ValueError, match="is a folder; name a file"):
        export_onnx("zhang", tmp_path / "a.onnx", overwrite=True)


def test_nothing_is_written_where_the_check_fails(report, checkpoint, tmp_path, monkeypatch):
    wrong = onnx.load(report.path)
    del wrong.metadata_props[:]
    (last,) = (one for one in wrong.graph.initializer if one.name.endswith("layers.19.weight"))
    changed = onnx.numpy_helper.to_array(last) * np.float32(1.1)
    last.CopyFrom(onnx.numpy_helper.from_array(changed, last.name))
    monkeypatch.setattr(onnx_graph, "_traced", lambda *_: wrong)
    out = tmp_path / "a.onnx"
    out.write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"ab away from torch, more than 0\.05"):
        export_onnx(checkpoint, out, overwrite=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.onnx", b"mine")]


# ---- the comparison ------------------------------------------------------------------------


def test_a_changed_weight_is_noticed():
    net, other = small_net("zhang"), small_net("zhang")
    other.load_state_dict(net.state_dict())
    assert largest_difference(net, other) == 0
    with torch.no_grad():
        other.classifier.bias[0] += 5
    assert largest_difference(net, other) > TOLERANCE


def test_cells_that_tie_do_not_count_as_different():
    """Argmax jumps by a cell where two nearly tie; that is no fault of the ONNX model."""
    net, other = small_net("zhang"), small_net("zhang")
    for one in (net, other):
        one.presets = {"vivid": DecodeSettings("argmax"), "accurate": DecodeSettings("argmax")}
        torch.nn.init.zeros_(one.classifier.weight)
        torch.nn.init.zeros_(one.classifier.bias)
    with torch.no_grad():
        other.classifier.bias[0] += 1e-6
    assert largest_difference(net, other) < TOLERANCE


@pytest.mark.parametrize("fault", ["shape", "nan"])
def test_answers_of_another_kind_are_noticed(fault):
    net, other = small_net("mean-chroma"), small_net("mean-chroma")
    forward = other.forward
    wrong = {"shape": lambda x: forward(x).expand(-1, -1, 2, 2), "nan": lambda x: forward(x) / 0}
    other.forward = wrong[fault]
    with pytest.raises(ValueError, match=r"the ONNX model answers to .* or not with numbers"):
        largest_difference(net, other)


# ---- what cannot be exported ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "options", "why"),
    [
        ("vgg16", {"weights": "random", "width": 1 / 64}, "it decodes in a way of its own"),
        (
            "video-fusion",
            {"extractor": "resnet18", "extractor_weights": "random"},
            "it has a memory from frame to frame",
        ),
    ],
)
@pytest.mark.usefixtures("torchvision")
def test_some_families_are_refused(tmp_path, family, options, why):
    save_model(tmp_path / "a.safetensors", small_net(family, options=options), {})
    with pytest.raises(ValueError, match=f"cannot be exported: it is a .*{why}"):
        export_onnx(tmp_path / "a.safetensors", tmp_path / "a.onnx")
    assert not (tmp_path / "a.onnx").exists()


def test_onnx_is_not_exported_again(report, tmp_path):
    with pytest.raises(ValueError, match="has no layers in torch"):
        export_onnx(report.path, tmp_path / "again.onnx")


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_the_extra_is_named(missing, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=r'pip install "zcolor\[export\]"'):
        export_onnx("zhang", tmp_path / "a.onnx")


def test_what_torch_cannot_turn_is_a_clear_error(checkpoint, tmp_path, monkeypatch):
    def export(*_, **__):
        raise torch.onnx.OnnxExporterError("no such operator")

    monkeypatch.setattr(torch.onnx, "export", export)
    with pytest.raises(RuntimeError, match=r"cannot turn .*mean\.safetensors into ONNX \(no such"):
        export_onnx(checkpoint, tmp_path / "a.onnx")


# ---- every family --------------------------------------------------------------------------

_RANDOM = {"weights": "random"}
_THREE = AbGrid.from_centers(torch.tensor([[0.0, 0.0], [50.0, 20.0], [-30.0, 60.0]])).to_dict()


@pytest.mark.slow
@pytest.mark.usefixtures("torchvision")
@pytest.mark.parametrize(
    ("family", "header"),
    [
        ("zhang", {}),
        ("zhang", {"grid": _THREE}),
        ("resnet34", {"options": _RANDOM}),
        ("plain34", {}),
        ("densenet", {"options": _RANDOM}),
        ("autoencoder", {"options": {"activation": "sigmoid", "channels": 4}}),
        ("autoencoder", {"options": {"layout": "plain"}}),
        ("mean-chroma", {"options": {"net": "cnn3"}}),
        ("fusion", {"options": {"extractor": "resnet18", "extractor_weights": "random"}}),
    ],
    ids=lambda part: part if isinstance(part, str) else json.dumps(part)[:40],
)
def test_family_answers_as_in_torch(family, header, tmp_path):
    net = small_net(family, **header)
    save_model(tmp_path / "a.safetensors", net, {}, half=False)
    made = make_onnx(tmp_path / "a.safetensors")
    assert made.difference <= TOLERANCE
    other = read_onnx(made.data, torch.device("cpu"))
    tried = ((1, 1, 9), (2, 17, 3), (1, 64, 64), (1, 70, 201), (1, 300, 310))
    assert largest_difference(net, other, tried) <= TOLERANCE
    assert other.working_size == 64


@pytest.mark.slow
def test_what_ships_is_exported_and_colours(tmp_path):
    export_onnx("mean-chroma", tmp_path / "mean.onnx")
    grey = np.full((40, 60), 128, np.uint8)
    ours = Colorizer(tmp_path / "mean.onnx", device="cpu")(grey)
    theirs = Colorizer("mean-chroma", device="cpu")(grey)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
