"""The samplers of a Ray cluster: a thread on the head's machine, and an actor on every other one."""

import logging
import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.names import node_names
from cluster.telemetry.sampler import Sampler, find_gpu_reader
from cluster.telemetry.samples import NodeSamples, Sample, WatchedAttempts

TAKE_TIMEOUT_S = 1.0
START_TIMEOUT_S = 120.0
"""After so long without an answer, a sampler hangs; before, its process may still be starting."""
NICENESS = 5
"""Training and the API come first."""

logger = logging.getLogger(__name__)


class _Call(NamedTuple):
    """A call of `take`, and when it was made."""

    answer: Any
    asked_at: float


class RaySamplers:
    """The `NodeSamplers` of a Ray cluster: this process samples its own machine, an actor each other one."""

    def __init__(self) -> None:
        self._here = str(ray.get_runtime_context().get_node_id())
        self._own = Sampler(find_gpu_reader())
        self._own.start()
        self._actors: dict[str, Any] = {}
        self._calls: dict[str, _Call] = {}
        """Calls whose answer is awaited, by node: the samples of one that is discarded would be lost."""

    def collect(self, watched: Mapping[str, WatchedAttempts]) -> list[NodeSamples]:
        names = node_names([node for node in ray.nodes() if node["Alive"]])
        self._actors = {node: actor for node, actor in self._actors.items() if node in names}
        self._calls = {node: call for node, call in self._calls.items() if node in names}
        for node, name in names.items():
            if node != self._here and node not in self._calls:
                call = self._actor_on(node, name).take.remote(watched.get(node, {}))
                self._calls[node] = _Call(call, time.monotonic())
        calls = [call.answer for call in self._calls.values()]
        if calls:
            ray.wait(calls, num_returns=len(calls), timeout=TAKE_TIMEOUT_S)
        found = [NodeSamples(node, names[node], self._answer(node)) for node in list(self._calls)]
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

    def _answer(self, node: str) -> tuple[Sample, ...]:
        """What the sampler of a machine answered; none while it still starts. One that has died gets a successor."""
        call = self._calls.pop(node)
        try:
            samples: tuple[Sample, ...] = ray.get(call.answer, timeout=0)
        except ray.exceptions.GetTimeoutError:
            if time.monotonic() - call.asked_at < START_TIMEOUT_S:
                self._calls[node] = call
            else:
                self._replace(node, f"no answer for {START_TIMEOUT_S:.0f} s")
            return ()
        except ray.exceptions.RayError as error:
            self._replace(node, str(error))
            return ()
        return samples

    def _replace(self, node: str, why: str) -> None:
        logger.warning("The sampler on node %s is replaced: %s", node, why)
        ray.kill(self._actors.pop(node), no_restart=True)


class SamplerActor(Sampler):
    """The sampler of a machine. It ends with the actor that started it."""

    def __init__(self, node: str) -> None:
        os.nice(NICENESS)
        super().__init__(find_gpu_reader())
        self._node = node
        self.start()

    def __repr__(self) -> str:
        return f"{self._node} sampler"
