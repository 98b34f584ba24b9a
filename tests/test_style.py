"""Style transfer: the papers' equations as loops, gradients, textures that come out, refusals."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import zcolor.style_features as style_features
from zcolor.models.zhang import Zhang
from zcolor.registry import save_model
from zcolor.style import draw, enlarged, match_lightness, n_scales
from zcolor.style_energy import Objective, content_energy, gram, style_energy
from zcolor.style_features import FeatureNet, vgg19_features, zhang_features


def some(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def small_net(channels=1, layers=("one", "two")):
    """Two convolutions with fixed random weights; the second is the content too."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        modules = [
            nn.Conv2d(channels, 6, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2, ceil_mode=True),
            nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
        ]  # fmt: skip
    scale = (50.0,) if channels == 1 else (0.5, 0.5, 0.5)
    return FeatureNet(
        modules, {"one": 1, "two": 4}, style=layers, content="two", mean=scale, std=scale
    )


def lightness(h=16, w=16, seed=0):
    return 100 * some(1, 1, h, w, seed=seed)


@pytest.fixture(scope="module")
def zhang(tmp_path_factory):
    """The features of a thin zhang with random weights."""
    path = tmp_path_factory.mktemp("zhang") / "thin.safetensors"
    torch.manual_seed(0)
    save_model(path, Zhang(width=1 / 16).eval(), {})
    return path


# The equations.


def test_gram_equals_loop():
    features = some(1, 3, 4, 5)
    flat = features[0].numpy().reshape(3, 20)
    expected = [[sum(flat[i, k] * flat[j, k] for k in range(20)) / 20 for j in range(3)]
                for i in range(3)]  # fmt: skip
    np.testing.assert_allclose(gram(features)[0].numpy(), expected, rtol=1e-5)


def test_style_energy_equals_equation_4_of_the_paper():
    mine, theirs = some(1, 3, 4, 5, seed=1), some(1, 3, 4, 5, seed=2)
    f, a = (x[0].double().numpy().reshape(3, 20) for x in (mine, theirs))
    g, s = f @ f.T, a @ a.T  # the paper's unnormalised Gram matrices
    expected = ((g - s) ** 2).sum() / (4 * 3**2 * 20**2)
    assert style_energy(mine, gram(theirs)).item() == pytest.approx(expected, rel=1e-5)


def test_style_energy_compares_pictures_of_unlike_size():
    tile = some(1, 3, 4, 4)
    assert style_energy(tile, gram(tile.repeat(1, 1, 2, 3))).item() == pytest.approx(0, abs=1e-12)


def test_gradient_of_the_style_equals_equation_6_of_the_paper():
    features, theirs = some(1, 3, 4, 5, seed=1), some(1, 3, 4, 5, seed=2)
    features.requires_grad_()
    style_energy(features, gram(theirs)).backward()
    f, a = (x.detach()[0].numpy().reshape(3, 20) for x in (features, theirs))
    expected = (f.T @ (f @ f.T - a @ a.T)).T / (3**2 * 20**2)
    np.testing.assert_allclose(
        features.grad[0].numpy().reshape(3, 20), expected, rtol=1e-4, atol=1e-9
    )


def test_content_energy_is_the_mean_of_equation_1():
    mine, theirs = some(1, 2, 3, 3, seed=1), some(1, 2, 3, 3, seed=2)
    expected = 0.5 * ((mine - theirs).numpy() ** 2).sum() / 18
    assert content_energy(mine, theirs).item() == pytest.approx(expected, rel=1e-5)


