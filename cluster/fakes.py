"""Stand-ins for the cluster and the event hub, so that the coordinator can be stepped without Ray."""

import asyncio
import json
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cluster.coordinator.ray_backend import DriverLostError
from cluster.data.requests import DataRequest, WorkState, WorkStatus
from cluster.interfaces import EventDocument
from cluster.policy import Fleet, Spot, WorkerShape
from train.plan import RunPlan, StopKind

Result = TypeVar("Result")


@dataclass
class FakeDriver:
    """A run driver as the coordinator sees it. Tests change its fields to play what happens to a run."""

    shape: WorkerShape | None
    plan: RunPlan | None
    state: str
    has_trained: bool = False
    """Whether a stop has something to save."""
    takes_jobs: bool = True
    """A standby run that is about to end takes none any more."""
    answers: bool = True
    """A driver that does not answer is still listed: it hangs, or its node is cut off."""
    stops: list[StopKind] = field(default_factory=list)


class FakeCluster:
    """A `Cluster` in memory: it records its calls and does nothing by itself."""

    def __init__(self, *, cpus: int = 4, gpus: int = 0, session: str = "session-1") -> None:
        self.given = Fleet.of_one(cpus, gpus)
        self.life = session
        self.running: dict[str, FakeDriver] = {}
        self.ended: list[str] = []
        """Names of the drivers that were ended, in order."""
        self.released: list[str] = []
        """Placement groups that were released, in order."""
        self.gpus_aside: set[Spot] = set()
        """GPUs that no run may get."""
        self.on_assign: Callable[[str], None] | None = None
        """Called with the driver's name before it takes a job, to play what happens at that moment."""
        self.preparations: dict[str, WorkState | None] = {}
        """Progress of each dataset's data; other data is ready at once."""
        self.asked_to_prepare: list[DataRequest] = []
        self.prepares_at_once = True
        """Otherwise the first answer about any data is that it is being prepared, as a data worker's is."""
        self._begun: set[str] = set()

    def crash(self, name: str) -> None:
        """The driver's process is gone."""
        del self.running[name]

    def session(self) -> str:
        return self.life

    def fleet(self) -> Fleet:
        return self.given

    def drivers(self) -> set[str]:
        return set(self.running)

    def launch(self, name: str, shape: WorkerShape | None, plan: RunPlan | None) -> None:
        assert name not in self.running, f"the name {name} is taken"
        self.running[name] = FakeDriver(shape, plan, "starting" if plan is None else "taken")

    def state(self, name: str) -> str:
        return self._find(name).state

    def assign(self, name: str, plan: RunPlan, shape: WorkerShape) -> bool:
        if self.on_assign is not None:
            self.on_assign(name)
        driver = self._find(name)
        if driver.plan is not None:
            return (driver.plan.job_id, driver.plan.attempt) == (plan.job_id, plan.attempt)
        if driver.state == "ended" or not driver.takes_jobs:
            return False
        driver.plan, driver.shape, driver.state = plan, shape, "taken"
        return True

    def request_stop(self, name: str, kind: StopKind) -> bool:
        driver = self._find(name)
        driver.stops.append(kind)
        return driver.has_trained

    def end(self, name: str) -> None:
        self.ended.append(name)
        self.running.pop(name, None)

    def release(self, placement_groups: Iterable[str]) -> None:
        self.released += placement_groups

    def set_aside(self, gpus: Collection[Spot], in_use: Collection[Spot]) -> None:
        self.gpus_aside = set(gpus) - set(in_use)

    def prepare(self, request: DataRequest) -> WorkState | None:
        self.asked_to_prepare.append(request)
        if not self.prepares_at_once and request.key not in self._begun:
            self._begun.add(request.key)
            return WorkState(WorkStatus.WORKING)
        return self.preparations.get(request.files[0].dataset_id, WorkState(WorkStatus.DONE))

    def _find(self, name: str) -> FakeDriver:
        driver = self.running.get(name)
        if driver is None or not driver.answers:
            raise DriverLostError(f"The run driver {name} does not answer.")
        return driver


class FakeEventHub:
    """An `EventHubClient` that records what is published, and whose listeners wait forever."""

    def __init__(self) -> None:
        self.published: list[EventDocument] = []

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was published, as followers read it."""
        return [json.loads(event.text) for event in self.published if event.text]

    def publish(self, events: Sequence[EventDocument]) -> None:
        self.published += events

    async def listen(self, after: int) -> tuple[int, list[EventDocument]]:
        await asyncio.sleep(3600)
        return after, []


class AtOnce(Executor):
    """An executor that has the result when it returns."""

    def submit(self, fn: Callable[..., Result], /, *args: object, **kwargs: object) -> Future[Result]:
        future: Future[Result] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future
