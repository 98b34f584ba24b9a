"""Every option of every command reaches what does the work: a changed option changes the call."""

import dataclasses
import typing
from pathlib import Path
from types import UnionType

import pytest

from zcolor.apps import cli, cli_colorize, commands, commands_training

# What does the work of each command, and a call of it.
PHOTO = (Path("a.jpg"),)
DOORS = [
    ("zcolor.apps.folder.color_files", commands.Colorize(PHOTO), {"summary", "engine", "address"}),
    (
        "zcolor.apps.cluster.color_files_on_ray",
        commands.Colorize(PHOTO, engine="ray"),
        {"summary", "engine", "dry_run"},
    ),
    ("zcolor.apps.video.color_video", commands.Video(Path("a.mp4")), set()),
    ("zcolor.apps.web.serve", commands.Serve(), set()),
    ("zcolor.apps.evaluate.run_evaluation", commands.Evaluate(("a",)), set()),
    ("zcolor.apps.inspect.inspect_model", commands.Inspect(), set()),
    ("zcolor.apps.export.export_onnx", commands.Export(), set()),
    (
        "zcolor.apps.stylize.stylize_file",
        commands.Stylize(Path("c.jpg"), Path("a.jpg"), Path("b.jpg")),
        {"texture"},
    ),
    ("zcolor.apps.stylize.stylize_file", commands.Stylize(Path("c.jpg"), texture=Path("b.jpg")),
     {"style", "content"}),
    ("zcolor.apps.demo.make_demo", commands.Demo(), set()),
    ("zcolor.training.loop.train", commands_training.Train(("a",), Path("o")), set()),
    ("zcolor.training.pretrain.pretrain", commands_training.Pretrain(("a",), Path("o")), set()),
    (
        "zcolor.training.pack.pack_photos",
        commands_training.Pack(("a",), Path("o")),
        {"engine", "address"},
    ),
    (
        "zcolor.apps.cluster_training.pack_photos_on_ray",
        commands_training.Pack(("a",), Path("o"), engine="ray"),
        {"engine"},
    ),
    (
        "zcolor.training.priors.build_priors",
        commands_training.Priors(("a",), Path("o")),
        {"plot", "engine", "address"},
    ),
    (
        "zcolor.apps.cluster_training.build_priors_on_ray",
        commands_training.Priors(("a",), Path("o"), engine="ray"),
        {"plot", "engine"},
    ),
]  # fmt: skip


class ReachedError(Exception):
    """What the door was given."""


def call_of(door, command, monkeypatch):
    def reached(*args, **options):
        raise ReachedError(args, options)

    monkeypatch.setattr(door, reached)
    with pytest.raises(ReachedError) as caught:
        cli._run(command, ["zcolor"])
    return repr(caught.value.args)


def others(value, hint):
    """Values that an option may have in place of this one."""
    kind = typing.get_origin(hint)
    if kind is typing.Literal:
        yield from (word for word in typing.get_args(hint) if word != value)
    elif kind in (typing.Union, UnionType):
        for part in typing.get_args(hint):
            if part is not type(None):
                yield from others(None, part)
    elif isinstance(value, bool):
        yield not value
    elif kind is tuple or isinstance(value, tuple):
        inner = (typing.get_args(hint) or (str,))[0]
        (one, *_) = others(None, inner)
        yield (one,) if Ellipsis in typing.get_args(hint) else (one, one)
        if isinstance(value, tuple):  # shares, and ends of ranges
            yield value[::-1]
            yield tuple(part / 2 for part in value if isinstance(part, float))
    elif hint in (int, float):
        yield (value or 0) + (8 if hint is int else 0.25)
        yield (value or 0) + 1
        yield hint((value or 0) / 2)
    elif hint is Path:
        yield Path("other")
    else:
        yield "other"


def changes(settings):
    """Every option by its name, `settings.size` for one inside another, with changed settings."""
    hints = typing.get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            inner = {f"{field.name}.{name}": new for name, new in changes(value)}
        else:
            inner = {field.name: others(value, hints[field.name])}
        for name, values in inner.items():
            yield name, list(replaced(settings, field.name, values))


def replaced(settings, name, values):
    for value in values:
        try:
            yield dataclasses.replace(settings, **{name: value})
        except (ValueError, TypeError):  # it makes no sense beside the rest
            continue


@pytest.mark.parametrize(
    ("door", "command", "elsewhere"), DOORS, ids=lambda x: x if isinstance(x, str) else ""
)
def test_every_option_reaches_the_work(door, command, elsewhere, monkeypatch):
    usual = call_of(door, command, monkeypatch)
    assert call_of(door, command, monkeypatch) == usual
    changed = dict(changes(command))
    assert elsewhere <= changed.keys()
    lost = [
        name
        for name in changed.keys() - elsewhere
        if not any(call_of(door, one, monkeypatch) != usual for one in changed[name])
    ]
    assert lost == []


def test_every_command_has_its_doors():
    known = {type(command) for _, command, _ in DOORS}
    assert known | {commands.Models} == set(typing.get_args(commands.Command))


@pytest.mark.parametrize(
    "change",
    [{"quality": 40}, {"max_pixels": 5}, {"format": "tiff"}, {"model": "m"}, {"device": "cuda"},
     {"runtime": "onnx"}],
    ids=str,
)  # fmt: skip
def test_every_option_of_a_pipe_reaches_the_work(change, monkeypatch, tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"picture")

    def calls(command):
        seen = []

        def loaded(*args, **options):
            seen.append((args, options))
            return "the colorizer"

        def reached(*args, **options):
            raise ReachedError(seen, args, options)

        monkeypatch.setattr("zcolor.colorizer.Colorizer", loaded)
        monkeypatch.setattr("zcolor.apps.stream.color_bytes", reached)
        monkeypatch.setattr("sys.stdout.isatty", lambda: False, raising=False)
        with pytest.raises(ReachedError) as caught:
            cli_colorize.run_colorize(command, version="1")
        return repr(caught.value.args)

    pipe = commands.Colorize((tmp_path / "a.jpg",), out="-")
    assert calls(dataclasses.replace(pipe, **change)) != calls(pipe)


def test_the_server_is_for_this_machine_alone_unless_told_otherwise():
    assert commands.Serve.host == "127.0.0.1"
