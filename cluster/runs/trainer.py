"""Build a `TorchTrainer` from the shape of a run."""

from pathlib import Path
from typing import Any

from ray import train as ray_train
from ray.train.v2.api import data_parallel_trainer
from ray.train.v2.torch.torch_trainer import TorchTrainer  # `ray.train.torch` imports PyTorch

from cluster.policy import WorkerShape, node_labels
from cluster.runs.actor_names import ActorNames
from cluster.runs.fixed_size import FixedSize
from cluster.runs.process_group import process_group
from cluster.runs.worker import train_loop
from train.plan import RunPlan

STANDBY_CPUS = 0.01
"""Ray's logical CPUs that a standby run holds while it waits."""
LEFT_OUT = ("DatasetsCallback", "PlacementGroupCleanerCallback")
"""Callbacks that start a process for each run: one of Ray Data, which our runs never use, and one that releases the
placement group of a controller that was killed, as the service does for all runs (`cluster.runs.placement_groups`).
"""


class _NoCallback:
    """Replaces a callback that is left out: the one of Ray Data imports it when it is made."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass


class _RunTrainer(TorchTrainer):
    """A `TorchTrainer` whose actors have names, and whose size does not change."""

    def fit(self) -> Any:
        module: Any = data_parallel_trainer
        module.create_scaling_policy = FixedSize
        return super().fit()

    def _create_default_callbacks(self) -> list[Any]:
        module: Any = data_parallel_trainer
        for name in LEFT_OUT:
            setattr(module, name, _NoCallback)
        names = ActorNames(str(self.run_config.name))
        names.name_controller()
        defaults = super()._create_default_callbacks()
        return [names, *(callback for callback in defaults if not isinstance(callback, _NoCallback))]


def make_trainer(
    name: str, *, driver: str, shape: WorkerShape | None, plan: RunPlan | None, storage: Path
) -> TorchTrainer:
    """The trainer of one attempt, or of a standby run when `shape` and `plan` are `None`.

    `name` is new for every attempt: Ray Train's own bookkeeping is never restored from (docs/adr/0002).
    """
    per_worker: dict[str, float] = {"CPU": STANDBY_CPUS}
    use_gpu = False
    if shape is not None:
        use_gpu = shape.gpus_per_worker > 0
        per_worker = {"CPU": shape.cpus_per_worker}
        if use_gpu:
            per_worker["GPU"] = shape.gpus_per_worker
    return _RunTrainer(
        train_loop,
        train_loop_config={"driver": driver, "plan": plan},
        scaling_config=ray_train.ScalingConfig(
            num_workers=shape.num_workers if shape else 1,
            use_gpu=use_gpu,
            resources_per_worker=per_worker,
            label_selector=node_labels(shape) if shape else None,
        ),
        torch_config=process_group(shape.num_workers if shape else 1, use_gpu=use_gpu),
        run_config=ray_train.RunConfig(
            name=name,
            storage_path=str(storage),
            # Every new try is an attempt of ours, also when a machine was taken away.
            failure_config=ray_train.FailureConfig(max_failures=0, max_preemption_failures=0),
        ),
    )
