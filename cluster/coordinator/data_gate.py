"""The gate before the start: a job holds no device until the data worker has prepared its data.

A job whose data is not ready is passed over; it holds nothing, and no job behind it waits for it. There are three
exceptions:
- A job that has run with the same files starts at once: it would lose its place because of a late answer.
- So does a job whose data was ready before: it would lose its place when the service restarts.
- A running job to which files are appended keeps training until they are prepared.
The cache on disk determines what is ready: a coordinator without this state asks again.
"""

import logging
from collections.abc import Hashable, Mapping
from datetime import datetime, timedelta

from cluster.coordinator.failed_jobs import contained, fail_job
from cluster.coordinator.preparation import DataKey, Preparation, Progress
from cluster.coordinator.queue_snapshot import QueueSnapshot
from cluster.coordinator.stop_requests import requested_stop
from cluster.coordinator.tick import Tick
from cluster.data.requests import FINDINGS, DataRequest, data_request
from cluster.policy import Fleet, QueuedJob, Wait, fair_order, waiting_reasons
from ftlab.errors import NotFoundError
from ftlab.schemas import AnyJobConfig, JobConfig
from ftlab.status import JobStatus, ReasonCode
from tracking.store.records import JobRecord
from train.plan import Failure

MAX_WORKING = 2
"""Preparations at the same time."""
MAX_WORKING_FOR_RUNNING = 1
"""Of these, the ones for files that were appended to running jobs, so that the queue is not held up."""
SETTLED_S = 3.0
"""How long a job's files must have stayed the same before its run stops for them: they often come one by one."""
MAX_PREPARATIONS = 10_000

logger = logging.getLogger(__name__)

Asked = dict[Preparation, Progress]
"""The preparations that were looked at in this tick because they were not known to be ready."""


