"""The devices of this run, and the config with all that follows from them."""

from dataclasses import replace

import torch
from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel
from transformers.utils import is_flash_attn_2_available

from ftlab.schemas import GrpoMethod, NoticePayload
from ftlab.schemas.events import DEVICE_SETTINGS
from train.all_ranks import highest, is_main_rank, num_ranks
from train.device_defaults import DeviceTraits, device_defaults, has_fast_bfloat16
from train.estimate.sharding import Sharding, sharding_in_force, with_sharding
from train.loop.memory_probe import longest_rows
from train.loop.run_context import RunContext
from train.model.base_model import BaseModel
from train.model.folder import facts_of
from train.model.load import load_model
from train.model.preflight import check_sharding_of_adapter
from train.plan import RunPlan, TrainingPlan


def traits_of(plan: RunPlan) -> DeviceTraits:
    """What the devices of a run can do; where its GPUs differ, what the least of them can. Every rank calls it."""
    if not plan.use_cuda:
        return DeviceTraits(use_cuda=False, has_fast_bfloat16=has_fast_bfloat16())
    major, minor = torch.cuda.get_device_capability()
    has_flash = is_flash_attn_2_available()
    # The highest of the negative values is the lowest one.
    negative, lacks_flash = highest([-(100 * major + minor), int(not has_flash)])
    return DeviceTraits(use_cuda=True, capability=divmod(-negative, 100), has_flash_attention=not lacks_flash)


def with_sharding_in_force(
    run: RunContext, traits: DeviceTraits, base: BaseModel, train_sets: list[Dataset]
) -> RunContext:
    """A copy of the run whose config says whether the weights are divided. Every rank calls it.

    Raises what `train.model.preflight.check_sharding_of_adapter` raises.
    """
    plan = run.plan
    if base.adapter is not None:
        check_sharding_of_adapter(plan.config)
    sharding: Sharding = "none"
    if plan.config.resources.num_workers > 1:
        shape, longest = facts_of(base.folder).shape, _longest(plan, train_sets)
        sharding = sharding_in_force(plan.config, shape, longest, traits, _gpu_memory(plan))
    return replace(run, plan=replace(plan, config=with_sharding(plan.config, sharding)))


def load_on_devices(run: RunContext, traits: DeviceTraits, base: BaseModel) -> PreTrainedModel | PeftModel:
    """Load the base model for the devices, and report what was chosen for them.

    Raises what `train.model.load.load_model` raises.
    """
    config = run.plan.config
    found = device_defaults(config, traits)
    model = load_model(base, config, use_cuda=traits.use_cuda, attention=found.attention)
    is_sharded = config.resources.sharding == "fsdp"
    if is_main_rank() and (traits.use_cuda or is_sharded):
        message = found.describe(traits, model.config._attn_implementation)
        if is_sharded:
            message += f" The weights are divided among the {num_ranks()} workers (fsdp)."
        run.link.emit(NoticePayload(code=DEVICE_SETTINGS, message=message))
    return model


def _longest(plan: TrainingPlan, train_sets: list[Dataset]) -> int:
    """Tokens of the longest row."""
    if isinstance(plan.config.method, GrpoMethod):
        return plan.config.method.max_length
    return max(longest_rows(rows, 1)[1] for rows in train_sets)


def _gpu_memory(plan: TrainingPlan) -> tuple[int, int] | None:
    """Bytes of the smallest GPU of all ranks, twice; `None` without GPUs."""
    if not plan.use_cuda:
        return None
    [negative] = highest([-torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory])
    least = round(-negative * (plan.gpu_fraction or 1.0))
    return least, least
