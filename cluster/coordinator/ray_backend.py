"""Interface that the coordinator needs from a cluster, and its implementation on Ray."""

import os
from collections.abc import Collection, Iterable
from functools import cache
from typing import Any, Protocol

import ray
from ray.util.placement_group import PlacementGroup, remove_placement_group

from cluster.coordinator.gpu_holds import GpuHolds
from cluster.data.client import PrepareCalls
from cluster.data.requests import DataRequest, WorkState
from cluster.machine.cpu_priority import python_for_training
from cluster.named_actor import ActorUnreachableError, NamedActor
from cluster.names import HEAD_RESOURCE, NAMESPACE, ON_HEAD, RUN_PREFIX, STANDBY_PREFIX, node_names
from cluster.policy import Fleet, Node, Spot, WorkerShape
from ftlab.settings import Settings
from train.plan import RunPlan, StopKind

CALL_TIMEOUT_S = 10.0
GPU_TYPE = "accelerator_type:"
"""Prefix of the resource that names the type of a machine's GPUs."""


class DriverLostError(Exception):
    """The run driver has ended, or does not answer."""


class Cluster(Protocol):
    """Starts, finds and ends run drivers. Every call may take a moment; none is made inside a transaction."""

    def session(self) -> str:
        """Id of this life of the cluster; drivers never outlive it."""

    def fleet(self) -> Fleet:
        """The machines, with the devices they give to training."""

    def drivers(self) -> set[str]:
        """Names of the live run drivers, including standby ones."""

    def launch(self, name: str, shape: WorkerShape | None, plan: RunPlan | None) -> None:
        """Start a run driver; without shape and plan, a standby one."""

    def state(self, name: str) -> str:
        """`starting`, `ready`, `taken` or `ended`. Raises `DriverLostError`."""

    def assign(self, name: str, plan: RunPlan, shape: WorkerShape) -> bool:
        """Hand a standby driver its attempt. Raises `DriverLostError`."""

    def request_stop(self, name: str, kind: StopKind) -> bool:
        """Ask for a stop with a last checkpoint; `False` when there is nothing to save. Raises `DriverLostError`."""

    def end(self, name: str) -> None:
        """End a driver and all processes of its run at once."""

    def release(self, placement_groups: Iterable[str]) -> None:
        """Release placement groups that may have outlived their run."""

    def set_aside(self, gpus: Collection[Spot], in_use: Collection[Spot]) -> None:
        """Have Ray give these GPUs to no run, and release all others that were set aside. Returns at once.

        Those `in_use` by a run are set aside by a later call, once the run has released them.
        """

    def prepare(self, request: DataRequest) -> WorkState | None:
        """Have the data worker prepare a job's data, and report how far it is; `None` when it does not answer."""


class RayCluster:
    """A `Cluster` of detached named Ray actors."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._prepare_calls = PrepareCalls()
        self._gpu_holds = GpuHolds()

    def session(self) -> str:
        return str(ray.get_runtime_context().get_session_name())

    def fleet(self) -> Fleet:
        alive = [node for node in ray.nodes() if node["Alive"]]
        names = node_names(alive)
        nodes = [self._node(node, names[node["NodeID"]]) for node in alive]
        # A machine without cores, like the head of a cluster that trains elsewhere, takes no worker.
        return Fleet(tuple(sorted((node for node in nodes if node.cpus), key=lambda node: node.id)))

    def drivers(self) -> set[str]:
        named = ray.util.list_named_actors(all_namespaces=True)
        return {
            actor["name"]
            for actor in named
            if actor["namespace"] == NAMESPACE and actor["name"].startswith((RUN_PREFIX, STANDBY_PREFIX))
        }

    def launch(self, name: str, shape: WorkerShape | None, plan: RunPlan | None) -> None:
        # A standby run may get a job of either kind.
        on_cpu = not (shape.gpus_per_worker if shape else any(node.gpus for node in self.fleet().nodes))
        (
            _driver_class()
            .options(
                name=name,
                namespace=NAMESPACE,
                lifetime="detached",
                num_cpus=0,
                resources=ON_HEAD,
                max_restarts=0,
                max_concurrency=64,
                # Inherited by every process of the run.
                runtime_env={"py_executable": python_for_training(on_cpu=on_cpu)},
            )
            .remote(name, shape, plan)
        )

    def state(self, name: str) -> str:
        return str(self._call(name, "state"))

    def assign(self, name: str, plan: RunPlan, shape: WorkerShape) -> bool:
        return bool(self._call(name, "assign", plan, shape))

    def request_stop(self, name: str, kind: StopKind) -> bool:
        return bool(self._call(name, "request_stop", kind))

    def end(self, name: str) -> None:
        NamedActor(name).end()

    def release(self, placement_groups: Iterable[str]) -> None:
        for group in placement_groups:
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(group))))

    def set_aside(self, gpus: Collection[Spot], in_use: Collection[Spot]) -> None:
        self._gpu_holds.hold(gpus, in_use)

    def prepare(self, request: DataRequest) -> WorkState | None:
        return self._prepare_calls.ask(request)

    def _node(self, node: dict[str, Any], name: str) -> Node:
        """One of Ray's nodes. On the head, Ray counts one core more than training may use (see the supervisor)."""
        resources = node["Resources"]
        cpus = int(resources.get("CPU", 0))
        if HEAD_RESOURCE in resources:
            cpus = min(cpus, self._settings.cpus or os.cpu_count() or 1)
        # Ray divides the memory that is available at its start between tasks and its object store.
        memory = int(resources.get("memory", 0) + resources.get("object_store_memory", 0))
        gpu_types = [name.removeprefix(GPU_TYPE) for name in resources if name.startswith(GPU_TYPE)]
        gpus = int(resources.get("GPU", 0))
        return Node(node["NodeID"], cpus, gpus, memory or None, gpu_types[0] if gpus and gpu_types else None, name)

    def _call(self, name: str, method: str, *arguments: Any) -> Any:
        try:
            return NamedActor(name).call(method, *arguments, timeout_s=CALL_TIMEOUT_S)
        except ActorUnreachableError as error:
            raise DriverLostError(str(error)) from error


@cache
def _driver_class() -> Any:
    """The class of all run drivers: Ray keeps each one that it is given, here and in its head."""
    from cluster.runs.driver import StartedRunDriver

    return ray.remote(StartedRunDriver)