class DataGate:
    """Gate that requests the data that jobs need, and passes the jobs whose data is ready. Remembers the answers."""

    def __init__(self) -> None:
        self._preparations: dict[Hashable, Preparation] = {}
        self._of_queued: dict[str, Preparation] = {}
        """By job: those of the queue, when it was last read."""
        self._for_running: Asked = {}

    def jobs_to_extend(self, tick: Tick) -> set[str]:
        """The running jobs that now stop, to continue with appended files that are ready.

        Or they can never be prepared, which fails the job once it has stopped. While the data worker has trouble, a
        run trains on.
        """
        asked: Asked = {}
        self._for_running = asked
        to_extend = set()
        for job in tick.jobs:
            if not job.has_new_files or requested_stop(job) is not None or not isinstance(job.config, JobConfig):
                continue
            preparation = self._preparation_of(job, job.config, tick.now)
            preparation.expire(tick.now)
            preparation.appended_at = preparation.appended_at or tick.now
            if not preparation.is_ready and preparation not in asked:
                progress = Progress.IN_LINE
                if _num_working(asked) < MAX_WORKING_FOR_RUNNING:
                    progress = self._ask(tick, preparation, job, job.config)
                preparation.note_progress(progress, tick.now, is_ready=progress is Progress.READY)
                asked[preparation] = progress
            has_settled = tick.now - preparation.appended_at >= timedelta(seconds=SETTLED_S)
            if has_settled and asked.get(preparation, Progress.READY) in (Progress.READY, Progress.INVALID):
                to_extend.add(job.id)
        return to_extend

    def let_pass(self, tick: Tick, snapshot: QueueSnapshot, fleet: Fleet) -> tuple[list[QueuedJob], list[Wait]]:
        """The queued jobs that may start as far as their data goes, in queue order, and why the others wait.

        A job whose data can never be prepared fails.
        """
        self._of_queued = {
            job.id: self._preparation_of(snapshot.jobs[job.id], job.config, tick.now)
            for job in snapshot.queue
            if job.config.datasets
        }
        for preparation in self._of_queued.values():
            preparation.expire(tick.now)
        if all(preparation.is_ready for preparation in self._of_queued.values()):
            return list(snapshot.queue), []
        asked: Asked = {}
        passed = {job.id for job in snapshot.queue if job.id not in self._of_queued}
        waits: list[Wait] = []
        # The worker gets the data first that is needed first.
        for queued in fair_order(snapshot.queue, fleet, snapshot.situation):
            if queued.id not in self._of_queued:
                continue
            job, config, preparation = snapshot.jobs[queued.id], queued.config, self._of_queued[queued.id]
            if not preparation.is_ready and preparation not in asked:
                progress = self._ask_in_turn(tick, preparation, job, config, asked)
                preparation.note_progress(progress, tick.now, is_ready=progress.lets_start)
                asked[preparation] = progress
            progress = asked.get(preparation, Progress.READY)
            if progress.lets_start or self._may_start_at_once(tick, preparation, job, config, progress):
                passed.add(job.id)
            elif progress is Progress.INVALID:
                answer = preparation.answer
                reason = answer.reason or ReasonCode.INTERNAL_ERROR
                fail_job(tick, job, Failure(reason, answer.message, cause=answer.cause, field=answer.field))
            else:
                waits.append(Wait(job.id, _why_waiting(preparation, progress)))
        self._forget_except(asked)
        return [queued for queued in snapshot.queue if queued.id in passed], waits

    def findings(self, job: JobRecord) -> str | None:
        """The doctor's findings about the data of a queued job; `None` until it has answered."""
        preparation = self._of_queued.get(job.id)
        result = preparation.answer.result if preparation else None
        return result.get(FINDINGS) if result else job.data_findings

    def _preparation_of(self, job: JobRecord, config: AnyJobConfig, now: datetime) -> Preparation:
        """The preparation of a job's data; of a job that reads its rows as they are, that these are here."""
        key = DataKey.of(config, job.model_revision) if isinstance(config, JobConfig) else tuple(config.datasets)
        return self._preparations.setdefault(key, Preparation(now, now))

    def _ask_in_turn(
        self, tick: Tick, preparation: Preparation, job: JobRecord, config: AnyJobConfig, asked: Asked
    ) -> Progress:
        """Ask for the data of a queued job, unless enough other data is being prepared.

        The run prepares it when the data worker has failed at it for too long.
        """
        if _num_working(self._for_running | asked) >= MAX_WORKING:
            return Progress.IN_LINE
        progress = self._ask(tick, preparation, job, config)
        if preparation.request is not None and (why := preparation.trouble(tick.now, config.first_step_timeout_s)):
            logger.warning("The run of job %s prepares its data itself: %s", job.id, why)
            return Progress.LEFT_TO_RUN
        return progress

    def _ask(self, tick: Tick, preparation: Preparation, job: JobRecord, config: AnyJobConfig) -> Progress:
        """Poll the data worker for its progress; the first request starts the work."""
        # A running job trains on.
        with contained(tick, "given its data", job if job.status is JobStatus.QUEUED else job.id):
            request = self._request(tick, preparation, job, config)
            if request is None:
                return Progress.READY
            preparation.note_question(tick.now)
            answer = tick.cluster.prepare(request)
            if answer is not None:
                preparation.note_answer(answer, tick.now)
        return Progress.of(preparation.answer)

    def _request(
        self, tick: Tick, preparation: Preparation, job: JobRecord, config: AnyJobConfig
    ) -> DataRequest | None:
        """`None` when a dataset or the base model is gone."""
        if preparation.request is None:
            try:
                with tick.store.read() as tx:
                    preparation.request = data_request(tx, tick.settings, config, job.model_revision)
            except NotFoundError:
                return None
        return preparation.request

    def _may_start_at_once(
        self, tick: Tick, preparation: Preparation, job: JobRecord, config: AnyJobConfig, progress: Progress
    ) -> bool:
        """Whether the job passed before, and its run can prepare by itself what is not prepared any more."""
        has_passed = (job.attempt > 0 and not job.has_new_files) or job.data_findings is not None
        if not has_passed or progress not in (Progress.IN_LINE, Progress.WORKING):
            return False
        request = self._request(tick, preparation, job, config)
        # A run does not reach into buckets: rows that are not on this machine are fetched by the data worker.
        return request is None or all(file.rows.is_file() for file in request.all_files)

    def _forget_except(self, asked: Asked) -> None:
        """Forget data that no job needs, and failures, so that the next job that needs the data tries again."""
        kept = [
            (key, preparation)
            for key, preparation in self._preparations.items()
            if preparation.is_ready
            or preparation in self._for_running
            or asked.get(preparation, Progress.READY).is_open
        ]
        self._preparations = dict(kept[-MAX_PREPARATIONS:])


def _num_working(asked: Mapping[Preparation, Progress]) -> int:
    return sum(progress is Progress.WORKING for progress in asked.values())


def _why_waiting(preparation: Preparation, progress: Progress) -> str:
    if progress is Progress.IN_LINE:
        return waiting_reasons.waits_for_data_ahead(MAX_WORKING)
    if progress is Progress.SOURCE_AWAY:
        return waiting_reasons.waits_for_data_source(preparation.answer.message)
    return waiting_reasons.waits_for_data(preparation.answer.percent)
