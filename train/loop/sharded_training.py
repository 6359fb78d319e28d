"""A model whose weights are divided among the workers (FSDP2), with the checkpoints of one that is not.

transformers leaves a model alone that "owns its placement", as one that it sharded itself while loading; this mixin
takes that seam. Accelerate's own FSDP does not run on CPUs, and can leave the output layer divided where TRL multiplies
with it directly, which then trains on the gradients of one worker (docs/adr/0008).

- The model is whole until training begins: adapters, checks and the weights of a checkpoint come first.
- A checkpoint has the whole weights and the whole optimizer state, in the format of a run with one worker.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.utils.constants import EMBEDDING_LAYER_NAMES
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers import Trainer
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME

from ftlab.errors import InvalidRequestError
from train.all_ranks import is_main_rank

State = dict[str, Any]


class ShardedTraining(Trainer):
    """Divides the model among the workers where `is_sharded` is set. Every rank calls every method."""

    is_sharded = False
    """To be set before the constructor of transformers' trainer runs."""

    def _move_model_to_device(self, model: Any, device: torch.device) -> None:
        if not self.is_sharded:
            super()._move_model_to_device(model, device)

    def _prepare_for_training(self, *args: Any) -> tuple[Any, Any]:
        if self.is_sharded:
            self.is_distributed_loading_by_transformers = True
            shard(self.model, self.args.device.type, is_bf16=self.args.bf16)
        prepared: tuple[Any, Any] = super()._prepare_for_training(*args)
        return prepared

    def _defer_fsdp_gradient_reduction(self) -> AbstractContextManager[None]:
        """Average the gradients of every pass: until then, each rank would hold whole ones."""
        return nullcontext()

    def _save(self, output_dir: str | None = None, state_dict: State | None = None) -> None:
        if self.is_sharded:
            state_dict = whole_weights(self.model)
            if not self.args.should_save:
                return
        super()._save(output_dir, state_dict)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_sharded:
            super()._save_optimizer_and_scheduler(output_dir)
            return
        state = whole_optimizer_state(self.optimizer.state_dict())
        if self.args.should_save:
            torch.save(state, Path(output_dir) / OPTIMIZER_NAME)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / SCHEDULER_NAME)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.is_sharded or checkpoint is None:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        state = torch.load(Path(checkpoint) / OPTIMIZER_NAME, map_location="cpu", mmap=True, weights_only=True)
        self.optimizer.load_state_dict(sharded_optimizer_state(state, self.optimizer.param_groups))
        self.lr_scheduler.load_state_dict(torch.load(Path(checkpoint) / SCHEDULER_NAME, weights_only=True))


def shard(model: torch.nn.Module, device_type: str, *, is_bf16: bool) -> None:
    """Divide the weights of the model among all ranks, in place: each block is a group, and the rest is another.

    The rest, with the embedding and the output layer, is whole from the beginning of a forward pass to the end of the
    backward pass: TRL and the label smoothing multiply with the weights of the output layer outside of its module.
    With `is_bf16` the weights are gathered as bfloat16, and their gradients are averaged in float32. Raise
    `InvalidRequestError` (`invalid_config`) for a model without blocks.
    """
    mesh = init_device_mesh(device_type, (torch.distributed.get_world_size(),))
    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if is_bf16 else MixedPrecisionPolicy()
    blocks = blocks_of(model)
    if not blocks:
        raise InvalidRequestError(
            f"The weights of this model ({type(model).__name__}) cannot be divided, because transformers does not name "
            "its blocks. Set resources.sharding to 'none'.",
            "invalid_config",
            "resources.sharding",
        )
    for block in reversed(blocks):  # inner ones first
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)


def blocks_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The blocks of a transformers model, below an adapter too."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def reshard(model: torch.nn.Module) -> None:
    """Free the whole weights that a forward pass without a backward pass leaves."""
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def local(weight: torch.Tensor) -> torch.Tensor:
    """The part of a weight that this rank holds."""
    return weight.to_local() if isinstance(weight, DTensor) else weight


def whole_weights(model: torch.nn.Module) -> State:
    """The state of the model with whole weights, on the CPU of rank 0; the others get `None` for each.

    Of a model with an adapter, it has only what a checkpoint keeps. Every rank calls it.
    """
    kept = (lambda name, weight: True) if not isinstance(model, PeftModel) else _kept_by_adapter(model)
    whole: State = {}
    names: dict[torch.Tensor, str] = {}
    for name, weight in model.state_dict(keep_vars=True).items():
        if kept(name, weight):
            first = names.setdefault(weight, name)  # tied weights stay one
            whole[name] = whole[first] if first in whole else _whole(weight.detach())
    return whole


def _kept_by_adapter(model: PeftModel) -> Callable[[str, torch.Tensor], bool]:
    """Whether a checkpoint of an adapter has a weight: the trained ones, and embeddings that have an adapter."""
    targets = set(EMBEDDING_LAYER_NAMES) & set(model.active_peft_config.target_modules)
    return lambda name, weight: weight.requires_grad or any(f".{target}." in name for target in targets)


def whole_optimizer_state(state: State) -> State:
    """The state of an optimizer of divided weights, as that of whole ones, on the CPU of rank 0; the others get `None`
    for each value. Every rank calls it.
    """
    values = {
        number: {name: _whole(value) for name, value in entries.items()} for number, entries in state["state"].items()
    }
    return state | {"state": values}


def sharded_optimizer_state(state: State, groups: list[dict[str, Any]]) -> State:
    """The part of a whole state that belongs to the divided weights of this rank."""
    weights = dict(enumerate(weight for group in groups for weight in group["params"]))
    values = {
        number: {name: _like(weights[number], value) for name, value in entries.items()}
        for number, entries in state["state"].items()
    }
    return state | {"state": values}


def _whole(value: Any) -> Any:
    value = value.full_tensor() if isinstance(value, DTensor) else value
    if not is_main_rank():
        return None
    return value.cpu() if torch.is_tensor(value) else value


def _like(weight: torch.Tensor, value: Any) -> Any:
    if not isinstance(weight, DTensor) or not torch.is_tensor(value) or value.shape != weight.shape:
        return value
    part = distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements, src_data_rank=None)
    return part.clone()  # a view would keep the whole value in memory
