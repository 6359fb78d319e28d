"""Log-probabilities of the reference, computed ahead of training and kept in the job's folder."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from accelerate.utils import send_to_device

from ftlab.files import replacing
from train.all_ranks import add_up, barrier, highest, is_main_rank
from train.loop.evaluation import Batch, RankBatches, eval_loader
from train.loop.exact_resume import ExactResume

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


def logps_of(
    trainer: ExactResume,
    rows: Any,
    collate: Callable[[list[Any]], Batch],
    measure: Callable[[Batch], torch.Tensor],
    after_pass: Callable[[], None],
    shape: tuple[int, ...] = (),
) -> torch.Tensor:
    """What `measure` gives each of `rows`, float32 (rows x `shape`). Every rank calls it, and the ranks share the work.

    `measure` takes a batch of `collate`, and returns the numbers of its rows (rows x `shape`). `after_pass` is called
    equally often on every rank.
    """
    args = trainer.args
    batches = RankBatches(len(rows), args.per_device_train_batch_size, args.process_index, args.world_size)
    logps = torch.zeros(len(rows), *shape, device=args.device)
    passes = zip(batches, eval_loader(rows, batches, collate), strict=True)
    for _ in range(batches.num_passes):
        for places, batch in islice(passes, 1):  # a rank may have one pass less
            with torch.no_grad(), trainer.accelerator.autocast():
                found = measure(send_to_device(batch, args.device))
            logps[places] = found.float()
        after_pass()
    return add_up(logps)
