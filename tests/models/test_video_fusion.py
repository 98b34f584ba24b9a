"""Fusion for films: the memory, clips and photographs, the header, what learns."""

import dataclasses

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from torch import nn

from zcolor.lab import rgb_to_lab
from zcolor.models.video_fusion import VideoFusion, VideoFusionOptions
from zcolor.registry import ModelEntry, load_model, save_model
from zcolor.settings import DecodeSettings
from zcolor.training.assemble import make_network
from zcolor.training.optimizers import make_optimizers
from zcolor.training.settings import TrainSettings

TINY = VideoFusionOptions(
    frames=3,
    memory=6,
    extractor="test_resnet",
    extractor_weights="random",
    extractor_classes=5,
    extractor_size=32,
)


@pytest.fixture
def row(monkeypatch):
    entry = ModelEntry("zcolor.models.video_fusion:VideoFusion", "", "")
    monkeypatch.setattr("zcolor.registry.MODELS", {"video-fusion": entry})


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = VideoFusion(options=TINY).eval()
    # At first its colours are nearly grey; made strong, differences can be told from rounding.
    nn.init.normal_(net.decoder[-3].weight, std=0.3)
    return net


def some_clips(n=1, t=3, h=16, w=24):
    return torch.rand(n, t, 1, h, w, generator=torch.Generator().manual_seed(6)) * 100


def answer(net, lightness):
    with torch.no_grad():
        return net(lightness)


# ---- the layers ------------------------------------------------------------------------------


def test_the_sizes():
    with torch.device("meta"):
        options = VideoFusionOptions(extractor_classes=1000, extractor_size=299)
        large = VideoFusion(options=options)
    assert large.fuse[0].weight.shape == (256, 256 + 1000 + 256, 1, 1)
    n_lstm = sum(p.numel() for p in large.lstm.parameters())
    assert n_lstm == 4 * (256 * 256 + 256 * 256 + 2 * 256)
    assert sum(p.numel() for p in large.extractor.parameters()) == 55_843_464
    assert large.clip_length == 8


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm(net, inputs):
    """Hochreiter and Schmidhuber's cell (with forget gates), number by number."""
    w_in, w_back, b_in, b_back = (p.detach().double().numpy() for p in net.lstm.parameters())
    state = cell = np.zeros(net.options.memory)
    states = []
    for x in inputs:
        i, f, g, o = np.split(w_in @ x + b_in + w_back @ state + b_back, 4)
        cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
        state = sigmoid(o) * np.tanh(cell)
        states.append(state)
    return np.array(states)


def test_against_one_frame_after_the_other(net):
    """The encoder, extractor and decoder frame by frame, the memory by its equations."""
    clips = some_clips(2, 3)
    expected = []
    with torch.no_grad():
        for clip in clips:
            features = [net.encoder((frame[None] - 50) / 50) for frame in clip]
            means = [f.mean(dim=(0, 2, 3)).double().numpy() for f in features]
            memory = torch.from_numpy(lstm(net, means)).float()
            for frame, feature, state in zip(clip, features, memory, strict=True):
                scene = torch.cat((net.extractor(frame[None])[0], state))
                weight, bias = net.fuse[0].weight[:, :, 0, 0], net.fuse[0].bias
                fused = torch.einsum("oc,nchw->nohw", weight[:, :256], feature)
                fused += (weight[:, 256:] @ scene + bias)[None, :, None, None]
                expected.append(net.decoder(fused.clamp(min=0)))
    assert torch.allclose(answer(net, clips), torch.cat(expected), atol=1e-4)


def test_frames_remember_the_past_and_know_no_future(net):
    clip = some_clips(1, 4)
    whole = answer(net, clip)
    other = clip.clone()
    other[:, 2] = 100 - other[:, 2]
    changed = (answer(net, other) - whole).abs().amax(dim=(1, 2, 3))
    assert changed[:2].max() < 1e-5
    assert changed[2:].min() > 1e-4  # the fourth has the same lightness as before


def test_clips_do_not_know_each_other(net):
    clips = some_clips(3, 2)
    together = answer(net, clips)
    assert together.shape == (6, 2, 16, 24)
    alone = torch.cat([answer(net, clip[None]) for clip in clips])
    assert torch.allclose(together, alone, atol=1e-5)


def test_photographs_are_clips_of_one_frame(net):
    photos = some_clips(3, 1)
    assert torch.equal(answer(net, photos), answer(net, photos[:, 0]))
    assert not torch.allclose(answer(net, photos[:, 0]), answer(net, photos.flip(0)))


def filmed(net, frames, *, cuts=(0,), looks=(lambda frame: frame,)):
    """What a network in a film answers to the looks at every frame: a list for each look."""
    film, found = net.filming(), [[] for _ in looks]
    for t, frame in enumerate(frames):
        film.begin_frame(new_scene=t in cuts)
        for answers, look in zip(found, looks, strict=True):
            answers.append(answer(film, look(frame)[None]))
    return [torch.cat(answers) for answers in found]


def test_in_a_film_the_frames_are_those_of_a_clip(net):
    clip = some_clips(1, 5)
    whole = answer(net, clip)
    (found,) = filmed(net, clip[0])
    assert torch.allclose(found, whole, atol=1e-5)
    assert not torch.allclose(found, answer(net, clip[0]), atol=1e-4)  # five photographs
    assert torch.allclose(answer(net, clip), whole, atol=1e-6)  # the network itself forgot nothing


