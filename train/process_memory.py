"""Peak memory of this process: its resident memory on a CPU, and PyTorch's on a GPU."""

from contextlib import suppress
from pathlib import Path

import torch

_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def reset_process_peak() -> None:
    """Begin a new peak of the resident memory. Raise `OSError` where the system does not allow it."""
    _CLEAR_REFS.write_text(_RESET_PEAK, "ascii")


def status_bytes(name: str) -> int:
    """A line of the process's status, such as `VmRSS`, its resident memory, or `VmHWM`, the peak of it."""
    lines = _STATUS.read_text("ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def begin_peak(*, use_cuda: bool) -> None:
    """Forget the peak so far, where the system can."""
    if use_cuda:
        torch.cuda.reset_peak_memory_stats()
    else:
        with suppress(OSError):
            reset_process_peak()


def peak_bytes(*, use_cuda: bool) -> int | None:
    """The peak since `begin_peak`; `None` where the system does not say it."""
    if use_cuda:
        return int(torch.cuda.max_memory_reserved())
    try:
        return status_bytes("VmHWM")
    except (OSError, StopIteration):
        return None
