"""What identity shortcuts buy: residual and plain networks of 18 and 34 layers on real digits.

He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016, found that a plain
network of 34 layers learns worse than one of 18, and that shortcuts turn this around. Here the same
is tried on the handwritten digits that ship with scikit-learn: 1797 pictures of 8 x 8 pixels.

Run as `python -m studies.digits`.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from studies.report import PAGES, save_plot, table, typed, write_page
from zcolor.atomic import whole_file
from zcolor.extras import install_command

# Blocks of two convolutions in the four stages of the networks of 18 and 34 layers (table 1).
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
NETWORKS = tuple((kind, depth) for depth in _BLOCKS for kind in ("plain", "residual"))
"""What is compared: plain 18, residual 18, plain 34, residual 34."""
# Side in pixels and largest grey value of scikit-learn's digits.
_SIDE, _WHITE = 8, 16
# As in the paper, section 3.4.
_MOMENTUM, _WEIGHT_DECAY = 0.9, 1e-4
_COLORS = {"plain": "tab:red", "residual": "tab:blue"}


@dataclass(frozen=True)
class DigitsSettings:
    """The study's sizes."""

    epochs: int = 25
    """Times that each network sees the training digits."""
    seeds: int = 3
    """Times that each network is trained; a seed decides weights, order and split."""
    channels: tuple[int, int, int, int] = (8, 16, 32, 64)
    """Channels of the four stages; the paper's are 64 to 512."""
    side: int = 8
    """Side in pixels that the digits are brought to; three strides of 2 make 1 of 8."""
    batch: int = 64
    """Digits a step."""
    lr: float = 0.05
    """Peak learning rate of SGD: a cosine down to 0 after one epoch of linear warm-up."""
    test_share: float = 0.2
    """Share of the digits that is kept for testing, the same share of each digit."""
    runs: Path = Path("runs/digits")
    """Folder of the results of finished trainings; the same command goes on from them."""
    pages: Path = PAGES
    """Folder of the page and its plots."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if min(self.epochs, self.seeds, self.batch, *self.channels) < 1 or self.side < 8:
            raise ValueError(
                "epochs, seeds, batch and channels must be at least 1 and side at least 8, got "
                f"{self.epochs}, {self.seeds}, {self.batch}, {self.channels} and {self.side}"
            )
        if self.lr <= 0 or not 0 < self.test_share < 1:
            raise ValueError(
                "lr must be above 0 and test_share between 0 and 1, got "
                f"{self.lr} and {self.test_share}"
            )


@dataclass(frozen=True)
class Digits:
    """Digits and what they are, split in two."""

    train: tuple[Tensor, Tensor]
    """(n, 1, side, side) pictures of mean 0 and deviation 1, and (n,) digits 0 to 9."""
    test: tuple[Tensor, Tensor]
    """The same of those that are never trained on."""


def load_digits(s: DigitsSettings, seed: int) -> Digits:
    """Take scikit-learn's 1797 digits and split them, each digit alike.

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as load
        from sklearn.model_selection import train_test_split
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"this study needs scikit-learn: {install_command('study')}"
        ) from error
    found = load()
    x = torch.from_numpy(found.images).float().unsqueeze(1) / _WHITE
    x = F.interpolate(x, (s.side, s.side), mode="bilinear", align_corners=False)
    y = torch.from_numpy(found.target).long()
    train, test = train_test_split(
        np.arange(len(y)), test_size=s.test_share, stratify=found.target, random_state=seed
    )
    x = (x - x[train].mean()) / x[train].std()
    return Digits((x[train], y[train]), (x[test], y[test]))


