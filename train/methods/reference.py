"""Log-probabilities of the reference, computed ahead of training and kept in the job's folder."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ftlab.files import replacing
from train.all_ranks import barrier, highest, is_main_rank

Logps = npt.NDArray[np.float32]


def kept(file: Path, compute: Callable[[], torch.Tensor]) -> Logps:
    """The numbers in `file`; the first attempt of a job computes and writes them. Every rank calls it.

    `compute` is called on all ranks or on none, and returns the same on each.
    """
    if any(highest([int(not file.exists())])):
        logps = compute().cpu().numpy()
        if is_main_rank():
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as aside, aside.open("wb") as out:
                np.save(out, logps)
        barrier()
    found: Logps = np.load(file)
    return found
