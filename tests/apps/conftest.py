"""A small network for the doors, and photographs to bring to them."""

import logging

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from zcolor.models.zhang import Zhang
from zcolor.registry import save_model


@pytest.fixture(autouse=True)
def _logging_as_before():
    """Undo what `main` sets for its process."""
    logger = logging.getLogger("zcolor")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """A checkpoint with random weights whose colours differ over a picture."""
    torch.manual_seed(1)
    net = Zhang(width=1 / 16, working_size=32)
    nn.init.normal_(net.classifier.weight, std=300.0)
    # Weights that differ, so that presets with another power of them do too.
    net.set_priors(net.prior, net.cell_means, torch.linspace(0.1, 3.0, net.grid.n_bins))
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_model(path, net, {"provenance": {"data_hash": "of photos", "steps": 7}})
    return path


@pytest.fixture
def album(tmp_path):
    """A folder tree of pictures, with a note and an earlier result among them."""
    folder = tmp_path / "album"
    (folder / "1950" / "summer").mkdir(parents=True)
    grey = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8) * 2
    Image.fromarray(grey).save(folder / "a.jpg")
    Image.fromarray(grey[::-1]).save(folder / "1950" / "b.PNG")
    Image.fromarray(grey[:, ::-1]).save(folder / "1950" / "summer" / "c.pgm")
    Image.fromarray(grey).save(folder / "a-color.jpg")
    (folder / "notes.txt").write_text("no picture")
    return folder