class DigitNet(nn.Module):
    """A narrow ResNet for small pictures, of timm's blocks, with or without the additions.

    Parameters
    ----------
    depth
        18 or 34 layers with weights.
    shortcuts
        False leaves the additions out, and with them the 1x1 projections.
    channels
        Channels of the four stages.
    """

    def __init__(self, depth: int, *, shortcuts: bool, channels: Sequence[int]) -> None:
        super().__init__()
        try:
            from timm.models.resnet import BasicBlock, make_blocks
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(f"this study needs timm: {install_command('zoo')}") from error

        class PlainBlock(BasicBlock):
            """Two convolutions, and nothing is added to them."""

            def forward(self, x: Tensor) -> Tensor:
                x = self.act1(self.bn1(self.conv1(x)))
                answer: Tensor = self.act2(self.bn2(self.conv2(x)))
                return answer

        # A 3x3 stem without stride, as for CIFAR (section 4.2): the digits are small.
        self.stem = nn.Sequential(
            nn.Conv2d(1, channels[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(channels[0]),
            nn.ReLU(inplace=True),
        )
        block = BasicBlock if shortcuts else PlainBlock
        stages, _ = make_blocks((block,) * 4, tuple(channels), _BLOCKS[depth], channels[0])
        self.stages = nn.Sequential(*(stage for _, stage in stages))
        self.classifier = nn.Linear(channels[-1], 10)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(module, PlainBlock):
                module.downsample = None

    def forward(self, pictures: Tensor) -> Tensor:
        """Answer to (n, 1, h, w) pictures with (n, 10) logits."""
        features: Tensor = self.stages(self.stem(pictures))
        logits: Tensor = self.classifier(features.mean(dim=(2, 3)))
        return logits

    def layers(self) -> list[nn.Module]:
        """Return what the depth counts, from the first to the last: no projections."""
        return [
            module
            for name, module in self.named_modules()
            if isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in name
        ]


def train_one(
    kind: str, depth: int, seed: int, s: DigitsSettings, digits: Digits, bar: tqdm[Any]
) -> dict[str, Any]:
    """Train one network and measure it after every epoch.

    Returns
    -------
    Errors in percent (`train`, `test`) and the mean loss (`loss`) of each epoch, the norm of the
    gradient of each layer before the first step (`gradients`), `parameters`, and `seconds` of
    processor time.
    """
    torch.manual_seed(seed)
    net = DigitNet(depth, shortcuts=kind == "residual", channels=s.channels)
    optimizer = torch.optim.SGD(
        net.parameters(), lr=s.lr, momentum=_MOMENTUM, weight_decay=_WEIGHT_DECAY
    )
    x, y = digits.train
    steps = -(-len(y) // s.batch)
    order = np.random.default_rng(seed)
    start = time.process_time()
    result: dict[str, Any] = {
        "gradients": first_gradients(net, x[: s.batch], y[: s.batch]),
        "parameters": sum(p.numel() for p in net.parameters()),
        "train": [],
        "test": [],
        "loss": [],
    }
    for epoch in range(s.epochs):
        net.train()
        total = 0.0
        for step, chosen in enumerate(np.array_split(order.permutation(len(y)), steps)):
            for group in optimizer.param_groups:
                group["lr"] = s.lr * rate(epoch * steps + step, steps, s.epochs)
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x[chosen]), y[chosen])
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
        result["loss"].append(total / len(y))
        result["train"].append(error_percent(net, x, y))
        result["test"].append(error_percent(net, *digits.test))
        bar.update()
        bar.set_postfix(test=f"{result['test'][-1]:.1f} %", refresh=False)
    result["seconds"] = time.process_time() - start
    return result


def rate(step: int, warmup: int, epochs: int) -> float:
    """Share of the peak learning rate: one epoch of warm-up, then half a cosine down to 0.

    Examples
    --------
    >>> [round(rate(step, 10, 3), 2) for step in (0, 9, 10, 20, 29)]
    [0.1, 1.0, 1.0, 0.5, 0.01]
    """
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, (epochs - 1) * warmup)
    return float(0.5 * (1 + np.cos(np.pi * progress)))


