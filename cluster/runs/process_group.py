"""What connects the workers of a run. Ray Train's controller imports this module, and not PyTorch for one worker."""

from ray.train.backend import BackendConfig


class NoGroup(BackendConfig):
    """One worker needs no collective: without a process group, nothing wraps its model for DDP."""

    def __init__(self, backend: str) -> None:
        self.backend = backend
        """`TorchTrainer` reads it of every configuration."""


def process_group(num_workers: int, *, use_gpu: bool) -> BackendConfig:
    backend = "nccl" if use_gpu else "gloo"
    if num_workers == 1:
        return NoGroup(backend)
    from ray.train.torch import TorchConfig

    return TorchConfig(backend=backend)
