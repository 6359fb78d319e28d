"""The actors of a run bear its name."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from ray import cloudpickle
from ray.train.v2._internal.execution.worker_group import worker_group
from ray.train.v2.api import data_parallel_trainer

from cluster.runs.actor_names import ActorNames, named


class Base:
    def answer(self) -> int:
        return 42


def test_a_named_class_is_sent_by_value_and_keeps_its_own_name():
    """Ray names the processes of an actor after its class."""
    sent = cloudpickle.dumps(named(SimpleNamespace, "run-job-1-1 worker"))
    code = "import pickle, sys; kind = pickle.load(sys.stdin.buffer); print(kind.__name__, repr(kind(rank=3)))"
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "SimpleNamespace run-job-1-1 worker"
    assert named(Base, "x")().answer() == 42


def test_all_actors_that_ray_train_starts_for_a_run_get_its_name(monkeypatch: pytest.MonkeyPatch):
    places = (
        (data_parallel_trainer, "TrainController", "run-1 controller"),
        (worker_group.WorkerGroup, "_worker_cls", "run-1 worker"),
    )
    before = [getattr(place, name) for place, name, _ in places]
    for (place, name, _), kind in zip(places, before, strict=True):
        monkeypatch.setattr(place, name, kind)  # put back at the end

    names = ActorNames("run-1")
    names.name_controller()
    names.after_controller_start(None)

    for (place, name, label), kind in zip(places, before, strict=True):
        now = getattr(place, name)
        assert (now.__name__, now.__bases__) == (kind.__name__, (kind,))
        assert repr(now.__new__(now)) == label
