"""The process of a run, before its work begins."""

import torch
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from train.plan import RunPlan


def prepare_process(plan: RunPlan, seed: int | None = None) -> None:
    """Set the threads and the share of the GPU of this process and, with a `seed`, its random numbers."""
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(plan.threads)
    if plan.use_cuda and plan.gpu_fraction is not None:
        torch.cuda.set_per_process_memory_fraction(plan.gpu_fraction)
    if seed is not None:
        set_seed(seed)
