"""Checkpoints: exact round trips, clear words for every bad file, whole or not at all."""

import hashlib
import json
import os
import pickle
import struct

import pytest
import torch
from safetensors.torch import save_file

from zcolor import checkpoint
from zcolor.checkpoint import (
    CheckpointError,
    read_checkpoint,
    read_header,
    tensors_sha256,
    write_checkpoint,
)
from zcolor.models.zhang import Zhang
from zcolor.registry import load_model, save_model

HEADER = {
    "grid": {"bins": 18, "low": -110.0, "high": 110.0},
    "width": 0.5,
    "training": {"seed": 3, "crops": [64, 128], "name": "Gr\u00fcn"},
    "metrics": {"auc": 0.1 + 0.2},
    "nothing": None,
}


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(2)
    return {
        "float32": torch.randn(3, 4, generator=generator),
        "float64": torch.randn(2, generator=generator, dtype=torch.float64),
        "float16": torch.randn(5, generator=generator).half(),
        "bfloat16": torch.randn(5, generator=generator).bfloat16(),
        "int64": torch.tensor([[-1, 2**40]]),
        "uint8": torch.arange(7, dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(3.5),
        "integer scalar": torch.tensor(1234567),
        "empty": torch.zeros(0, 3),
        "special": torch.tensor([float("nan"), float("inf"), -0.0]),
    }


@pytest.fixture
def file(tmp_path, tensors):
    path = tmp_path / "model.safetensors"
    write_checkpoint(path, tensors, HEADER)
    return path


def assert_same(ours, theirs):
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype, name
        assert ours[name].shape == tensor.shape, name
        assert torch.equal(
            ours[name].flatten().view(torch.uint8), tensor.flatten().view(torch.uint8)
        ), name


# ---- round trips -----------------------------------------------------------------------------


def test_every_kind_of_tensor_comes_back_bit_for_bit(file, tensors):
    loaded, header = read_checkpoint(file)
    assert_same(loaded, tensors)
    assert {key: header[key] for key in HEADER} == HEADER
    assert header["format_version"] == checkpoint.FORMAT_VERSION
    assert header["sha256"] == tensors_sha256(tensors)


def test_header_alone(file):
    assert read_header(file) == read_checkpoint(file)[1]


def test_no_tensors_at_all(tmp_path):
    write_checkpoint(tmp_path / "x", {}, {})
    assert read_checkpoint(tmp_path / "x")[0] == {}


def test_tensors_that_share_memory_or_are_strided(tmp_path):
    base = torch.arange(24.0).view(4, 6)
    tensors = {
        "one": base,
        "two": base,
        "transposed": base.t(),
        "rows": base[1:3],
        "overlapping": base[2:],
        "columns": base[:, ::2],
        "expanded": base[:1].expand(3, 6),
    }
    write_checkpoint(tmp_path / "x", tensors, {})
    loaded, _ = read_checkpoint(tmp_path / "x")
    assert set(loaded) == set(tensors)
    assert all(torch.equal(loaded[name], tensors[name]) for name in tensors)


def test_what_stands_alone_is_not_copied(tmp_path, monkeypatch):
    """Writing takes no second copy of a network."""
    written = {}
    monkeypatch.setattr(
        checkpoint,
        "save",
        lambda tensors, **_: written.update(tensors) or b"",
    )
    base = torch.arange(24.0).view(4, 6)
    tensors = {"plain": torch.ones(5), "base": base, "rows": base[1:3], "turned": base.t()}
    write_checkpoint(tmp_path / "x", tensors, {})
    same = {n for n in tensors if written[n].data_ptr() == tensors[n].data_ptr()}
    assert same == {"plain", "base"}


def test_channels_last_parameters_of_a_network(tmp_path):
    net = torch.nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
    write_checkpoint(tmp_path / "x", dict(net.named_parameters()), {})
    loaded, _ = read_checkpoint(tmp_path / "x")
    assert torch.equal(loaded["weight"], net.weight)
    assert not loaded["weight"].requires_grad


def test_changing_what_was_read_leaves_the_file_alone(file, tensors):
    loaded, _ = read_checkpoint(file)
    for tensor in loaded.values():
        tensor.zero_()
    assert_same(read_checkpoint(file)[0], tensors)


def test_device_is_where_the_tensors_go(file):
    loaded, _ = read_checkpoint(file, device="meta")
    assert {tensor.device.type for tensor in loaded.values()} == {"meta"}


def test_a_file_can_be_replaced_while_its_tensors_are_in_use(file, tensors):
    loaded, _ = read_checkpoint(file)
    write_checkpoint(file, {"other": torch.ones(2)}, {})
    assert_same(loaded, tensors)
    assert set(read_checkpoint(file)[0]) == {"other"}


def test_folders_are_made_and_strings_are_paths(tmp_path):
    path = str(tmp_path / "a" / "b" / "model.safetensors")
    write_checkpoint(path, {"x": torch.ones(1)}, {})
    assert read_header(path)["format_version"] == 1


def test_the_hash_is_that_of_names_kinds_and_bytes():
    x = torch.tensor([1.0, 2.0])
    by_hand = hashlib.sha256(b"x torch.float32 (2,)\n" + struct.pack("<2f", 1.0, 2.0)).hexdigest()
    assert tensors_sha256({"x": x}) == by_hand
    y = torch.ones(1)
    assert tensors_sha256({"x": x, "y": y}) == tensors_sha256({"y": y, "x": x})
    others = [{"y": x}, {"x": x.view(2, 1)}, {"x": x.view(torch.int32)}, {"x": x + 1}, {}]
    assert by_hand not in {tensors_sha256(other) for other in others}


# ---- bad files -------------------------------------------------------------------------------


def test_no_file(tmp_path):
    for path in (tmp_path / "absent", tmp_path):
        for read in (read_checkpoint, read_header):
            with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*; check the name"):
                read(path)


def test_a_file_cut_short_anywhere(file, tmp_path):
    data = file.read_bytes()
    cut = tmp_path / "cut"
    for length in range(len(data)):
        cut.write_bytes(data[:length])
        for read in (read_checkpoint, read_header):
            with pytest.raises(CheckpointError, match=r"is cut short|no safetensors file"):
                read(cut)


def test_bytes_after_the_end(file):
    with file.open("ab") as handle:
        handle.write(b"more")
    with pytest.raises(CheckpointError, match="cut short or damaged"):
        read_checkpoint(file)


def test_a_flipped_bit_in_the_payload(file):
    data = file.read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    for position in range(start, len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        file.write_bytes(changed)
        with pytest.raises(CheckpointError, match="is damaged: its tensors do not have the SHA"):
            read_checkpoint(file)


def test_a_flipped_bit_in_the_header_never_breaks_the_reader(file, tensors):
    """It is refused in our own words, or the tensors are right all the same."""
    data = file.read_bytes()
    refused = 0
    for position in range(8 + struct.unpack("<Q", data[:8])[0]):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        file.write_bytes(changed)
        try:
            loaded, header = read_checkpoint(file)
        except CheckpointError:
            refused += 1
        else:
            assert_same(loaded, tensors)
            assert isinstance(header, dict)
    assert refused > 300


def test_a_flipped_bit_in_what_the_header_says(file):
    """In any value, and any key but that of the hash: it is refused, or says the same."""
    data, stated = file.read_bytes(), read_header(file)
    start = data.index(b"grid") - 2  # the quotes of JSON within JSON have a backslash
    end = data.index(b"header_sha256") - 2
    for position in range(start, end):
        for bit in {0, position % 8}:
            changed = bytearray(data)
            changed[position] ^= 1 << bit
            file.write_bytes(changed)
            try:
                header = read_header(file)
            except CheckpointError:
                continue
            assert header == stated  # \u00FC for \u00fc, or the last of too many digits


@pytest.mark.parametrize("entry", [b"vivid", b"temperature", b"0.82", b"bins", b"working_size"])
def test_a_model_whose_header_was_changed_is_refused(tmp_path, entry):
    path = tmp_path / "model.safetensors"
    save_model(path, Zhang(width=1 / 64), {})
    data = path.read_bytes()
    place = data.index(entry) + len(entry) - 1
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(CheckpointError, match="its header does not have the SHA-256 that it"):
        load_model(path)


def test_the_hash_of_the_header_is_that_of_all_else_it_says(file):
    header = read_header(file)
    stated = header.pop("header_sha256")
    text = json.dumps(header, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == stated


def test_a_header_is_hashed_as_it_is_read(tmp_path):
    header = {"pair": (1, 2), "numbered": {10: "a", 9: "b", "9b": None}, "nan": float("nan")}
    write_checkpoint(tmp_path / "x", {}, header)
    assert read_header(tmp_path / "x")["numbered"] == {"10": "a", "9": "b", "9b": None}


def test_writing_again_what_was_read_gives_the_same_file(file):
    before = file.read_bytes()
    write_checkpoint(file, *read_checkpoint(file))
    assert file.read_bytes() == before


def test_files_of_older_versions_have_no_hash_of_the_header(tmp_path, tensors):
    header = {**HEADER, "format_version": 1, "sha256": tensors_sha256(tensors)}
    save_file(tensors, tmp_path / "old", metadata={"zcolor": json.dumps(header)})
    assert read_header(tmp_path / "old") == header
    assert_same(read_checkpoint(tmp_path / "old")[0], tensors)


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"not a model at all, only a text\n", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(64)],
    ids=["empty", "one byte", "text", "picture", "zeros"],
)
def test_files_of_another_kind(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    for read in (read_checkpoint, read_header):
        with pytest.raises(CheckpointError, match=r"bytes\) is no safetensors file; .* never pick"):
            read(path)


def test_pickles_are_never_loaded(tmp_path):
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(ran),)

    torch.save({"x": torch.ones(2)}, tmp_path / "model.pt")
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    for name in ("model.pt", "evil.pt"):
        with pytest.raises(CheckpointError, match=r"never pickles \(\.pt, \.pth\)"):
            read_checkpoint(tmp_path / name)
    assert not ran.exists()


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_foreign_safetensors(tmp_path, metadata):
    save_file({"x": torch.ones(2)}, tmp_path / "x", metadata=metadata)
    for read in (read_checkpoint, read_header):
        with pytest.raises(CheckpointError, match="not one of zcolor's: it has no 'zcolor' header"):
            read(tmp_path / "x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{not json", "its header is no JSON"),
        ("[1, 2]", "its header lacks its version or its SHA-256"),
        ("{}", "its header lacks its version or its SHA-256"),
        ('{"format_version": 1}', "its header lacks its version or its SHA-256"),
    ],
)
def test_headers_that_are_none(tmp_path, text, words):
    save_file({"x": torch.ones(2)}, tmp_path / "x", metadata={"zcolor": text})
    for read in (read_checkpoint, read_header):
        with pytest.raises(CheckpointError, match=words):
            read(tmp_path / "x")


def test_a_newer_version(tmp_path, monkeypatch, tensors):
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT_VERSION", 2)
        write_checkpoint(tmp_path / "x", tensors, HEADER)
    for read in (read_checkpoint, read_header):
        with pytest.raises(CheckpointError, match="format version 2, this zcolor reads 1; update"):
            read(tmp_path / "x")


def test_checkpoint_errors_are_value_errors():
    assert issubclass(CheckpointError, ValueError)


# ---- whole or not at all ---------------------------------------------------------------------


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["full", "^C"])
def test_a_failing_write_leaves_the_old_file(file, tensors, monkeypatch, step, error):
    def fail(*args, **options):
        raise error

    before = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(type(error)):
            write_checkpoint(file, {"new": torch.zeros(9)}, {})
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name]


def test_a_header_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_checkpoint(tmp_path / "x", {}, {"tensor": torch.ones(1)})
    assert os.listdir(tmp_path) == []


def test_a_written_file_is_plain_safetensors(file):
    data = file.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    top = json.loads(data[8 : 8 + size])
    assert set(top["__metadata__"]) == {"zcolor"}
    assert json.loads(top["__metadata__"]["zcolor"])["width"] == 0.5
    assert os.listdir(file.parent) == [file.name]
