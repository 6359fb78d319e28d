"""Jobs, machines and situations in few words."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cluster.policy import (
    Decision,
    Fleet,
    Node,
    Placement,
    Preempt,
    QueuedJob,
    Refuse,
    Rules,
    RunningJob,
    Share,
    Situation,
    Start,
    Wait,
    WorkerShape,
    decide,
)
from cluster.policy.free_devices import Room
from ftlab.schemas import JobConfig, Resources

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
FOUR_CORES = Fleet.of_one(4)
TWO_GPUS = Fleet.of_one(8, 2)


def fleet(*nodes: tuple[int, int]) -> Fleet:
    """Machines by their cores and GPUs, called m0, m1, ..."""
    return Fleet(tuple(Node(f"m{number}", cpus, gpus) for number, (cpus, gpus) in enumerate(nodes)))


def queued(name: str, *, owner: str = "ann", priority: int = 50, **given: Any) -> QueuedJob:
    fields = {key: given.pop(key) for key in ("is_in_front", "has_run", "longest_s") if key in given}
    config = JobConfig(model="org/name", dataset="ds-1", resources=Resources(**given))
    return QueuedJob(name, owner, config, priority, **fields)


def running(name: str, shape: WorkerShape, *, ran_s: float = 1000.0, owner: str = "ann", **fields: Any) -> RunningJob:
    return RunningJob(name, 1, owner, shape, NOW - timedelta(seconds=ran_s), **fields)


def cores(count: int, num_workers: int = 1) -> WorkerShape:
    return WorkerShape(num_workers, count, 0)


def gpus(count: int, *, share: float = 1, cpus: int = 1) -> WorkerShape:
    return WorkerShape(count, cpus, share)


def look(
    queue: Sequence[QueuedJob],
    machines: Fleet,
    *runs: RunningJob,
    shares: dict[str, Share] | None = None,
    rules: Rules | None = None,
) -> list[Decision]:
    return decide(queue, machines, Situation(NOW, tuple(runs), shares or {}, rules or Rules()))


def started(decisions: Sequence[Decision]) -> list[str]:
    return [decision.job_id for decision in decisions if isinstance(decision, Start)]


def words_of(decisions: Sequence[Decision]) -> dict[str, str]:
    return {d.job_id: d.why for d in decisions if isinstance(d, Wait | Refuse | Preempt)}


def room_after(machines: Fleet, *taken: tuple[WorkerShape, Placement]) -> Room:
    """What is left; fails when somebody takes what is not there."""
    room = Room.of(machines)
    for shape, placement in taken:
        assert len(placement) == shape.num_workers
        assert all((spot.gpu is not None) == (shape.gpus_per_worker > 0) for spot in placement)
        room = room.without(shape, placement)
    for node in room.nodes.values():
        assert node.cpus >= 0, "more cores than there are"
        assert all(0 <= free <= 1 for free in node.gpus), "more of a GPU than there is"
    return room