def first_gradients(net: DigitNet, x: Tensor, y: Tensor) -> list[float]:
    """Norm of the gradient of each layer's weights, as a share of the norm of the weights."""
    net.train()
    F.cross_entropy(net(x), y).backward()
    shares = []
    for layer in net.layers():
        weight = layer.weight
        assert isinstance(weight, Tensor) and weight.grad is not None
        shares.append(float(weight.grad.norm() / weight.detach().norm()))
    net.zero_grad()
    return shares


@torch.inference_mode()
def error_percent(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Share of the pictures that are taken for another digit, in percent."""
    net.eval()
    return 100 * float((net(x).argmax(dim=1) != y).float().mean())


def run(s: DigitsSettings) -> dict[str, dict[str, Any]]:
    """Train all networks, or take what an earlier run has finished.

    Returns
    -------
    The results of `train_one` by "kind-depth-seed".

    Raises
    ------
    ValueError
        If the folder holds results of other settings.
    """
    path = s.runs / "results.json"
    plain = {k: v for k, v in dataclasses.asdict(s).items() if k not in ("runs", "pages", "seeds")}
    mine = json.loads(json.dumps(plain))
    results: dict[str, dict[str, Any]] = {}
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["settings"] != mine:
            raise ValueError(
                f"{path} holds results of other settings ({kept['settings']}); give another "
                "folder with --runs, or remove it"
            )
        results = kept["results"]
    s.runs.mkdir(parents=True, exist_ok=True)
    # Seed by seed, so that an interrupted study has all networks of the first seeds.
    todo = [(kind, depth, seed) for seed in range(s.seeds) for kind, depth in NETWORKS]
    done = sum(f"{kind}-{depth}-{seed}" in results for kind, depth, seed in todo)
    total = len(todo) * s.epochs
    with tqdm(total=total, initial=done * s.epochs, unit="epoch", desc="digits") as bar:
        for kind, depth, seed in todo:
            key = f"{kind}-{depth}-{seed}"
            if key not in results:
                results[key] = train_one(kind, depth, seed, s, load_digits(s, seed), bar)
                text = json.dumps({"settings": mine, "results": results})
                with whole_file(path) as temporary:
                    temporary.write_text(text, encoding="utf-8")
    return results


def write(s: DigitsSettings, results: dict[str, dict[str, Any]], command: Sequence[str]) -> Path:
    """Write the page with its table and plots.

    Returns
    -------
    The page.
    """
    page = s.pages / "digits.md"
    rows = []
    for kind, depth in NETWORKS:
        runs = runs_of(results, kind, depth, s.seeds)
        loss, train, test = (np.array([r[k] for r in runs])[:, -1] for k in _MEASURES)
        rows.append(
            [
                f"{kind} {depth}",
                f"{runs[0]['parameters']:,}",
                f"{loss.mean():.4f} ± {loss.std():.4f}",
                f"{train.mean():.2f} ± {train.std():.2f}",
                f"{test.mean():.2f} ± {test.std():.2f}",
                f"{np.mean([r['seconds'] for r in runs]):.0f}",
            ]
        )
    enlarged = f", brought to {s.side} x {s.side}" if s.side != _SIDE else ""
    header = ["network", "weights", "loss", "train error, %", "test error, %", "processor s"]
    parts = [
        (
            "What do identity shortcuts buy? He et al. (CVPR 2016) found that a plain network of "
            "34 layers learns worse than one of 18, though it could copy it, and that a sum of "
            "each block's input and output (a shortcut) turns this around. Here the same four "
            "networks, narrowed, learn real handwritten digits."
        ),
        (
            f"The digits are the 1797 that ship with scikit-learn, 8 x 8 pixels{enlarged}; "
            f"{100 * s.test_share:.0f} % of each digit are kept for testing. "
            f"The stages have {', '.join(map(str, s.channels))} channels after a 3x3 stem without "
            f"stride; the plain networks are the same without the additions and without the 1x1 "
            f"projections that belong to them. {s.epochs} epochs of batches of {s.batch}, SGD with "
            f"momentum {_MOMENTUM} and weight decay {_WEIGHT_DECAY}, peak learning rate {s.lr}, "
            "cosine, no augmentation. A seed decides weights, order and split, and is the same for "
            "all four."
        ),
        "## After the last epoch",
        table(header, rows),
        f"Mean ± standard deviation over {s.seeds} seeds.",
        comparison(results, s),
        "## While they learn",
        _plot_curves(s, results),
        "Lines: the mean over the seeds; shaded: from the best to the worst seed.",
        "## Before the first step",
        _plot_gradients(s, results),
        (
            "The norm of the gradient of each layer's weights, as a share of the norm of the "
            "weights, on the first batch; the mean over the seeds. Where the first layers of a "
            "network have far larger ones than its last, no learning rate suits all of them."
        ),
    ]
    write_page(page, "What identity shortcuts buy", parts, command=command)
    return page


_MEASURES = ("loss", "train", "test")


def runs_of(
    results: dict[str, dict[str, Any]], kind: str, depth: int, seeds: int
) -> list[dict[str, Any]]:
    """Results of one network, a seed each."""
    return [results[f"{kind}-{depth}-{seed}"] for seed in range(seeds)]


def comparison(results: dict[str, dict[str, Any]], s: DigitsSettings) -> str:
    """Say in words what 16 more layers and what shortcuts changed; pairs have the same seed."""
    last = {
        (kind, depth): np.array([r["test"][-1] for r in runs_of(results, kind, depth, s.seeds)])
        for kind, depth in NETWORKS
    }
    sentences = []
    for first, second in (
        (("plain", 18), ("plain", 34)),
        (("residual", 18), ("residual", 34)),
        (("residual", 34), ("plain", 34)),
    ):
        change = last[second] - last[first]
        sentences.append(
            f"- {second[0]} {second[1]} against {first[0]} {first[1]}: test error "
            f"{change.mean():+.2f} points ({', '.join(f'{c:+.2f}' for c in change)} by seed)."
        )
    return "\n".join(sentences)


def _plot_curves(s: DigitsSettings, results: dict[str, dict[str, Any]]) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey="row")
    epochs = np.arange(1, s.epochs + 1)
    for row, measure in zip(panels, ("train", "test"), strict=True):
        for panel, depth in zip(row, _BLOCKS, strict=True):
            for kind, color in _COLORS.items():
                curves = np.array([r[measure] for r in runs_of(results, kind, depth, s.seeds)])
                # A digit in a thousand: zero has no place on a logarithmic axis.
                curves = curves.clip(min=0.1)
                panel.plot(epochs, curves.mean(axis=0), color=color, label=f"{kind} {depth}")
                panel.fill_between(
                    epochs, curves.min(axis=0), curves.max(axis=0), color=color, alpha=0.2
                )
            panel.set(yscale="log", title=f"{measure} error, {depth} layers")
            panel.grid(which="both", alpha=0.3)
            panel.legend()
        row[0].set_ylabel("error, % (0.1: that or less)")
    for panel in panels[1]:
        panel.set_xlabel("epoch")
    return save_plot(figure, s.pages / "digits-curves.png")


def _plot_gradients(s: DigitsSettings, results: dict[str, dict[str, Any]]) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    panel = figure.subplots()
    for kind, depth in NETWORKS:
        shares = np.mean([r["gradients"] for r in runs_of(results, kind, depth, s.seeds)], axis=0)
        panel.plot(
            np.arange(1, len(shares) + 1),
            shares,
            color=_COLORS[kind],
            linestyle="-" if depth == max(_BLOCKS) else ":",
            marker=".",
            label=f"{kind} {depth}",
        )
    panel.set(yscale="log", xlabel="layer", ylabel="gradient / weights", title="at the start")
    panel.grid(which="both", alpha=0.3)
    panel.legend()
    return save_plot(figure, s.pages / "digits-gradients.png")


def main(settings: DigitsSettings) -> Path:
    """Run the study and write its page."""
    return write(settings, run(settings), typed("studies.digits"))


if __name__ == "__main__":
    main(tyro.cli(DigitsSettings))
