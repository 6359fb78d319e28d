"""What a run asks Ray Train for."""

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray import cloudpickle
from ray.train.torch import TorchConfig
from ray.train.v2._internal.execution.controller import controller
from ray.train.v2._internal.execution.scaling_policy import NoopDecision
from ray.train.v2.api import data_parallel_trainer

from cluster.policy import WorkerShape
from cluster.runs.fixed_size import PANDAS, FixedSize
from cluster.runs.process_group import NoGroup
from cluster.runs.trainer import LEFT_OUT, make_trainer

REPLACED = ("TrainController", "create_scaling_policy", *LEFT_OUT)
"""What a run replaces in a module of Ray Train: those that have another name there make `names_of_ray` fail."""


@pytest.fixture(autouse=True)
def names_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put them back at the end."""
    for name in REPLACED:
        monkeypatch.setattr(data_parallel_trainer, name, getattr(data_parallel_trainer, name))
    monkeypatch.setattr(controller, PANDAS, getattr(controller, PANDAS))


@pytest.mark.parametrize("shape", [None, WorkerShape(1, 2, 0)], ids=["standby", "one worker"])
def test_one_worker_has_no_process_group_and_its_controller_no_torch(shape: WorkerShape | None, tmp_path: Path) -> None:
    trainer = make_trainer("run-1", driver="run-1", shape=shape, plan=None, storage=tmp_path)
    assert isinstance(trainer.backend_config, NoGroup)

    # What the process that calls `fit()` sends to the controller.
    sent = cloudpickle.dumps((trainer.train_run_context, trainer._create_default_callbacks()))
    code = (
        "import pickle, sys; pickle.load(sys.stdin.buffer); print('ray.train' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().split() == ["True", "False"]


def test_several_workers_have_one(tmp_path: Path) -> None:
    trainer = make_trainer("run-1", driver="run-1", shape=WorkerShape(2, 1, 0), plan=None, storage=tmp_path)
    assert isinstance(trainer.backend_config, TorchConfig)
    assert trainer.backend_config.backend == "gloo"
    kinds = {type(callback).__name__ for callback in trainer._create_default_callbacks()}
    assert {"ActorNames", "BackendSetupCallback", "AcceleratorSetupCallback"} <= kinds
    assert not {"PlacementGroupCleanerCallback", "DatasetsCallback"} & kinds


def test_the_size_of_a_run_is_fixed_and_its_controller_asks_for_no_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: dict[str, Any] = {}

    def keep(self: object, **given: Any) -> SimpleNamespace:
        started.update(given)
        return SimpleNamespace(error=None)

    monkeypatch.setattr(data_parallel_trainer.DataParallelTrainer, "_initialize_and_run_controller", keep)
    monkeypatch.setattr(data_parallel_trainer, "ObjectRefWrapper", lambda train_loop: None)
    make_trainer("run-1", driver="run-1", shape=WorkerShape(2, 1, 0), plan=None, storage=tmp_path).fit()

    policy = started["scaling_policy"]
    assert isinstance(policy, FixedSize)
    # Everything that a controller calls, without a cluster, in which there could be a request.
    policy.after_controller_start(started["train_run_context"])
    assert getattr(controller, PANDAS).DataFrame([{"step": 1}]) is None
    first = policy.make_decision_for_non_running_worker_group()
    assert (first.num_workers, first.resources_per_worker) == (2, {"CPU": 1})
    assert isinstance(policy.make_decision_for_running_worker_group(None, None), NoopDecision)
    asyncio.run(policy.before_controller_shutdown())
    policy.before_controller_abort()
