"""How a network of 22 layers begins: He's and Xavier's initialisation, with and without norms.

He, Zhang, Ren, Sun, "Delving Deep into Rectifiers", ICCV 2015: a ReLU halves the second moment of
what enters it, so weights of variance 2/n keep the signal's size from layer to layer, and weights
of variance 1/n (Glorot, Bengio, AISTATS 2010, for square layers) halve it at each of them. Batch
norm (Ioffe, Szegedy, ICML 2015) brings it back wherever it stands.

Run as `python -m studies.initialisation PHOTOS`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from tqdm import tqdm

from studies.report import PAGES, save_plot, table, typed, write_page
from zcolor.atomic import whole_file
from zcolor.models.zhang import Zhang
from zcolor.training.assemble import make_loaders
from zcolor.training.dataset import Photos, open_photos
from zcolor.training.distributed import Crew
from zcolor.training.learner import Learner, to_device
from zcolor.training.loader import Batch
from zcolor.training.schedule import Schedule
from zcolor.training.settings import FilmSettings, TrainSettings

GAINS = {"He (2/n)": 2.0, "Xavier (1/n)": 1.0}
"""Variance of the weights times n, the inputs that reach one output."""
STARTS = tuple((name, norms) for norms in (True, False) for name in GAINS)
"""What is compared: both initialisations with norms, then both without."""
_COLORS = {"He (2/n)": "tab:blue", "Xavier (1/n)": "tab:red"}
# Steps over which a curve of losses is averaged before it is drawn.
_WINDOW = 10
# Layers named in the table: the first, the last of groups 3, 5 and 7, the last.
_SHOWN = (1, 7, 13, 19, 22)


@dataclass(frozen=True)
class InitialisationSettings:
    """The study's sizes."""

    photos: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Packs (their train split), images, folders or zip archives."""
    steps: int = 250
    """Steps of training of each network."""
    batch: int = 32
    """Photos a step."""
    crop: int = 48
    """Side of the crops in pixels, a multiple of 8."""
    width: float = 0.25
    """Channels as a share of the paper's."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    """What moves the weights: AdamW, whose steps do not depend on the size of the gradient, or
    SGD with momentum 0.9, whose steps do."""
    lr: float = 1e-3
    """Peak learning rate, reached after a tenth of the steps; a cosine follows."""
    seeds: int = 1
    """Times that each network is trained; a seed decides weights, order and crops."""
    runs: Path = Path("runs/initialisation")
    """Folder of the results of finished trainings; the same command goes on from them."""
    pages: Path = PAGES
    """Folder of the page and its plots."""

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if min(self.steps, self.seeds) < 1 or self.batch < 2:
            raise ValueError(
                "steps and seeds must be at least 1 and batch at least 2, got "
                f"{self.steps}, {self.seeds} and {self.batch}"
            )
        self.training(0)  # refuses the rest

    def training(self, seed: int) -> TrainSettings:
        """Settings of one training."""
        return TrainSettings(
            model="zhang",
            photos=self.steps * self.batch,
            batch=self.batch,
            crops=(self.crop,),
            shares=(1.0,),
            width=self.width,
            optimizer=self.optimizer,
            lr=self.lr,
            warmup=0.1,
            ema=0.0,
            bf16=False,
            device="cpu",
            seed=seed,
            film=FilmSettings(share=0.0),
        )


def build(gain: float, *, norms: bool, width: float, seed: int) -> Zhang:
    """Make the network of Zhang et al. with weights of a given variance.

    Parameters
    ----------
    gain
        Variance of the weights times the number of inputs that reach one output.
    norms
        False replaces each batch norm by nothing.
    width
        Channels as a share of the paper's.
    seed
        Two networks of the same seed have the same weights but for their size.

    Returns
    -------
    The network, in training mode; its classifier is as ever.
    """
    torch.manual_seed(seed)
    net = Zhang(width=width)
    for layer in layers_of(net):
        nn.init.normal_(layer.weight, std=math.sqrt(gain / inputs_of(layer)))
    if not norms:
        for group in net.groups:
            assert isinstance(group, nn.Sequential)
            for i, module in enumerate(group):
                if isinstance(module, nn.BatchNorm2d):
                    group[i] = nn.Identity()
    return net


def layers_of(net: Zhang) -> list[nn.Conv2d | nn.ConvTranspose2d]:
    """The 22 convolutions, from the first to the last."""
    return [m for m in net.groups.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


def inputs_of(layer: nn.Conv2d | nn.ConvTranspose2d) -> int:
    """Count the values that one value of the output is the weighted sum of."""
    n = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
    if isinstance(layer, nn.ConvTranspose2d):
        # A stride of s lets only every s-th weight along an axis reach one output.
        n //= layer.stride[0] * layer.stride[1]
    return n


def measure_start(net: Zhang, batch: Batch) -> dict[str, list[float]]:
    """Send a batch through and back, without a step.

    Returns
    -------
    For each of the 22 layers `activations`, the root mean square of what the convolution answers,
    before its ReLU; `signals`, that of the loss's gradient at the same place, times the number of
    photos; and `gradients`, the norm of the gradient of the weights as a share of their norm.
    """
    lightness, ab = to_device(batch, torch.device("cpu"))
    layers = layers_of(net)
    activations = [0.0] * len(layers)
    signals = [0.0] * len(layers)

    def listen(place: int) -> Any:
        def heard(_: nn.Module, __: object, output: Tensor) -> None:
            activations[place] = rms(output)
            # The ReLU that follows writes over the output: this gradient is that of before.
            output.register_hook(lambda g: signals.__setitem__(place, len(g) * rms(g)))

        return heard

    handles = [layer.register_forward_hook(listen(i)) for i, layer in enumerate(layers)]
    net.train()
    net.loss(net(lightness), net.target(ab, lightness))["total"].backward()
    for handle in handles:
        handle.remove()
    gradients = []
    for layer in layers:
        assert layer.weight.grad is not None
        gradients.append(float(layer.weight.grad.norm() / layer.weight.detach().norm()))
    net.zero_grad()
    return {"activations": activations, "signals": signals, "gradients": gradients}


def rms(values: Tensor) -> float:
    """Root of the mean square.

    Examples
    --------
    >>> rms(torch.tensor([3.0, -4.0, 0.0, 0.0]))
    2.5
    """
    return float(values.detach().square().mean().sqrt())


def train_one(
    name: str, seed: int, s: InitialisationSettings, photos: Photos, bar: tqdm[Any], *, norms: bool
) -> dict[str, Any]:
    """Measure one network as it begins, then train it.

    Returns
    -------
    What `measure_start` gives, the unweighted cross-entropy of each step (`losses`), and `seconds`
    of processor time.
    """
    settings = s.training(seed)
    net = build(GAINS[name], norms=norms, width=s.width, seed=seed)
    schedule = Schedule(settings)
    (loader,) = make_loaders(photos, settings, _ALONE, None)
    start = time.process_time()
    losses: list[float] = []
    result: dict[str, Any] = {}
    with closing(loader.batches(0, schedule.crop)) as batches:
        for step, batch in enumerate(batches):
            if not result:
                result.update(measure_start(net, batch))
                learner = Learner(net, settings, _ALONE)
            means = learner.learn([batch], schedule.lr(step * s.batch))
            losses.append(float(means["total"]))
            bar.update()
            bar.set_postfix(loss=f"{losses[-1]:.3f}", refresh=False)
            if len(losses) == s.steps or not math.isfinite(losses[-1]):
                break
    # A network that fails stays where it failed: its curve ends there.
    bar.update(s.steps - len(losses))
    return {**result, "losses": losses, "seconds": time.process_time() - start}


_ALONE = Crew(0, 1, torch.device("cpu"))


def key_of(name: str, seed: int, *, norms: bool) -> str:
    """Name of a training in the results.

    Examples
    --------
    >>> key_of("He (2/n)", 0, norms=False)
    'He (2/n), no norms, seed 0'
    """
    return f"{name}, {'norms' if norms else 'no norms'}, seed {seed}"


def run(s: InitialisationSettings) -> dict[str, dict[str, Any]]:
    """Train all networks, or take what an earlier run has finished.

    Returns
    -------
    The results of `train_one` by `key_of`.

    Raises
    ------
    ValueError
        If the folder holds results of other settings or photographs.
    """
    photos = open_photos(s.photos, "train")
    path = s.runs / "results.json"
    left_out = ("photos", "runs", "pages", "seeds")
    plain = {k: v for k, v in dataclasses.asdict(s).items() if k not in left_out}
    mine = {**plain, "data_hash": photos.data_hash, "n_photos": len(photos)}
    results: dict[str, dict[str, Any]] = {}
    if path.exists():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["settings"] != mine:
            raise ValueError(
                f"{path} holds results of other settings or photographs ({kept['settings']}); "
                "give another folder with --runs, or remove it"
            )
        results = kept["results"]
    s.runs.mkdir(parents=True, exist_ok=True)
    # Seed by seed, so that an interrupted study has all networks of the first seeds.
    todo = [(name, norms, seed) for seed in range(s.seeds) for name, norms in STARTS]
    done = sum(key_of(name, seed, norms=norms) in results for name, norms, seed in todo)
    total = len(todo) * s.steps
    with tqdm(total=total, initial=done * s.steps, unit="step", desc="initialisation") as bar:
        for name, norms, seed in todo:
            key = key_of(name, seed, norms=norms)
            if key not in results:
                results[key] = train_one(name, seed, s, photos, bar, norms=norms)
                text = json.dumps({"settings": mine, "results": results})
                with whole_file(path) as temporary:
                    temporary.write_text(text, encoding="utf-8")
    return results


def write(
    s: InitialisationSettings, results: dict[str, dict[str, Any]], command: Sequence[str]
) -> Path:
    """Write the page with its tables and plots.

    Returns
    -------
    The page.
    """
    page = s.pages / "initialisation.md"
    n_photos = s.steps * s.batch
    starts, ends = [], []
    for name, norms in STARTS:
        label = _look(name, norms=norms)["label"]
        runs = runs_of(results, name, s.seeds, norms=norms)
        for measure in ("activations", "signals"):
            means = geometric([r[measure] for r in runs])
            cells = [f"{means[layer - 1]:.2g}" for layer in _SHOWN]
            starts.append([label, "forward" if measure == "activations" else "back", *cells])
        first = np.mean([r["losses"][0] for r in runs])
        last = [np.mean(r["losses"][-_WINDOW:]) for r in runs]
        spread = f" ± {np.std(last):.3f}" if s.seeds > 1 else ""
        seconds = np.mean([r["seconds"] for r in runs])
        ends.append([label, f"{first:.3f}", f"{np.mean(last):.3f}{spread}", f"{seconds:.0f}"])
    parts = [
        (
            "A ReLU halves the second moment of what enters it. Weights of variance 2/n, n the "
            "inputs that reach one output, make up for that (He et al., ICCV 2015); weights of "
            "variance 1/n (Glorot and Bengio, AISTATS 2010) do not, and over 22 layers what is "
            "left is a 2048th part, if nothing else were at work. Batch norm, which closes 7 of "
            "the 8 groups, brings the size back each time."
        ),
        (
            f"The network is that of `zhang` at width {s.width}: its 22 convolutions were given "
            "the same random numbers, scaled to one variance or the other, and its norms were kept "
            "or taken out. The classifier behind them starts small, as ever. Each network learned "
            f"from the same {n_photos:,} crops of {s.crop} x {s.crop} pixels in the same order "
            f"({s.steps} steps of {s.batch}), {s.optimizer} with a peak rate of {s.lr:g}, the "
            "gradient clipped to a norm of 5, unweighted cross-entropy, "
            f"{'one seed' if s.seeds == 1 else f'{s.seeds} seeds'}."
        ),
        "## At the start",
        table(["network", "signal", *(f"layer {n}" for n in _SHOWN)], starts),
        (
            "Root mean squares on the first batch: *forward*, what a convolution answers before "
            "its ReLU; *back*, the gradient of a photo's loss at the same place."
        ),
        _plot_start(s, results),
        (
            f"Without norms even He's weights lose some of the signal: maps of {s.crop // 8} x "
            f"{s.crop // 8} pixels have much edge, and what lies beyond it counts as 0. There "
            f"{100 * inside_share(s.crop // 8, 1):.0f} % of the inputs of a 3x3 convolution lie "
            f"inside, {100 * inside_share(s.crop // 8, 2):.0f} % where it is dilated by 2."
        ),
        "## While they learn",
        table(
            ["network", "first loss", f"mean of the last {_WINDOW}", "processor s"],
            ends,
        ),
        _plot_losses(s, results),
        (
            f"Cross-entropy, the mean over {_WINDOW} steps; where there are more photos than "
            f"crops, on photographs that are new to the network. {math.log(324):.2f} is that of an "
            "answer that knows nothing."
        ),
    ]
    write_page(page, "How a network of 22 layers begins", parts, command=command)
    return page


def runs_of(
    results: dict[str, dict[str, Any]], name: str, seeds: int, *, norms: bool
) -> list[dict[str, Any]]:
    """Results of one network, a seed each."""
    return [results[key_of(name, seed, norms=norms)] for seed in range(seeds)]


def inside_share(side: int, dilation: int) -> float:
    """Share of the inputs of a padded 3x3 convolution that lie inside a square map.

    Examples
    --------
    >>> round(inside_share(6, 2), 3)
    0.605
    """
    beyond = 2 * min(side, dilation)  # of 3 * side along an axis: on the left and on the right
    return (1 - beyond / (3 * side)) ** 2


def geometric(values: Sequence[Sequence[float]]) -> list[float]:
    """Geometric mean over the first axis.

    Examples
    --------
    >>> [round(mean, 6) for mean in geometric([[1.0, 4.0], [100.0, 9.0]])]
    [10.0, 6.0]
    """
    array = np.asarray(values, dtype=np.float64).clip(min=1e-30)
    means: list[float] = np.exp(np.log(array).mean(axis=0)).tolist()
    return means


def _plot_start(s: InitialisationSettings, results: dict[str, dict[str, Any]]) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.2), layout="constrained")
    panels = figure.subplots(1, 3)
    titles = {
        "activations": "forward: convolution's answer, RMS",
        "signals": "back: gradient at that answer, RMS",
        "gradients": "gradient of the weights / weights",
    }
    for panel, (measure, title) in zip(panels, titles.items(), strict=True):
        for name, norms in STARTS:
            runs = runs_of(results, name, s.seeds, norms=norms)
            values = geometric([r[measure] for r in runs])
            places = np.arange(1, len(values) + 1)
            panel.plot(places, values, marker=".", **_look(name, norms=norms))
        panel.set(yscale="log", xlabel="layer", title=title)
        panel.grid(alpha=0.3)
    panels[0].legend()
    return save_plot(figure, s.pages / "initialisation-start.png")


def _plot_losses(s: InitialisationSettings, results: dict[str, dict[str, Any]]) -> str:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    panel = figure.subplots()
    window = min(_WINDOW, s.steps)
    for name, norms in STARTS:
        for i, result in enumerate(runs_of(results, name, s.seeds, norms=norms)):
            curve = np.convolve(result["losses"], np.full(window, 1 / window), mode="valid")
            look = _look(name, norms=norms)
            panel.plot(
                window + np.arange(len(curve)),
                curve,
                **{**look, "label": None if i else look["label"]},
            )
    panel.axhline(math.log(324), color="0.6", linewidth=0.8)
    # A network without norms may leap to several times what it began with.
    panel.set(xlabel="step", ylabel="cross-entropy", yscale="log")
    panel.grid(alpha=0.3)
    panel.legend()
    return save_plot(figure, s.pages / "initialisation-losses.png")


def _look(name: str, *, norms: bool) -> dict[str, Any]:
    return {
        "color": _COLORS[name],
        "linestyle": "-" if norms else "--",
        "label": f"{name}, {'batch norm' if norms else 'no norm'}",
    }


def main(settings: InitialisationSettings) -> Path:
    """Run the study and write its page."""
    return write(settings, run(settings), typed("studies.initialisation"))


if __name__ == "__main__":
    main(tyro.cli(InitialisationSettings))
