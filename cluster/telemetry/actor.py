"""The telemetry actor on the head's machine, and the sampler actor of every other machine."""

import logging
import os
from collections.abc import Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.named_actor import start_actor
from cluster.names import TELEMETRY
from cluster.telemetry.collector import Collector
from cluster.telemetry.sampler import Sampler, find_gpu_reader
from cluster.telemetry.samples import NodeSamples, Sample, WatchedAttempts
from ftlab.settings import load_settings
from tracking.store import Store

TAKE_TIMEOUT_S = 5.0
NICENESS = 5
"""Training and the API come first."""

logger = logging.getLogger(__name__)


class RaySamplers:
    """The `NodeSamplers` of a Ray cluster: this process samples its own machine, an actor each other one."""

    def __init__(self) -> None:
        self._here = str(ray.get_runtime_context().get_node_id())
        self._own = Sampler(find_gpu_reader())
        self._own.start()
        self._actors: dict[str, Any] = {}

    def collect(self, watched: Mapping[str, WatchedAttempts]) -> list[NodeSamples]:
        names = node_names([node for node in ray.nodes() if node["Alive"]])
        self._actors = {node: actor for node, actor in self._actors.items() if node in names}
        calls = {
            node: self._actor_on(node, name).take.remote(watched.get(node, {}))
            for node, name in names.items()
            if node != self._here
        }
        ray.wait(list(calls.values()), num_returns=len(calls), timeout=TAKE_TIMEOUT_S) if calls else None
        found = [NodeSamples(node, names[node], self._answer(node, call)) for node, call in calls.items()]
        if self._here in names:
            found.append(NodeSamples(self._here, names[self._here], self._own.take(watched.get(self._here, {}))))
        return found

    def _actor_on(self, node: str, name: str) -> Any:
        if node not in self._actors:
            self._actors[node] = (
                ray.remote(SamplerActor)
                .options(
                    num_cpus=0, max_restarts=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
                )
                .remote(name)
            )
        return self._actors[node]

    def _answer(self, node: str, call: Any) -> tuple[Sample, ...]:
        """What the sampler of a machine answered; one that did not gets a successor."""
        try:
            samples: tuple[Sample, ...] = ray.get(call, timeout=0)
        except (ray.exceptions.RayError, TimeoutError) as error:
            logger.warning("The sampler on node %s does not answer and is replaced: %s", node, error)
            ray.kill(self._actors.pop(node), no_restart=True)
            return ()
        return samples


class SamplerActor(Sampler):
    """The sampler of a machine. It ends with the telemetry actor that started it."""

    def __init__(self, node: str) -> None:
        os.nice(NICENESS)
        super().__init__(find_gpu_reader())
        self._node = node
        self.start()

    def __repr__(self) -> str:
        return f"{self._node} sampler"


class TelemetryActor:
    """Collects the samples of all machines, and knows the newest ones."""

    def __init__(self) -> None:
        os.nice(NICENESS)
        self._collector = Collector(Store.open(load_settings().store_url), RaySamplers())
        self._collector.start()

    def newest(self) -> dict[str, tuple[str, Sample | None]]:
        """As `Collector.newest`."""
        return self._collector.newest


def node_names(nodes: list[dict[str, Any]]) -> dict[str, str]:
    """Names of machines by their Ray ids: host names, with a part of the id where two machines have the same one."""
    hosts = [node["NodeManagerHostname"] for node in nodes]
    return {
        node["NodeID"]: host if hosts.count(host) == 1 else f"{host}-{node['NodeID'][:6]}"
        for node, host in zip(nodes, hosts, strict=True)
    }


def start_telemetry() -> ray.actor.ActorHandle:
    """Start the telemetry actor, or find the running one."""
    return start_actor(TelemetryActor, TELEMETRY)
