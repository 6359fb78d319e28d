"""Names of the actors that Ray Train starts for a run, as Ray's dashboard and `ray list actors` show them.

Ray Train gives its actors neither a name nor a repr. Ray asks an actor for its repr once, when it starts, so these are
subclasses that know the name of their run. The classes keep their own names, which are also the titles of the
processes.
"""

from typing import Any

from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.worker_group import worker_group
from ray.train.v2.api import data_parallel_trainer


class ActorNames(ControllerCallback):
    """Names the actors of one run: the controller before it starts, and in its process those that it starts."""

    def __init__(self, run: str) -> None:
        self._run = run

    def name_controller(self) -> None:
        """Call it in the process that calls `fit()`, which starts one run only."""
        module: Any = data_parallel_trainer
        module.TrainController = named(module.TrainController, f"{self._run} controller")

    def after_controller_start(self, train_run_context: Any) -> None:
        """Called by Ray Train in the process of the controller, before it starts another actor."""
        group: Any = worker_group.WorkerGroup
        group._worker_cls = named(group._worker_cls, f"{self._run} worker")


def named(base: type, label: str) -> type:
    """A subclass of `base` with its name, whose instances have `label` as their repr.

    It is made here and not at the top of the module, so that it is sent to the actor by value.
    """
    parts = {"__repr__": lambda self: label, "__module__": "__main__", "__doc__": base.__doc__}
    return type(base)(base.__name__, (base,), parts)
