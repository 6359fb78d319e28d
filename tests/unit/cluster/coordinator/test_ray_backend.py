"""Ray's nodes as the policy sees them."""

from pathlib import Path
from typing import Any

import pytest

from cluster.coordinator import ray_backend
from cluster.coordinator.ray_backend import HEAD_RESOURCE, RayCluster
from cluster.policy import Fleet, Node
from ftlab.settings import Settings


def node(name: str, *, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "NodeManagerHostname": f"{name}.test", "Alive": alive, "Resources": resources}


def machine(name: str, *given: Any) -> Node:
    return Node(name, *given[:4], *(None,) * (4 - len(given)), name=f"{name}.test")


def head(**resources: float) -> dict[str, Any]:
    return node("head", **resources, **{HEAD_RESOURCE: 1.0})


@pytest.mark.parametrize(
    ("cpus", "nodes", "fleet"),
    [
        (4, [head(CPU=5.0)], [machine("head", 4, 0)]),
        (4, [head(CPU=3.0, GPU=2.0)], [machine("head", 3, 2)]),
        (4, [node("b", CPU=16.0, GPU=8.0), head(CPU=5.0)], [machine("b", 16, 8), machine("head", 4, 0)]),
        (4, [node("b", CPU=16.0), head()], [machine("b", 16, 0)]),
        (4, [node("b", CPU=16.0, alive=False), head(CPU=5.0)], [machine("head", 4, 0)]),
        (4, [head(CPU=5.0, memory=3e9, object_store_memory=1e9)], [machine("head", 4, 0, 4_000_000_000)]),
        (4, [head(CPU=5.0, GPU=1.0, **{"accelerator_type:H100": 1.0})], [machine("head", 4, 1, None, "H100")]),
        (4, [], []),
    ],
)
def test_machines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpus: int, nodes: list[dict[str, Any]], fleet: list[Node]
):
    monkeypatch.setattr(ray_backend.ray, "nodes", lambda: nodes)
    assert RayCluster(Settings(home=tmp_path, cpus=cpus)).fleet() == Fleet(tuple(fleet))


def test_without_the_setting_all_cores_of_the_machine_are_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(ray_backend.ray, "nodes", lambda: [head(CPU=7.0)])
    monkeypatch.setattr(ray_backend.os, "cpu_count", lambda: 6)
    assert RayCluster(Settings(home=tmp_path)).fleet() == Fleet((machine("head", 6, 0),))
