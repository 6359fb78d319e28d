"""Choose the running jobs that make room for another one: the set that loses the least work.

They have a lower priority than the job that needs the devices. Idle ones may have the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cluster.policy.fleet import WorkerShape
from cluster.policy.free_devices import Room, place
from cluster.policy.jobs import QueuedJob, RunningJob, Situation

SEARCH_STEPS = 2000
"""Sets that are looked at; the best of them is taken. A dozen candidates are always searched to the end."""


def choose_victims(
    job: QueuedJob, shape: WorkerShape, room: Room, situation: Situation
) -> tuple[RunningJob, ...] | None:
    """The cheapest set of running jobs without which `job` fits; `None` where there is none.

    `room` counts the devices of stopping jobs as free. Every job in the set is needed.
    """
    candidates = [running for running in situation.running if _may_be_preempted(running, job, situation)]
    priced = sorted(
        (_Candidate(running, _lost_s(running, situation)) for running in candidates),
        key=lambda candidate: (candidate.lost_s, candidate.job.priority, candidate.job.id),
    )
    return _Search(shape, priced).cheapest(room)


def _may_be_preempted(running: RunningJob, job: QueuedJob, situation: Situation) -> bool:
    if not running.preemptible or running.is_stopping:
        return False
    if running.is_idle:
        return running.priority <= job.priority
    ran_s = (situation.now - running.started_at).total_seconds()
    return running.priority < job.priority and ran_s >= situation.rules.min_run_s


def _lost_s(running: RunningJob, situation: Situation) -> float:
    """Work since the last checkpoint, as if its last one failed, and the time that stopping and starting takes; nothing
    for an idle job, which does not come back by itself."""
    if running.is_idle:
        return 0.0
    saved_at = max(running.started_at, running.last_checkpoint_at or running.started_at)
    return max(0.0, (situation.now - saved_at).total_seconds()) + situation.rules.restart_s


@dataclass(frozen=True)
class _Candidate:
    job: RunningJob
    lost_s: float


class _Search:
    """Depth first over the candidates, cheapest first, cut off where the best set known is cheaper."""

    def __init__(self, shape: WorkerShape, candidates: Sequence[_Candidate]) -> None:
        self._shape = shape
        self._candidates = candidates
        self._best: tuple[_Candidate, ...] = tuple(candidates)
        self._steps_left = SEARCH_STEPS

    def cheapest(self, room: Room) -> tuple[RunningJob, ...] | None:
        if not self._fits(room, self._candidates):
            return None
        self._best = self._pruned(room, self._first_that_fit(room))
        self._extend(room, 0, ())
        return tuple(candidate.job for candidate in self._pruned(room, self._best))

    def _extend(self, room: Room, number: int, chosen: tuple[_Candidate, ...]) -> None:
        self._steps_left -= 1
        if self._steps_left < 0 or _cost(chosen) >= _cost(self._best):
            return
        if self._fits(room, ()):
            self._best = chosen
        elif number < len(self._candidates) and self._fits(room, self._candidates[number:]):
            candidate = self._candidates[number]
            self._extend(_without(room, candidate), number + 1, (*chosen, candidate))
            self._extend(room, number + 1, chosen)

    def _first_that_fit(self, room: Room) -> tuple[_Candidate, ...]:
        chosen: tuple[_Candidate, ...] = ()
        for candidate in self._candidates:
            if self._fits(room, chosen):
                break
            chosen = (*chosen, candidate)
        return chosen

    def _pruned(self, room: Room, chosen: tuple[_Candidate, ...]) -> tuple[_Candidate, ...]:
        for candidate in sorted(chosen, key=lambda candidate: -candidate.lost_s):
            others = tuple(other for other in chosen if other is not candidate)
            if self._fits(room, others):
                chosen = others
        return chosen

    def _fits(self, room: Room, victims: Sequence[_Candidate]) -> bool:
        for victim in victims:
            room = _without(room, victim)
        return place(self._shape, room) is not None


def _without(room: Room, victim: _Candidate) -> Room:
    return room.plus(victim.job.shape, victim.job.placement)


def _cost(chosen: Sequence[_Candidate]) -> float:
    return sum(candidate.lost_s for candidate in chosen)
