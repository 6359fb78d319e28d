"""What the ranks of one run agree on; with one rank there is nothing to agree on."""

import torch.distributed as dist


def is_distributed() -> bool:
    return bool(dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def barrier() -> None:
    """Wait until every rank is here."""
    if is_distributed():
        dist.barrier()
