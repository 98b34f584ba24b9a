"""The classifier: its layers, counts, sizes, targets, header, and that it learns."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from zcolor.decode import decode_logits
from zcolor.losses import rebalanced_cross_entropy
from zcolor.models.classifier import OUTPUT_STRIDE
from zcolor.models.zhang import Zhang
from zcolor.quantizer import AbGrid
from zcolor.settings import DecodeSettings

TINY = 1 / 16


def paper_grid():
    """Any 313 centres: only their number matters here."""
    points = np.random.default_rng(0).uniform(-100, 100, (313, 2))
    return AbGrid.from_centers(torch.from_numpy(points))


@pytest.fixture
def tiny():
    plain = {"vivid": DecodeSettings(), "accurate": DecodeSettings()}
    return Zhang(width=TINY, presets=plain).eval()


def convolutions(module):
    return [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]


def some_lightness(n=1, h=32, w=32):
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(6)) * 100


# ---- the layers ------------------------------------------------------------------------------


def test_22_convolutions_in_8_groups_and_one_classifier(tiny):
    assert [len(convolutions(group)) for group in tiny.groups] == [2, 2, 3, 3, 3, 3, 3, 3]
    assert len(convolutions(tiny.groups)) == 22
    assert convolutions(tiny)[22:] == [tiny.classifier]
    assert tiny.classifier.kernel_size == (1, 1)


def test_strides_and_dilations(tiny):
    strides = [[layer.stride[0] for layer in convolutions(group)] for group in tiny.groups]
    assert strides == [[1, 2], [1, 2], [1, 1, 2], *[[1, 1, 1]] * 4, [2, 1, 1]]
    dilations = [{layer.dilation[0] for layer in convolutions(group)} for group in tiny.groups]
    assert dilations == [{1}, {1}, {1}, {1}, {2}, {2}, {1}, {1}]
    transposed = [isinstance(layer, nn.ConvTranspose2d) for layer in convolutions(tiny.groups)]
    assert [i for i, is_transposed in enumerate(transposed) if is_transposed] == [19]


def test_relu_after_every_convolution_and_batch_norm_closing_groups(tiny):
    for group in tiny.groups:
        layers = list(group)
        for layer, following in pairwise(layers):
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                assert isinstance(following, nn.ReLU)
        norms = [i for i, layer in enumerate(layers) if isinstance(layer, nn.BatchNorm2d)]
        closing = [] if group is tiny.groups[-1] else [len(layers) - 1]
        assert norms == closing


def test_channels_of_the_paper():
    with torch.device("meta"):
        net = Zhang(AbGrid(18), width=1.0)
    wide = [convolutions(group)[-1].out_channels for group in net.groups]
    assert wide == [64, 128, 256, 512, 512, 512, 512, 256]


@pytest.mark.parametrize(
    ("width", "make_grid", "parameters", "gmac"),
    [(1.0, paper_grid, 32_235_385, 41.8), (0.5, AbGrid, 8_083_940, 10.5)],
)
def test_parameters_and_operations(width, make_grid, parameters, gmac):
    net = Zhang(make_grid(), width=width).to("meta")
    assert sum(parameter.numel() for parameter in net.parameters()) == parameters
    counter = FlopCounterMode(display=False)
    with counter:
        net(torch.zeros(1, 1, 256, 256, device="meta"))
    assert counter.get_total_flops() / 2 / 1e9 == pytest.approx(gmac, rel=5e-3)


def test_he_initialisation():
    """Each layer doubles the second moment of what enters it, which its ReLU then halves."""
    net = Zhang(width=0.25)
    for layer in convolutions(net.groups):
        assert layer.bias.abs().max() == 0
        x = torch.randn(1, layer.in_channels, 96, 96, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            y = layer(x)[:, :, 8:-8, 8:-8]
        # The sample of weights is finite: its second moment has a standard error of (2 / n)^0.5.
        spread = 5 * (2 / layer.weight.numel()) ** 0.5 + 0.02
        assert y.square().mean().item() == pytest.approx(2, rel=spread), layer


def test_standard_deviation_of_the_weights():
    net = Zhang(width=0.25)
    for layer in convolutions(net.groups):
        taps = 4 if isinstance(layer, nn.ConvTranspose2d) else 9
        expected = (2 / (layer.in_channels * taps)) ** 0.5
        spread = 5 / (2 * layer.weight.numel()) ** 0.5
        assert layer.weight.std().item() == pytest.approx(expected, rel=spread)


def test_the_first_loss_is_that_of_the_uniform_distribution():
    net = Zhang(width=0.25).train()
    lightness, ab = some_lightness(2), torch.rand(2, 2, 32, 32) * 60 - 30
    losses = net.loss(net(lightness), net.target(ab, lightness))
    assert losses["total"].item() == pytest.approx(np.log(324), rel=0.01)
    # Of the uniform distribution the circle of 20 units holds its share of the plane: 2.6 %.
    assert net.distribution(lightness).confidence().max() < 0.035


# ---- sizes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("height", [1, 2, 7, 8, 9, 31])
@pytest.mark.parametrize("width", [1, 4, 13, 40])
def test_any_size(tiny, height, width):
    with torch.no_grad():
        logits = tiny(some_lightness(2, height, width))
    assert logits.shape == (2, 324, -(-height // 4), -(-width // 4))
    assert logits.isfinite().all()


@pytest.mark.parametrize("value", [0.0, 50.0, 100.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 77), (77, 1), (24, 24)])
def test_constant_images(tiny, value, shape):
    with torch.no_grad():
        ab = tiny.predict_ab(torch.full((1, 1, *shape), value), DecodeSettings())
    assert ab.isfinite().all()
    assert ab.abs().max() <= 110


def test_a_constant_image_trains(tiny):
    tiny.train()
    lightness = torch.full((2, 1, 16, 16), 50.0)
    losses = tiny.loss(tiny(lightness), tiny.target(torch.zeros(2, 2, 16, 16), lightness))
    losses["total"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in tiny.parameters())


def test_multiples_of_eight_are_not_padded(tiny):
    lightness = some_lightness(2, 24, 40)
    with torch.no_grad():
        plain = tiny.classifier(tiny.groups((lightness - 50) / 50))
        assert torch.equal(tiny(lightness), plain)


def test_other_sizes_are_continued_at_their_edge(tiny):
    lightness = some_lightness(1, 21, 13)
    padded = np.pad(lightness.numpy(), ((0, 0), (0, 0), (0, 3), (0, 3)), mode="edge")
    with torch.no_grad():
        expected = tiny(torch.from_numpy(padded))[:, :, :6, :4]
        assert torch.equal(tiny(lightness), expected)


def test_photos_of_a_batch_do_not_touch_each_other(tiny):
    lightness = some_lightness(3)
    with torch.no_grad():
        together = tiny(lightness)
        alone = torch.cat([tiny(photo[None]) for photo in lightness])
    assert torch.allclose(together, alone, atol=1e-5)


# ---- targets and loss ------------------------------------------------------------------------


def block_means(ab):
    n, c, h, w = ab.shape
    return ab.numpy().reshape(n, c, h // 4, 4, w // 4, 4).mean(axis=(3, 5))


def test_output_stride_is_that_of_the_network(tiny):
    assert OUTPUT_STRIDE == 4
    assert tiny(some_lightness(1, 64, 64)).shape[-2:] == (64 // OUTPUT_STRIDE,) * 2


def test_hard_targets_are_the_cells_of_the_averages():
    net = Zhang(width=TINY, targets="hard")
    ab = torch.rand(2, 2, 16, 24) * 180 - 90
    indices, weights = net.target(ab, some_lightness(2, 16, 24))
    expected = net.grid.encode(torch.from_numpy(block_means(ab)))
    assert torch.equal(indices[:, 0], expected)
    assert not torch.equal(indices[:, 0], net.grid.encode(ab[:, :, ::4, ::4]))
    assert indices.shape == weights.shape == (2, 1, 4, 6)
    assert (weights == 1).all()


def test_soft_targets_are_those_of_the_averages(tiny):
    ab = torch.rand(2, 2, 16, 24) * 180 - 90
    indices, weights = tiny.target(ab, some_lightness(2, 16, 24))
    expected = tiny.grid.soft_encode(torch.from_numpy(block_means(ab)))
    assert indices.shape == (2, 5, 4, 6)
    assert torch.equal(indices[:, 0], expected[0][:, 0])
    assert torch.allclose(weights, expected[1], atol=1e-4)


def test_averages_of_opposite_colours_are_neutral(tiny):
    checkers = torch.ones(1, 2, 8, 8)
    checkers[:, :, ::2, ::2] = checkers[:, :, 1::2, 1::2] = -1
    indices, weights = tiny.target(60 * checkers, some_lightness(1, 8, 8))
    back = (tiny.grid.centers[indices[0, :, 0, 0]] * weights[0, :, 0, 0, None]).sum(dim=0)
    assert back.norm() < 0.5


def test_losses_by_name(tiny):
    tiny.set_priors(tiny.prior, tiny.cell_means, torch.linspace(0.2, 4, 324))
    lightness, ab = some_lightness(2), torch.rand(2, 2, 32, 32) * 60 - 30
    logits, target = tiny(lightness), tiny.target(ab, lightness)
    losses = tiny.loss(logits, target)
    total, plain = rebalanced_cross_entropy(logits, *target, tiny.class_weights)
    assert set(losses) == {"total", "cross_entropy", "top1"}
    assert torch.equal(losses["total"], total)
    assert torch.equal(losses["cross_entropy"], plain)
    assert losses["total"].requires_grad
    assert not losses["cross_entropy"].requires_grad
    right = logits.argmax(dim=1).numpy() == target[0][:, 0].numpy()
    assert losses["top1"].item() == pytest.approx(right.mean())


# ---- answers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decode", "temperature", "shift"),
    [
        (DecodeSettings(), 0.38, 1),
        (DecodeSettings(method="argmax"), 0.0, 1),
        (DecodeSettings(method="mean", colors="centers"), 1.0, 0),
    ],
)
def test_predicted_ab_is_the_decoded_distribution(tiny, decode, temperature, shift):
    tiny.set_priors(tiny.prior, tiny.grid.centers + 1, tiny.class_weights)
    lightness = some_lightness()
    with torch.no_grad():
        expected = decode_logits(tiny(lightness), tiny.grid.centers + shift, temperature)
        assert torch.equal(tiny.predict_ab(lightness, decode), expected)
        distribution = tiny.distribution(lightness)
    options = {"method": decode.method, "colors": decode.colors}
    if decode.method == "annealed":
        options["temperature"] = decode.temperature
    assert torch.equal(distribution.decode(**options), expected)


@pytest.mark.parametrize("rebalance", [0.0, 1.0, 2.5])
def test_rebalancing_in_decoding_is_a_power_of_the_weights(tiny, rebalance):
    """A loop over pixels: p times w to the power, less the one that training has put in."""
    weights = torch.rand(324) + 0.5
    tiny.set_priors(tiny.prior, tiny.grid.centers, weights)
    lightness = some_lightness(1, 9, 17)
    with torch.no_grad():
        p = tiny(lightness).softmax(dim=1)[0].double().numpy()
        got = tiny.predict_ab(lightness, DecodeSettings(temperature=1.0, rebalance=rebalance))
        distribution = tiny.distribution(lightness)
    centers, w = tiny.grid.centers.double().numpy(), weights.double().numpy()
    for y in range(p.shape[1]):
        for x in range(p.shape[2]):
            mass = p[:, y, x] * w ** (rebalance - 1)
            np.testing.assert_allclose(got[0, :, y, x], mass / mass.sum() @ centers, atol=1e-3)
    options = {"temperature": 1.0, "rebalance": rebalance}
    torch.testing.assert_close(distribution.decode(**options), got)
    if rebalance == 0:
        natural = distribution.natural().decode(temperature=1.0)
        torch.testing.assert_close(natural, got, atol=1e-3, rtol=1e-4)


def test_neutral_and_gain_shift_and_scale_what_is_decoded(tiny):
    tiny.set_priors(tiny.prior, tiny.grid.centers + 1, tiny.class_weights)
    lightness = some_lightness()
    plain = DecodeSettings(temperature=0.6)
    shifted = DecodeSettings(temperature=0.6, neutral=(-2, 5), gain=1.5)
    with torch.no_grad():
        expected = (
            tiny.predict_ab(lightness, plain) - torch.tensor([-2.0, 5.0])[:, None, None]
        ) * 1.5
        got = tiny.predict_ab(lightness, shifted)
        distribution = tiny.distribution(lightness)
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-5)
    by_hand = distribution.decode(temperature=0.6, neutral=(-2, 5), gain=1.5)
    tiny.presets["vivid"] = shifted
    with torch.no_grad():
        again = tiny.distribution(lightness)
    torch.testing.assert_close(again.decode(), got)
    torch.testing.assert_close(by_hand, got, atol=1e-3, rtol=1e-5)


def presets(decode: DecodeSettings) -> dict[str, DecodeSettings]:
    return {"vivid": decode, "accurate": DecodeSettings("argmax", 0.1)}


def test_the_distribution_decodes_as_the_vivid_preset_does():
    chosen = DecodeSettings(temperature=0.7, colors="centers")
    net = Zhang(width=TINY, presets=presets(chosen)).eval()
    with torch.no_grad():
        distribution = net.distribution(some_lightness())
    assert torch.equal(
        distribution.decode(), decode_logits(distribution.logits, net.grid.centers, 0.7)
    )


@pytest.mark.parametrize(("height", "width"), [(32, 32), (1, 30), (9, 7), (31, 18)])
def test_the_distribution_knows_the_lightness_and_the_weights(tiny, height, width):
    tiny.set_priors(tiny.prior, tiny.cell_means, torch.rand(324) + 0.5)
    lightness = some_lightness(2, height, width)
    with torch.no_grad():
        distribution = tiny.distribution(lightness)
    assert torch.equal(distribution.class_weights, tiny.class_weights)
    assert distribution.lightness.shape == distribution.logits[:, :1].shape
    for y in range(-(-height // 4)):
        for x in range(-(-width // 4)):
            block = lightness[1, 0, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].double().mean().item()
            assert distribution.lightness[1, 0, y, x].item() == pytest.approx(block, abs=1e-3)


# ---- priors ----------------------------------------------------------------------------------


def test_priors_are_buffers_of_the_checkpoint(tiny):
    prior = torch.rand(324)
    means, weights = tiny.grid.centers + 0.5, torch.rand(324) + 0.5
    tiny.set_priors(prior / prior.sum(), means, weights)
    state = tiny.state_dict()
    assert torch.equal(state["prior"], prior / prior.sum())
    assert torch.equal(state["cell_means"], means)
    assert torch.equal(state["class_weights"], weights)
    assert not {"prior", "cell_means", "class_weights"} & dict(tiny.named_parameters()).keys()


def test_before_any_priors(tiny):
    assert tiny.prior.sum().item() == pytest.approx(1, abs=1e-5)
    assert (tiny.class_weights == 1).all()
    assert torch.equal(tiny.cell_means, tiny.grid.centers)


@pytest.mark.parametrize("name", ["prior", "means", "weights"])
@pytest.mark.parametrize("fault", ["length", "nan"])
def test_bad_priors_are_refused_and_nothing_is_taken_over(tiny, name, fault):
    good = {
        "prior": torch.full((324,), 2.0),
        "means": torch.full((324, 2), 2.0),
        "weights": torch.full((324,), 2.0),
    }
    bad = good[name][:313] if fault == "length" else good[name] * float("nan")
    before = {key: value.clone() for key, value in tiny.state_dict().items()}
    words = {"length": r"must be \(324.*\) for this grid, got \(313", "nan": "NaN or infinite"}
    buffer = {"prior": "prior", "means": "cell_means", "weights": "class_weights"}[name]
    with pytest.raises(ValueError, match=f"{buffer} .*{words[fault]}"):
        tiny.set_priors(**{**good, name: bad})
    assert all(torch.equal(value, before[key]) for key, value in tiny.state_dict().items())


# ---- header ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "net",
    [
        Zhang(width=TINY),
        Zhang(AbGrid(10, -90, 100), width=0.125, targets="hard", working_size=64),
        Zhang(paper_grid(), width=TINY, presets=presets(DecodeSettings("mean", 0.2, "centers"))),
    ],
    ids=["defaults", "other grid", "free centres"],
)
def test_header_round_trip(net):
    again = Zhang.from_header(json.loads(json.dumps(net.header())))
    again.load_state_dict(net.state_dict())
    assert again.header() == net.header()
    assert again.grid == net.grid
    assert (again.width, again.targets) == (net.width, net.targets)
    assert (again.working_size, again.presets) == (net.working_size, net.presets)
    lightness = some_lightness(1, 9, 17)
    with torch.no_grad():
        assert torch.equal(again.eval()(lightness), net.eval()(lightness))


def test_a_header_may_hold_more(tiny):
    again = Zhang.from_header({**tiny.header(), "steps": 7, "sha256": "00"})
    assert again.header() == tiny.header()


@pytest.mark.parametrize("key", ["grid", "width", "targets", "working_size"])
def test_a_header_that_lacks_a_key_is_refused(tiny, key):
    header = tiny.header()
    del header[key]
    with pytest.raises(ValueError, match=f"header of a checkpoint of Zhang lacks {key}"):
        Zhang.from_header(header)


def test_an_empty_header_is_refused_with_all_that_it_lacks():
    with pytest.raises(ValueError, match="lacks grid, targets, width, working_size"):
        Zhang.from_header({})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 1 / 200}, "leaves no channels; use at least 1/64"),
        ({"width": -1.0}, "width must be above 0, got -1.0"),
        ({"width": TINY, "targets": "smooth"}, "targets must be 'soft' or 'hard', got 'smooth'"),
        ({"width": TINY, "working_size": 7}, "working_size must be at least 8, got 7"),
    ],
)
def test_senseless_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        Zhang(**options)


def test_the_narrowest_network_works():
    net = Zhang(width=1 / 64).eval()
    with torch.no_grad():
        assert net(some_lightness()).shape == (1, 324, 8, 8)


# ---- learning --------------------------------------------------------------------------------


def two_photos(side=32):
    """Two smooth scenes (n, 1, h, w), (n, 2, h, w) whose colour can be told from the lightness."""
    y, x = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    sky, grass = y < 0.5, y >= 0.5
    first = torch.where(sky, 85 - 20 * y, 35 + 10 * x)
    second = 50 + 40 * torch.sin(3 * x) * torch.cos(3 * y)
    lightness = torch.stack((first, second))[:, None]
    first_ab = torch.stack((-5.0 - 35 * grass, -40.0 * sky + 35 * grass))
    second_ab = torch.stack((30 * (x > 0.5) + 4.0, 50 * (x > 0.5) - 20.0))
    return lightness, torch.stack((first_ab, second_ab))


def test_two_photos_are_learnt_by_heart():
    net = Zhang(width=TINY, targets="hard").train()
    lightness, ab = two_photos()
    target = net.target(ab, lightness)
    optimizer = torch.optim.Adam(net.parameters(), lr=4e-3)
    for _ in range(250):
        optimizer.zero_grad()
        net.loss(net(lightness), target)["total"].backward()
        optimizer.step()
    net.eval()
    with torch.no_grad():
        losses = net.loss(net(lightness), target)
        argmax = net.predict_ab(lightness, DecodeSettings(method="argmax"))
    assert losses["top1"] > 0.98
    truth = F.avg_pool2d(ab, 4)
    # A right cell is at most half its diagonal away.
    assert ((argmax - truth).norm(dim=1) < 8.65).float().mean() > 0.98


def test_the_gradient_reaches_every_parameter():
    net = Zhang(width=0.125).train()
    lightness, ab = two_photos()
    net.loss(net(lightness), net.target(ab, lightness))["total"].backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_bfloat16_autocast_and_channels_last():
    net = Zhang(width=TINY).to(memory_format=torch.channels_last).train()
    lightness, ab = two_photos()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = net(lightness)
        losses = net.loss(logits, net.target(ab, lightness))
    losses["total"].backward()
    assert logits.dtype == torch.bfloat16
    assert losses["total"].dtype == torch.float32
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())