def test_the_objective_is_the_weighted_sum_over_features_of_mean_one():
    net, style, content, x = small_net(), lightness(seed=1), lightness(seed=2), lightness(seed=3)
    objective = Objective(
        net, style, content, alpha=3, beta=5, layer_weights={"one": 0.25, "two": 0.75}
    )
    total, energies = objective(x)
    of = {name: net(picture) for name, picture in (("s", style), ("c", content), ("x", x))}
    e_style = 0.0
    for layer, weight in (("one", 0.25), ("two", 0.75)):
        mean = of["s"][layer].mean()
        e_style += weight * style_energy(of["x"][layer] / mean, gram(of["s"][layer] / mean)).item()
    mean = of["c"]["two"].mean()
    e_content = content_energy(of["x"]["two"] / mean, of["c"]["two"] / mean).item()
    assert energies.style == pytest.approx(e_style, rel=1e-4)
    assert energies.content == pytest.approx(e_content, rel=1e-4)
    assert total.item() == pytest.approx(3 * e_content + 5 * e_style, rel=1e-4)


def test_the_energies_of_the_wanted_picture_are_zero():
    net, picture = small_net(), lightness()
    total, energies = Objective(net, picture, picture)(picture)
    assert total.item() == pytest.approx(0, abs=1e-10)
    assert (energies.content, energies.style) == pytest.approx((0, 0), abs=1e-10)


def test_the_gradient_reaches_the_picture_and_no_weight():
    net, x = small_net(), lightness(seed=3).requires_grad_()
    Objective(net, lightness(seed=1), lightness(seed=2))(x)[0].backward()
    assert bool((x.grad != 0).any())
    assert bool(x.grad.isfinite().all())
    assert all(p.grad is None for p in net.parameters())


def test_a_layer_that_answers_nothing_gives_finite_energies():
    net = small_net()
    nn.init.zeros_(net.layers[0].weight)
    nn.init.zeros_(net.layers[0].bias)
    total, _ = Objective(net, lightness(seed=1), lightness(seed=2))(lightness(seed=3))
    assert bool(total.isfinite())


# Drawing.


@pytest.mark.parametrize(("optimizer", "times"), [("adam", 4), ("lbfgs", 20)])
def test_a_texture_comes_near_its_style(optimizer, times):
    stripes = torch.tensor([20.0, 20.0, 80.0, 80.0]).repeat(6).expand(1, 1, 24, 24)
    steps = list(draw(small_net(), stripes, steps=60, optimizer=optimizer))
    assert len(steps) == 60
    assert steps[-1].picture.shape == (1, 1, 24, 24)
    assert steps[-1].energies.style < steps[0].energies.style / times


def test_the_content_holds_the_picture():
    content, style = lightness(seed=1), lightness(seed=2) / 4
    near, far = (
        list(draw(small_net(), style, content, alpha=alpha, beta=1, steps=20))[-1].picture
        for alpha in (1000.0, 0.0)
    )
    assert (near - content).abs().mean() < (far - content).abs().mean() / 2


