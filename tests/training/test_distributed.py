"""Batch norm over several processes."""

import pytest
import torch
from timm.layers import BatchNormAct2d
from torch import nn

from zcolor.training.distributed import synced_norms


def net_of(norm):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    net(torch.randn(8, 1, 9, 9))  # statistics of some batch
    return net.eval()


@pytest.mark.parametrize("kind", ["plain", "with an activation"])
def test_a_network_stays_what_it_computes(kind):
    """timm's norms hold the activation after them; the answers were below zero without it."""
    if kind == "plain":
        norm = nn.BatchNorm2d(4)
    else:
        norm = BatchNormAct2d(4)
    net = net_of(norm)
    seen = torch.randn(2, 1, 9, 9)
    before, names = net(seen), set(net.state_dict())
    synced = synced_norms(net).eval()
    norms = [m for m in synced.modules() if isinstance(m, nn.SyncBatchNorm)]
    assert len(norms) == 2
    assert set(synced.state_dict()) == names
    torch.testing.assert_close(synced(seen), before)
