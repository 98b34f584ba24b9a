"""`zcolor train`, `pretrain`, `pack` and `priors`: making a model; imports late what is heavy."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from zcolor.apps.command_parts import INTERRUPTED, OK
from zcolor.apps.commands_training import Pack, Pretrain, Priors, Train


def check_named(data: Sequence[str]) -> None:
    """Refuse an empty list here: the folder of a run is made before its photographs are read."""
    if not data:
        raise ValueError("no DATA given; name packs (.h5), folders, images, zip archives or lists")


def run_train(command: Train, argv: Sequence[str]) -> int:
    """Run `zcolor train`; the exit code."""
    from zcolor.training.loop import train

    check_named(command.data)
    result = train(
        command.settings,
        command.data,
        command.out,
        val=command.val,
        priors=command.priors,
        init=command.init,
        teacher=command.teacher,
        resume=command.resume,
        minutes=command.minutes,
        command=shlex.join(argv),
    )
    if os.environ.get("RANK", "0") == "0":  # one of torchrun's processes speaks for all
        best = f", best {result.best}" if result.best.exists() else ""
        print(f"{result.reason}: {result.seen:,} photos seen; state {result.state}{best}")
        if result.reason != "done":
            print("the same command with --resume goes on from there")
    return INTERRUPTED if result.reason == "interrupted" else OK


def run_pretrain(command: Pretrain, argv: Sequence[str]) -> int:
    """Run `zcolor pretrain`; the exit code."""
    from zcolor.training.pretrain import pretrain

    check_named(command.data)
    result = pretrain(
        command.settings,
        command.data,
        command.out,
        overwrite=command.overwrite,
        minutes=command.minutes,
        command=shlex.join(argv),
    )
    print(f"{result.reason}: {result.seen:,} photos seen, {result.n_labels} labels; {result.path}")
    if result.reason == "done":
        print(f"{result.accuracy:.1%} of {result.n_held_out} photos held out are named right")
    else:
        print("the same command goes on from there")
    return INTERRUPTED if result.reason == "interrupted" else OK


def run_pack(command: Pack, argv: Sequence[str]) -> int:
    """Run `zcolor pack`; the exit code."""
    typed = shlex.join(argv)
    if command.engine == "ray":
        from zcolor.apps.cluster_training import pack_photos_on_ray

        report = pack_photos_on_ray(
            command.sources,
            command.out,
            command.settings,
            address=command.address,
            overwrite=command.overwrite,
            command=typed,
        )
    else:
        from zcolor.training.pack import pack_photos

        report = pack_photos(
            command.sources,
            command.out,
            command.settings,
            overwrite=command.overwrite,
            command=typed,
        )
    print(report.summary())
    return OK


def run_priors(command: Priors, argv: Sequence[str]) -> int:
    """Run `zcolor priors`; the exit code."""
    from zcolor.training.prior_plot import check_plot, plot_priors
    from zcolor.training.priors import build_priors, summary

    check_named(command.data)
    if command.plot is not None:
        check_plot(command.plot, command.out)
    typed = shlex.join(argv)
    if command.engine == "ray":
        from zcolor.apps.cluster_training import build_priors_on_ray

        priors = build_priors_on_ray(
            command.data,
            command.out,
            command.settings,
            address=command.address,
            split=command.split,
            command=typed,
        )
    else:
        priors = build_priors(
            command.data, command.out, command.settings, split=command.split, command=typed
        )
    print(summary(priors))
    print(f"written: {command.out}")
    if command.plot is not None:
        plot_priors(priors, command.plot)
        print(f"drawn: {command.plot}")
    return OK
