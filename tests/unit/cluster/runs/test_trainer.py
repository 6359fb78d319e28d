"""What a run asks Ray Train for."""

import subprocess
import sys
from pathlib import Path

import pytest
from ray import cloudpickle
from ray.train.torch import TorchConfig
from ray.train.v2.api import data_parallel_trainer

from cluster.policy import WorkerShape
from cluster.runs.process_group import NoGroup
from cluster.runs.trainer import make_trainer


@pytest.fixture(autouse=True)
def controller_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back at the end: a run names the class of its controller."""
    monkeypatch.setattr(data_parallel_trainer, "TrainController", data_parallel_trainer.TrainController)


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
