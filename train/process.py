"""The process of a run, before its work begins."""

import torch
from transformers import set_seed
from transformers.utils import logging as transformers_logging

from train.plan import RunPlan


def prepare_process(plan: RunPlan, seed: int) -> None:
    """Set the threads, the share of the GPU and the random numbers of this process."""
    transformers_logging.disable_progress_bar()
    torch.set_num_threads(plan.threads)
    if plan.use_cuda and plan.gpu_fraction is not None:
        torch.cuda.set_per_process_memory_fraction(plan.gpu_fraction)
    set_seed(seed)
