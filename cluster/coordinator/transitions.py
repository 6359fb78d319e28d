"""What all parts of the coordinator do to jobs and attempts."""

import logging
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from cluster.coordinator.drivers import Roster
from cluster.coordinator.ray_backend import Cluster
from cluster.events.documents import to_documents
from cluster.interfaces import EventHubClient
from ftlab.schemas import JobConfig
from ftlab.schemas.problems import problems_of, summary
from ftlab.status import JobStatus, ReasonCode
from tracking.store import StaleJobError, Store
from tracking.store.records import AttemptRecord, EventRecord, JobRecord, JobRef

MAX_CONFIGS = 1000

logger = logging.getLogger(__name__)


class Moves:
    """Changes of a job's status, with everybody told; the end of an attempt; a job's config."""

    def __init__(self, store: Store, cluster: Cluster, hub: EventHubClient, roster: Roster) -> None:
        self._store = store
        self._cluster = cluster
        self._hub = hub
        self._roster = roster
        self._configs: OrderedDict[str, tuple[dict[str, Any], JobConfig]] = OrderedDict()

    def move(
        self,
        job: JobRecord,
        target: JobStatus,
        now: datetime,
        *,
        message: str | None = None,
        reason: ReasonCode | None = None,
        to_front: bool = False,
        **fields: Any,
    ) -> bool:
        """Change the status of the job, which is as it was when that was decided.

        `False` when it has moved on meanwhile, or something else is wanted of it: the next tick decides anew.
        """
        try:
            with self._store.begin() as tx:
                _require_unchanged(tx.jobs.lock(job.ref), job)
                if to_front:
                    fields["queue_shift"] = tx.jobs.front_shift(job.priority)
                event = tx.jobs.move(job.ref, target, now=now, message=message, reason=reason, **fields)
        except StaleJobError as error:
            logger.info("%s", error)
            return False
        self.publish([event])
        return True

    def publish(self, events: Sequence[EventRecord]) -> None:
        self._hub.publish(to_documents(events))

    def end_attempt(self, attempt: AttemptRecord, reason: ReasonCode, message: str, now: datetime) -> None:
        """Fence first, then end the processes and give the devices back."""
        with self._store.begin() as tx:
            tx.attempts.end(JobRef(attempt.job_id, attempt.number), reason=reason, message=message, now=now)
        self._roster.end(attempt.driver)
        self._cluster.release(attempt.placement_groups)

    def config(self, job: JobRecord) -> JobConfig | None:
        """The job's config; `None` where another version accepted it and this one cannot read it."""
        raw, config = self._configs.get(job.id, (None, None))
        if config is None or raw != job.config:
            try:
                config = JobConfig.model_validate(job.config)
            except ValidationError:
                return None
        self._configs[job.id] = (job.config, config)
        self._configs.move_to_end(job.id)
        if len(self._configs) > MAX_CONFIGS:
            self._configs.popitem(last=False)
        return config

    def fail_unreadable(self, job: JobRecord, now: datetime) -> None:
        """A job whose config cannot be read fails, so that it holds nobody up."""
        try:
            JobConfig.model_validate(job.config)
        except ValidationError as error:
            message = f"This version cannot read the job's config: {summary(problems_of(error, JobConfig))}"
            self.move(job, JobStatus.FAILED, now, reason=ReasonCode.CONFIG_INVALID, message=message)


def _wanted_of(job: JobRecord) -> tuple[object, ...]:
    return job.status, job.stop_kind, job.resume_from, job.num_files


def _require_unchanged(now: JobRecord, then: JobRecord) -> None:
    """A wish that was answered with yes after `then` was read must not be lost in a move that knows nothing of it."""
    if _wanted_of(now) != _wanted_of(then):
        raise StaleJobError(f"Job {now.id!r} is {now.status.value} now, or something else is wanted of it.")
