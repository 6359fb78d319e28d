"""The ranks of one run: their number, and the values that they agree on."""

import os

import torch
import torch.distributed as dist


def num_ranks() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main_rank() -> bool:
    """Whether this process is the one that commits, delivers and reports."""
    return int(os.environ.get("RANK", "0")) == 0


def barrier() -> None:
    """Wait for every rank."""
    if _is_distributed():
        dist.barrier()


def highest(values: list[int]) -> list[int]:
    """Highest of each value over all ranks. Every rank passes the same number of values."""
    if not _is_distributed():
        return values
    tensor = torch.tensor(values, device=_device())
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return [int(value) for value in tensor.tolist()]


def add_up(values: torch.Tensor) -> torch.Tensor:
    """Sum of `values` over all ranks, equal on each of them."""
    if not _is_distributed():
        return values
    total = values.to(_device(), copy=True)
    dist.all_reduce(total)
    return total.to(values.device)


def largest(values: torch.Tensor) -> torch.Tensor:
    """Largest of each of `values` over all ranks, equal on each of them."""
    if not _is_distributed():
        return values
    found = values.to(_device(), copy=True)
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return found.to(values.device)


def gather_digests(digest: str) -> list[str]:
    """Hexadecimal digests of all ranks, in rank order."""
    if not _is_distributed():
        return [digest]
    mine = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8, device=_device())
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, mine)
    return [bytes(tensor.tolist()).hex() for tensor in gathered]


def _is_distributed() -> bool:
    return bool(dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
