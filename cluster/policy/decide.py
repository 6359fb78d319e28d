"""One pass over the queue: which jobs start, what the others wait for, and which running jobs make room."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cluster.policy import waiting_reasons
from cluster.policy.backfill import Release, Timeline, Waiting, machines_needed
from cluster.policy.fleet import Devices, Fleet, Placement, Spot, WorkerShape, shape_of
from cluster.policy.free_devices import Room, place
from cluster.policy.jobs import Decision, Preempt, QueuedJob, Refuse, RunningJob, Situation, Start, Wait
from cluster.policy.order import fair_order
from cluster.policy.preemption import choose_victims
from ftlab.schemas import Resources


def decide(queue: Sequence[QueuedJob], fleet: Fleet, situation: Situation) -> list[Decision]:
    """One decision for each job, in the order in which the jobs are considered.

    `queue` comes in queue order: priority, moved to the front, submit order. Pure: the same arguments give the same
    answer.
    """
    placed = replace(situation, running=tuple(_placed(situation.running, fleet)))
    one_pass = _Pass(fleet, placed)
    return [one_pass.decide(job) for job in fair_order(queue, fleet, placed)]


def why_too_large(resources: Resources, fleet: Fleet) -> str | None:
    """The reason why a job can never start on these machines; `None` where it can, and while there is no machine."""
    shape = shape_of(resources, fleet)
    if not fleet.nodes or _fits_with_all(shape, fleet):
        return None
    return waiting_reasons.too_large(shape, fleet)


class _Pass:
    """What is free, and which jobs wait, at each point of the pass."""

    def __init__(self, fleet: Fleet, situation: Situation) -> None:
        self._fleet = fleet
        self._situation = situation
        self._empty = self._room = Room.of(fleet)
        self._releases: dict[str, Release] = {}
        self._held: defaultdict[str, Devices] = defaultdict(lambda: Devices(0, 0.0))
        self._owners_at_quota: set[str] = set()
        self._waiting: list[Waiting] = []
        """The jobs that wait for devices, in order: no job behind them may delay them."""
        self._timeline: Timeline | None = None
        self._num_protected = 0
        self._num_reserved = 0
        self._first_start_s = -math.inf
        """When the first waiting job starts at the latest. Until then nothing is reserved for those behind it."""
        for job in situation.running:
            longest_s = 0.0 if job.is_stopping else job.remaining_s
            self._take(job.id, job.owner, job.shape, job.placement, longest_s)

    def decide(self, job: QueuedJob) -> Decision:
        shape = shape_of(job.config.resources, self._fleet)
        if self._empty.slots(shape) < shape.num_workers:
            if job.has_run or not self._fleet.nodes or _fits_with_all(shape, self._fleet):
                return Wait(job.id, waiting_reasons.waits_for_machines(shape, self._fleet))
            return Refuse(job.id, waiting_reasons.too_large(shape, self._fleet))
        if why := self._over_quota(job, shape):
            return Wait(job.id, why)
        placement = self._find_place(job, shape)
        if placement is not None:
            if self._timeline is not None:
                self._timeline.start(shape, placement, _or_forever(job.longest_s))
            self._take(job.id, job.owner, shape, placement, job.longest_s)
            return Start(job.id, shape, placement)
        self._waiting.append(Waiting(shape, _or_forever(job.longest_s)))
        if len(self._waiting) > 1:
            return Wait(job.id, waiting_reasons.waits_in_line(len(self._waiting) - 1))
        return self._make_room(job, shape)

    def _take(self, job_id: str, owner: str, shape: WorkerShape, placement: Placement, longest_s: float | None) -> None:
        self._room = self._room.without(shape, placement)
        self._held[owner] += shape.total
        if longest_s is not None:
            self._releases[job_id] = Release(max(0.0, longest_s), shape, placement)

    def _over_quota(self, job: QueuedJob, shape: WorkerShape) -> str | None:
        """The reason why the owner's quota keeps the job waiting; `None` where it does not.

        Jobs of one owner do not overtake each other there, except one that the quota would never let run.
        """
        share = self._situation.share(job.owner)
        if job.owner in self._owners_at_quota:
            return waiting_reasons.waits_behind_quota()
        why = waiting_reasons.waits_for_quota(self._held[job.owner], shape.total, share)
        if why is not None and waiting_reasons.waits_for_quota(Devices(0, 0.0), shape.total, share) is None:
            self._owners_at_quota.add(job.owner)
        return why

    def _find_place(self, job: QueuedJob, shape: WorkerShape) -> Placement | None:
        placement = place(shape, self._room)
        if placement is None or not self._waiting:
            return placement
        timeline = self._protect_waiting()
        longest_s = _or_forever(job.longest_s)
        room = timeline.free_until(longest_s)
        if longest_s <= self._first_start_s:
            return place(shape, room)
        while (placement := place(shape, room)) is not None:
            left = self._room.without(shape, placement)
            needed = machines_needed(shape, placement, left, self._empty, self._waiting, self._num_reserved)
            if not needed:
                return placement
            room = Room({name: node for name, node in room.nodes.items() if name not in needed})
        return None

    def _protect_waiting(self) -> Timeline:
        """Reserve starts for the waiting jobs, in their order, as far as their starts are known."""
        if self._timeline is None:
            self._timeline = Timeline(self._room, self._releases.values())
        for job in self._waiting[self._num_protected :]:
            is_known = self._num_reserved == self._num_protected < self._situation.rules.max_reservations
            start_s = self._timeline.reserve(job) if is_known else None
            if start_s is not None:
                self._first_start_s = start_s if self._num_reserved == 0 else self._first_start_s
                self._num_reserved += 1
            self._num_protected += 1
        return self._timeline

    def _make_room(self, job: QueuedJob, shape: WorkerShape) -> Decision:
        """For the first waiting job: wait for runs that are stopping, or preempt others, or wait for devices."""
        stopping = [running for running in self._situation.running if running.is_stopping]
        room = self._room
        for running in stopping:
            room = room.plus(running.shape, running.placement)
        if place(shape, room) is not None:
            return Wait(job.id, waiting_reasons.waits_for_stopping(shape, stopping))
        victims = choose_victims(job, shape, room, self._situation)
        if victims is None:
            return Wait(job.id, waiting_reasons.waits_for_devices(shape, self._room))
        for victim in victims:
            self._releases[victim.id] = Release(0.0, victim.shape, victim.placement)
        why = waiting_reasons.waits_for_stopping(shape, [*stopping, *victims])
        return Preempt(job.id, tuple(victim.id for victim in victims), why)


def _fits_with_all(shape: WorkerShape, fleet: Fleet) -> bool:
    """Whether a run would fit on the idle machines with the GPUs that are taken out."""
    return Room.of(fleet.without(())).slots(shape) >= shape.num_workers


def _placed(running: Sequence[RunningJob], fleet: Fleet) -> Iterator[RunningJob]:
    """The running jobs, each with a placement: where it is not known, as it would be placed today."""
    room = Room.of(fleet)
    for job in running:
        room = room.without(job.shape, job.placement)
    for job in running:
        placement = job.placement or place(job.shape, room)
        if placement is None:
            # More is held than there is: the machine was made smaller under its runs.
            placement = (Spot(fleet.nodes[0].id),) * job.shape.num_workers if fleet.nodes else ()
        if not job.placement:
            room = room.without(job.shape, placement)
        yield replace(job, placement=placement)


def _or_forever(seconds: float | None) -> float:
    return math.inf if seconds is None else seconds