def test_a_new_scene_begins_with_an_empty_memory(net):
    clip = some_clips(1, 5)
    (found,) = filmed(net, clip[0], cuts=(0, 2))
    scenes = [answer(net, clip[:, :2]), answer(net, clip[:, 2:])]
    assert torch.allclose(found, torch.cat(scenes), atol=1e-5)


def test_every_look_at_a_frame_has_a_memory_of_its_own(net):
    clip = some_clips(1, 4)
    straight, small = filmed(
        net, clip[0], looks=(lambda frame: frame, lambda frame: frame.flip(-1)[..., ::2, ::2])
    )
    assert torch.allclose(straight, answer(net, clip), atol=1e-5)
    assert torch.allclose(small, answer(net, clip.flip(-1)[..., ::2, ::2]), atol=1e-5)


def test_two_films_do_not_know_each_other(net):
    clip = some_clips(1, 3)
    one, other = net.filming(), net.filming()
    for frame in clip[0]:
        one.begin_frame(new_scene=False)
        last = answer(one, frame[None])
    other.begin_frame(new_scene=False)
    assert torch.allclose(answer(other, clip[0, :1]), answer(net, clip[0, :1]), atol=1e-5)
    assert torch.allclose(last, answer(net, clip)[2:], atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (9, 31)])
def test_any_size_and_any_number_of_frames_come_back(net, size):
    for t in (1, 2, 5):
        assert answer(net, some_clips(2, t, *size)).shape == (2 * t, 2, *size)
    ab = net.predict_ab(some_clips(2, 1, *size)[:, 0], DecodeSettings())
    assert ab.shape == (2, 2, *size)
    assert ab.abs().max() <= 128


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (3, 8, 8), (1, 2, 3, 8, 8), (1, 1, 1, 1, 8, 8)])
def test_other_shapes_are_refused(net, shape):
    with pytest.raises(ValueError, match=r"clips \(n, t, 1, h, w\) or photographs"):
        net(torch.zeros(shape))


def test_half_precision(net):
    clips = some_clips(1, 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        half = net(clips)
    assert (half.float() - answer(net, clips)).abs().mean() < 0.05


# ---- options and header ----------------------------------------------------------------------


def test_a_checkpoint_keeps_all(net, row, tmp_path):
    save_model(tmp_path / "net.safetensors", net, {}, half=False)
    again = load_model(tmp_path / "net.safetensors")
    assert again.options == net.options
    assert (again.clip_length, again.scale) == (3, 128)
    assert torch.allclose(answer(again, some_clips()), answer(net, some_clips()), atol=1e-5)


def test_a_new_network_asks_for_pretrained_weights(row, monkeypatch):
    loaded = []
    monkeypatch.setattr(
        "zcolor.models.extractor.Extractor.load", lambda _self, weights: loaded.append(weights)
    )
    words = ("frames=4", "extractor=test_resnet", "scale=256", "memory=2")
    settings = TrainSettings(model="video-fusion", options=words, bf16=False)
    net = make_network(None, settings, torch.device("cpu"))
    make_network(None, settings, torch.device("cpu"), begin=False)
    assert loaded == ["hub"]
    assert (net.clip_length, net.scale, net.options.memory) == (4, 256, 2)
    assert net.options.extractor_classes == 1000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["frames=1"], "frames at least 2.*there is the model fusion"),
        (["memory=0"], "memory at least 1"),
        (["scale=0"], "scale must be above 0"),
        (["extractor=nonesuch"], "timm knows no network 'nonesuch'"),
        (["extractor_weights=none.pth"], r"no weights at none\.pth"),
    ],
)
def test_options_that_make_no_sense(words, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        VideoFusion(options=VideoFusionOptions.parse(words))


# ---- learning --------------------------------------------------------------------------------


def test_it_learns_two_clips_and_the_extractor_stays():
    net = VideoFusion(options=dataclasses.replace(TINY, frames=2)).train()
    before = {name: value.clone() for name, value in net.extractor.state_dict().items()}
    photos = [skimage.data.astronaut(), skimage.data.coffee()]
    views = [p[top : top + 360, :360].copy() for p in photos for top in (0, 24)]
    rgb = torch.stack([torch.from_numpy(v).permute(2, 0, 1).float() / 255 for v in views])
    lab = rgb_to_lab(F.interpolate(rgb, (16, 16), mode="area"))
    lightness, ab = lab[:, :1].unflatten(0, (2, 2)), lab[:, 1:]
    mean = (ab - ab.mean(dim=(0, 2, 3), keepdim=True)).square().mean().sqrt().item()
    settings = TrainSettings(optimizer="adam", lr=1e-3, weight_decay=0.0)
    (optimizer,) = make_optimizers(net, settings)
    for _ in range(36):
        optimizer.zero_grad()
        losses = net.loss(net(lightness), net.target(ab, lightness))
        losses["total"].backward()
        optimizer.step()
    assert losses["rmse"].item() < 0.9 * mean  # at first it is 1.6 times that
    for name, parameter in net.named_parameters():
        frozen = name.startswith("extractor.")
        assert (parameter.grad is None) == frozen, name
        assert frozen or parameter.grad.abs().max() > 0, name
    after = net.extractor.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
