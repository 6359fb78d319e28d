"""What the ranks of one run agree on; with one rank there is nothing to agree on."""

import torch
import torch.distributed as dist


def is_distributed() -> bool:
    return bool(dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def barrier() -> None:
    """Wait until every rank is here."""
    if is_distributed():
        dist.barrier()


def highest(values: list[int]) -> list[int]:
    """The highest of each value over all ranks. Every rank calls it with as many."""
    if not is_distributed():
        return values
    tensor = torch.tensor(values, device=_device())
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return [int(value) for value in tensor.tolist()]


def gather_digests(digest: str) -> list[str]:
    """The hexadecimal digests of all ranks, in their order."""
    if not is_distributed():
        return [digest]
    mine = torch.tensor(list(bytes.fromhex(digest)), dtype=torch.uint8, device=_device())
    gathered = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, mine)
    return [bytes(tensor.tolist()).hex() for tensor in gathered]


def _device() -> str:
    return "cuda" if dist.get_backend() == "nccl" else "cpu"