def test_drawing_is_the_same_for_the_same_seed_alone():
    first, again, other = (
        list(draw(small_net(), lightness(), steps=3, seed=seed))[-1].picture for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_noise_in_place_of_the_content_forgets_where_it_began():
    content = lightness(seed=1)
    start = next(iter(draw(small_net(), lightness(seed=2), content, steps=1))).picture
    noise = next(iter(draw(small_net(), lightness(seed=2), content, steps=1, from_noise=True)))
    assert (start - content).abs().mean() < 2
    assert (noise.picture - content).abs().mean() > 10
    assert noise.picture.mean().item() == pytest.approx(content.mean().item(), abs=5)


def test_large_pictures_are_drawn_small_first():
    content, style = lightness(128, 144, seed=1), lightness(130, 128, seed=2)
    sizes = [tuple(step.picture.shape[2:]) for step in draw(small_net(), style, content, steps=2)]
    assert sizes == [(64, 72)] * 2 + [(128, 144)] * 2


@pytest.mark.parametrize(("sides", "expected"), [((1, 1), 1), ((127, 900), 1), ((128, 128), 2),
                                                 ((256, 300), 3), ((1024, 1024), 5)])  # fmt: skip
def test_n_scales(sides, expected):
    assert n_scales(*sides) == expected


def test_enlarging_keeps_the_detail_of_what_was_drawn_over():
    base = lightness(32, 32)
    small = torch.nn.functional.interpolate(base, (16, 16), mode="area")
    assert torch.allclose(enlarged(small, base, small, base), base)
    lighter = enlarged(small + 10, base, small, base)
    assert torch.allclose(lighter, base + 10, atol=1e-3)


def test_matched_lightness_has_the_contents_mean_and_spread():
    style, content = lightness(seed=1) / 3, 40 + lightness(seed=2) / 2
    matched = match_lightness(style, content)
    assert matched.mean().item() == pytest.approx(content.mean().item(), abs=1e-3)
    assert matched.std().item() == pytest.approx(content.std().item(), abs=1e-3)
    flat = match_lightness(torch.full((1, 1, 4, 4), 50.0), content)
    assert bool(flat.isfinite().all())


# The networks.


def test_zhang_features_are_those_of_its_layers(zhang):
    net = zhang_features(zhang)
    found = net(lightness(32, 40))
    sizes = {name: tuple(f.shape) for name, f in found.items()}
    assert sizes == {
        "conv1_1": (1, 4, 32, 40),
        "conv2_1": (1, 8, 16, 20),
        "conv3_1": (1, 16, 8, 10),
        "conv4_1": (1, 32, 4, 5),
        "conv4_2": (1, 32, 4, 5),
        "conv5_1": (1, 32, 4, 5),
    }
    torch.manual_seed(0)
    plain = Zhang(width=1 / 16).eval()
    first = plain.groups[0][1](plain.groups[0][0]((lightness(32, 40) - 50) / 50))
    inner = (..., slice(1, -1), slice(1, -1))  # at the edge zhang adds zeros
    assert torch.allclose(found["conv1_1"][inner], first[inner], atol=1e-2)  # stored in float16


def test_the_edge_of_a_picture_is_no_thing_to_be_drawn(zhang):
    found = zhang_features(zhang)(torch.full((1, 1, 32, 32), 20.0))
    for name, maps in found.items():
        assert (maps - maps[..., :1, :1]).abs().max() < 1e-4 * maps.abs().max() + 1e-6, name


def test_the_mean_in_place_of_a_stride_does_not_see_where_a_pattern_begins(zhang):
    grid = 100 * ((torch.arange(64) // 4) % 2).float().expand(1, 1, 64, 64)
    shifted = grid.roll(1, dims=3)
    pooled = zhang_features(zhang)(grid)["conv2_1"]
    moved = zhang_features(zhang)(shifted)["conv2_1"]
    plain = Zhang(width=1 / 16)
    plain.load_state_dict(_state(zhang))
    plain.eval()
    strided, strided_moved = (
        plain.groups[1][1](plain.groups[1][0](plain.groups[0]((x - 50) / 50)))
        for x in (grid, shifted)
    )
    inner = (..., slice(4, -4), slice(4, -4))

    def change(a, b):
        a, b = gram(a[inner]), gram(b[inner])
        return ((a - b).norm() / a.norm()).item()

    assert change(pooled, moved) < change(strided, strided_moved)


def _state(path):
    from zcolor.registry import load_model

    return load_model(path).state_dict()


def test_a_checkpoint_of_another_family_is_refused(monkeypatch):
    monkeypatch.setattr(style_features, "load_model", lambda *_, **__: nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"family Linear.*zhang"):
        zhang_features("other.safetensors")


def thin_vgg19(seed=0):
    """Weights named as those of VGG-19, with few channels."""
    generator = torch.Generator().manual_seed(seed)
    state, index, channels = {}, 0, 3
    for wide, n in ((2, 2), (3, 2), (4, 4), (5, 4), (5, 4)):
        for _ in range(n):
            state[f"features.{index}.weight"] = torch.randn(
                wide, channels, 3, 3, generator=generator
            )
            state[f"features.{index}.bias"] = torch.randn(wide, generator=generator)
            index, channels = index + 2, wide
        index += 1
    return state


def test_vgg19_layers_stand_where_timm_has_them():
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        net = timm.create_model("vgg19")
    assert sum(p.numel() for p in net.parameters()) == 143_667_240  # published (torchvision)
    shapes = {k: tuple(v.shape) for k, v in net.state_dict().items() if k.startswith("features")}
    assert list(shapes) == list(thin_vgg19())
    state = {k: torch.zeros(1).expand(s) for k, s in shapes.items()}
    layers, taps = style_features._vgg19_layers(state)
    wide = {name: layers[i - 1].out_channels for name, i in taps.items()}
    assert len(wide) == 16
    assert [wide[f"conv{i}_1"] for i in range(1, 6)] == [64, 128, 256, 512, 512]
    kept = [type(m).__name__.replace("MaxPool", "AvgPool") for m in net.features]
    assert [type(m).__name__ for m in layers] == kept


def test_vgg19_looks_at_normalised_colours_with_mean_pooling(monkeypatch):
    state = thin_vgg19()
    monkeypatch.setattr(style_features, "hub_state", lambda name: state)
    net = vgg19_features("hub")
    assert net.n_channels == 3
    picture = some(1, 3, 16, 16)
    found = net(picture)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in
                 ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))  # fmt: skip
    x = (picture - mean) / std
    for index in (0, 2):
        x = torch.relu(
            nn.functional.conv2d(
                x, state[f"features.{index}.weight"], state[f"features.{index}.bias"], padding=1
            )
        )
    x = nn.functional.avg_pool2d(x, 2)
    x = torch.relu(
        nn.functional.conv2d(x, state["features.5.weight"], state["features.5.bias"], padding=1)
    )
    assert torch.allclose(found["conv2_1"], x, rtol=1e-4, atol=1e-4)
    assert found["conv5_1"].shape == (1, 5, 1, 1)


def test_vgg19_of_a_file_is_read_by_timm(monkeypatch, tmp_path):
    path = tmp_path / "vgg19.pth"
    path.touch()
    asked = []

    def read(name, file, *, classes):
        asked.append((name, file, classes))
        return thin_vgg19()

    monkeypatch.setattr(style_features, "file_state", read)
    vgg19_features(path)
    assert asked == [("vgg19", path, 1000)]
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing\.pth"):
        vgg19_features(tmp_path / "nothing.pth")


def test_a_hub_that_is_not_there_names_the_cures(monkeypatch):
    def unreachable(name):
        raise OSError("cannot be had")

    monkeypatch.setattr(style_features, "hub_state", unreachable)
    with pytest.raises(OSError, match=r"--weights FILE.*--features zhang"):
        vgg19_features()


# Refusals.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"style": lightness().repeat(1, 3, 1, 1)}, r"\(1, 1, h, w\).*\(1, 3, 16, 16\)"),
        ({"content": lightness()[0]}, r"\(1, 1, h, w\)"),
        ({"alpha": -1.0}, "alpha and beta"),
        ({"layer_weights": {"one": 1.0}}, "one, two"),
    ],
)
def test_an_objective_that_makes_no_sense_is_refused(change, message):
    options = {"style": lightness(), "content": None, **change}
    style, content = options.pop("style"), options.pop("content")
    with pytest.raises(ValueError, match=message):
        Objective(small_net(), style, content, **options)


@pytest.mark.parametrize("options", [{"steps": 0}, {"optimizer": "sgd"}])
def test_drawing_refuses_what_makes_no_sense(options):
    with pytest.raises(ValueError, match="steps must be at least 1 and optimizer"):
        next(iter(draw(small_net(), lightness(), **options)))


def test_a_layer_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="three"):
        small_net(layers=("three",))


def test_only_what_is_asked_for_is_run():
    net = small_net()
    assert len(net.layers) == 5
    assert SimpleNamespace(**net(lightness())).two.shape == (1, 8, 8, 8)
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
