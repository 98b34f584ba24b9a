import pytest
import torch
from torch import nn

from zcolor.checkpoint import CheckpointError, read_checkpoint, read_header, write_checkpoint
from zcolor.models.base import ColorNet
from zcolor.models.zhang import Zhang
from zcolor.registry import (
    MODELS,
    find_family,
    find_weights,
    list_families,
    list_models,
    load_model,
    pick_device,
    save_model,
)


def tiny(**changes):
    return Zhang(width=1 / 32, **changes)


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "tiny.safetensors"
    save_model(path, tiny(working_size=64), {"provenance": {"seed": 3}})
    return path


# ---- the table -----------------------------------------------------------------------------


def test_models_are_listed():
    assert "zhang" in list_models()
    assert list_families() == sorted(MODELS)
    assert set(list_models()) == {name for name in MODELS if MODELS[name].weights}


def test_families_are_found_by_name():
    assert find_family("zhang") is Zhang
    with pytest.raises(ValueError, match=r"unknown model 'zang'; the families are .*zhang"):
        find_family("zang")


@pytest.mark.parametrize("name", list_models())
def test_row_leads_to_a_network_and_its_weights(name):
    entry = MODELS[name]
    net = load_model(name)
    assert isinstance(net, ColorNet)
    assert entry.network == f"{type(net).__module__}:{type(net).__qualname__}"
    assert read_header(entry.path)["family"] == name
    assert entry.path.stat().st_size <= 20e6
    assert entry.licence
    assert entry.source
    assert entry.description


# ---- reading and writing -------------------------------------------------------------------


@pytest.mark.parametrize("name", list_models())
def test_the_table_knows_the_parameters(name):
    net = load_model(name)
    assert MODELS[name].n_parameters == sum(p.numel() for p in net.parameters())


def test_loaded_network_is_ready(checkpoint):
    net = load_model(checkpoint)
    assert not net.training
    assert net.working_size == 64
    assert {p.dtype for p in net.parameters()} == {torch.float32}
    assert net(torch.full((1, 1, 16, 24), 50.0)).shape == (1, 324, 4, 6)


def test_path_may_be_a_string(checkpoint):
    expected = load_model(checkpoint).state_dict()
    for name, tensor in load_model(str(checkpoint)).state_dict().items():
        assert torch.equal(tensor, expected[name])


def test_half_rounds_what_was_learned_and_nothing_else(tmp_path):
    net = tiny()
    prior = torch.full((324,), 1e-9)  # below the smallest float16
    prior[0] = 1 - 323e-9
    net.set_priors(prior, net.cell_means + 1e-4, net.class_weights * 1.0001)
    path = tmp_path / "half.safetensors"
    save_model(path, net, {})
    stored, _ = read_checkpoint(path)
    again = load_model(path)
    for name, value in net.named_parameters():
        assert stored[name].dtype == torch.float16
        assert torch.equal(again.get_parameter(name), value.half().float())
    for name, value in net.named_buffers():
        assert stored[name].dtype == value.dtype
        assert torch.equal(again.get_buffer(name), value)


def test_full_precision_is_exact(tmp_path):
    net = tiny()
    save_model(tmp_path / "full.safetensors", net, {}, half=False)
    again = load_model(tmp_path / "full.safetensors")
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_header_says_what_the_network_is_and_where_it_comes_from(checkpoint):
    header = read_header(checkpoint)
    assert header["family"] == "zhang"
    assert header["width"] == 1 / 32
    assert header["provenance"] == {"seed": 3}


def test_loading_leaves_the_dice_alone(checkpoint):
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    load_model(checkpoint)
    assert torch.equal(torch.rand(4), expected)


def test_bare_name_of_a_file_that_exists_is_a_path(checkpoint, monkeypatch):
    monkeypatch.chdir(checkpoint.parent)
    checkpoint.rename(checkpoint.with_name("mine"))
    assert find_weights("mine").samefile("mine")
    assert load_model("mine").working_size == 64


# ---- refusals ------------------------------------------------------------------------------


def test_unknown_name_lists_the_choices():
    with pytest.raises(ValueError, match=r"unknown model 'zang'; choose one of .*zhang"):
        load_model("zang")


@pytest.mark.parametrize("name", ["nowhere/x", "x.safetensors"])
def test_missing_file(name):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*check the path"):
        load_model(name)


def test_missing_weights_of_a_model(monkeypatch, tmp_path):
    monkeypatch.setattr("zcolor.model_table._ASSETS", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"weights of 'zhang' are missing.*install"):
        load_model("zhang")


def test_model_of_another_kind():
    with pytest.raises(TypeError, match="name or the path of a checkpoint, got int"):
        load_model(3)


def test_state_of_a_training_run_is_no_model(tmp_path):
    write_checkpoint(tmp_path / "state.safetensors", {"a": torch.zeros(1)}, {"kind": "state"})
    with pytest.raises(CheckpointError, match=r"family is 'None', known are .*zhang"):
        load_model(tmp_path / "state.safetensors")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda tensors, header: tensors.pop("classifier.bias"), "Missing key.*classifier.bias"),
        (lambda tensors, header: tensors.update(other=torch.zeros(1)), "Unexpected key"),
        (lambda tensors, header: header.update(width=1 / 16), "size mismatch"),
        (lambda tensors, header: header.pop("grid"), "lacks grid"),
        (lambda tensors, header: header.update(presets={"vivid": {"nonsense": 1}}), "nonsense"),
    ],
)
def test_header_and_tensors_that_do_not_fit(checkpoint, damage, message):
    tensors, header = read_checkpoint(checkpoint)
    damage(tensors, header)
    write_checkpoint(checkpoint, tensors, header)
    with pytest.raises(CheckpointError, match=f"does not fit its own header.*{message}"):
        load_model(checkpoint)


def test_provenance_may_not_redefine_the_network(tmp_path):
    with pytest.raises(ValueError, match="may not redefine family, width"):
        save_model(tmp_path / "x.safetensors", tiny(), {"width": 1, "family": "x"})


@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_parameter_that_float16_cannot_hold(tmp_path, value):
    net = tiny()
    nn.init.constant_(net.classifier.bias, value)
    with pytest.raises(ValueError, match=r"classifier.bias holds values that float16 cannot"):
        save_model(tmp_path / "x.safetensors", net, {})
    assert list(tmp_path.iterdir()) == []


def test_network_of_no_family(tmp_path):
    class Newcomer(Zhang):
        pass

    with pytest.raises(TypeError, match="of no family that zcolor knows; add a row"):
        save_model(tmp_path / "x.safetensors", Newcomer(width=1 / 32), {})


# ---- devices -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(2, False, "cuda"), (2, True, "cuda"), (0, True, "mps"), (0, False, "cpu")],
)
def test_auto_takes_the_fastest_there_is(monkeypatch, cuda, mps, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert pick_device("auto") == torch.device(expected)


@pytest.mark.parametrize(("device", "there"), [("cuda", 0), ("cuda:2", 2), ("mps", 0)])
def test_device_that_is_not_there(monkeypatch, device, there):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ValueError, match=f"'{device}' is not available: torch sees {there} .*auto"):
        pick_device(device)


def test_device_by_index(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    assert pick_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("device", ["gpu", "", "meta", None])
def test_unknown_device(device):
    with pytest.raises(ValueError, match="choose auto, cpu, cuda, cuda:N or mps"):
        pick_device(device)
