"""One process or many: what `torchrun` started, behind one small interface."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.distributed_c10d import PrefixStore, Store
from torch.nn.modules.batchnorm import _BatchNorm

from zcolor.models.base import ColorNet
from zcolor.registry import pick_device

_PLAIN_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


@dataclass(frozen=True)
class Crew:
    """The processes that train together.

    Attributes
    ----------
    rank, size
        Which process this is, of how many.
    device
        Where it computes.
    """

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """True in the one process that validates, logs and writes files."""
        return self.rank == 0

    def wrap(self, net: ColorNet) -> nn.Module:
        """Make gradients be averaged over the processes.

        On CUDA batch norm sees the whole batch (SyncBatchNorm); on the CPU, which has no such
        kernel, each process normalises with its own part.
        """
        if self.size == 1:
            return net
        if self.device.type == "cuda":
            synced = synced_norms(net)
            return nn.parallel.DistributedDataParallel(synced, device_ids=[self.device.index])
        return nn.parallel.DistributedDataParallel(net)

    def gradients(self, net: nn.Module, *, exchanged: bool) -> AbstractContextManager[None]:
        """Exchange gradients in the backward pass of a batch's last part alone."""
        if isinstance(net, nn.parallel.DistributedDataParallel) and not exchanged:
            held: AbstractContextManager[None] = net.no_sync()
            return held
        return nullcontext()

    def any(self, *, flag: bool) -> bool:
        """Tell every process whether the flag is set in any of them."""
        if self.size == 1:
            return flag
        flags = torch.tensor([float(flag)], device=self.device)
        dist.all_reduce(flags, op=dist.ReduceOp.MAX)
        return bool(flags.item())

    def share(self, value: float) -> float:
        """Give every process the value of the leading one."""
        if self.size == 1:
            return value
        values = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(values, src=0)
        return float(values.item())

    def close(self) -> None:
        """Leave the group."""
        if self.size > 1:
            dist.destroy_process_group()


def synced_norms(net: nn.Module) -> nn.Module:
    """Put SyncBatchNorm in the place of every batch norm; all else stays what it computes.

    Norms of timm hold the activation that follows them, which torch's own conversion would drop.
    """
    norms = [m for m in net.modules() if isinstance(m, _BatchNorm)]
    if all(type(norm) in _PLAIN_NORMS for norm in norms):
        return nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-any-return]
    from timm.layers import norm_act

    converted: nn.Module = norm_act.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
    return converted


def join_crew(device: str) -> Crew:
    """Join the processes that `torchrun` started, or stand alone.

    Parameters
    ----------
    device
        `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.

    Raises
    ------
    ValueError
        If the device is not there.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    chosen = pick_device(device)
    if size > 1:
        if chosen.type == "cuda":
            chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(chosen)
        backend = "nccl" if chosen.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=_store_of_this_start(), rank=rank, world_size=size)
    return Crew(rank, size, chosen)


def _store_of_this_start() -> Store | None:
    """Give the processes a place of their own to find each other, after each restart.

    `torchrun` keeps one store for all of them, in which the addresses of the dead remain: those
    that start next would wait for them (torch 2.13, `DynamicRendezvousHandler.next_rendezvous`).
    Between machines the number of restarts differs, so that there torch's own way is left as it is;
    TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 makes it a new store each time.
    """
    environment = os.environ
    one_machine = environment.get("GROUP_WORLD_SIZE") == "1"
    if not one_machine or environment.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    address, port = environment["MASTER_ADDR"], int(environment["MASTER_PORT"])
    restarts = environment["TORCHELASTIC_RESTART_COUNT"]
    # Documented, and left out of torch's __all__.
    store = dist.TCPStore(address, port, is_master=False)  # type: ignore[attr-defined]
    return PrefixStore(f"start-{restarts}", store)
