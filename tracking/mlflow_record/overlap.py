"""A resumed attempt repeats the steps after its checkpoint; MLflow shall show each step once."""

import itertools
from collections.abc import Sequence

from ftlab.schemas import EventKind
from tracking.mlflow_record.mapping import Point, points_of
from tracking.store import Transaction
from tracking.store.records import EventRecord

SCAN_EVENTS = 1000


class Overlap:
    """Leaves out the points that an earlier attempt has sent.

    MLflow cannot replace a point, so the earlier attempt's value stays. The answer comes from the event log
    alone and is the same after a restart; what is kept here only saves reading the log for every page.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int, frozenset[tuple[str, int]]]] = {}
        """By job: an attempt, its lowest step seen, and what earlier attempts measured from that step on."""

    def new_points(self, tx: Transaction, job_id: str, events: Sequence[EventRecord]) -> list[Point]:
        """The points of these consecutive events that no earlier attempt has measured."""
        metrics = [event for event in events if event.kind == EventKind.METRICS]
        points: list[Point] = []
        for attempt, group in itertools.groupby(metrics, key=lambda event: event.attempt):
            measured = [point for event in group for point in points_of(event)]
            if attempt > 1 and measured:
                known = self._measured_before(tx, job_id, attempt, min(point.step for point in measured))
                measured = [point for point in measured if (point.key, point.step) not in known]
            points += measured
        return points

    def forget(self, job_id: str) -> None:
        self._known.pop(job_id, None)

    def _measured_before(
        self, tx: Transaction, job_id: str, attempt: int, from_step: int
    ) -> frozenset[tuple[str, int]]:
        known_attempt, known_step, known = self._known.get(job_id, (0, 0, frozenset()))
        if known_attempt != attempt or from_step < known_step:
            known = _scan(tx, job_id, attempt, from_step)
            self._known[job_id] = attempt, from_step, known
        return known


def _scan(tx: Transaction, job_id: str, attempt: int, from_step: int) -> frozenset[tuple[str, int]]:
    found: set[tuple[str, int]] = set()
    seq = 0
    while events := tx.events.after(job_id, seq, limit=SCAN_EVENTS, kinds=(EventKind.METRICS,)):
        for event in events:
            if event.attempt >= attempt:
                return frozenset(found)
            found.update((point.key, point.step) for point in points_of(event) if point.step >= from_step)
        seq = events[-1].seq
    return frozenset(found)
