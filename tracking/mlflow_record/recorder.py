"""The recorder: copies every job from its event log to MLflow.

MLflow is one more reader of the log, with a cursor in the job's row: whatever MLflow missed during an outage is sent
afterwards. The cursor moves only after MLflow accepted the events. A crash in between sends them again, which changes
nothing because every call of `MlflowApi` is safe to repeat.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from ftlab.errors import NotFoundError
from ftlab.manifest import MANIFEST
from ftlab.schemas import EventKind, FailurePayload, NoticePayload, StatusPayload
from ftlab.status import JobKind, JobStatus
from tracking.follow_loop import repeat, retry_after_s
from tracking.mlflow_record.api import MlflowApi, MlflowRefusedError, MlflowUnreachableError, RunKey, RunState
from tracking.mlflow_record.artifacts import (
    upload_config,
    upload_failure,
    upload_logs,
    upload_model,
    upload_results,
    upload_sample,
    upload_sample_table,
)
from tracking.mlflow_record.mapping import (
    MAX_TAG_LENGTH,
    Point,
    dataset_inputs,
    event_tags,
    job_file,
    model_tags,
    params_of,
    parent_tags,
    points_of,
    registered_name,
    run_status,
    run_tags,
    run_time_points,
)
from tracking.mlflow_record.run_note import NOTE_TAG, RunFacts, model_note, run_note
from tracking.mlflow_record.sweep_recorder import SweepRecorder
from tracking.store import StaleJobError, Store, Transaction
from tracking.store.records import DatasetRecord, EventRecord, JobRecord, JobRef, MlflowCursor, ModelRecord, NewEvent

logger = logging.getLogger(__name__)

RECORDED_KINDS = (EventKind.STATUS, EventKind.METRICS, EventKind.CHECKPOINT, EventKind.SAMPLE, EventKind.NOTICE)
PAGE_EVENTS = 500
PAGE_JOBS = 50
MAX_TABLE_SAMPLES = 2000
"""Newest answers of a job in its table of samples."""
INTERVAL_S = 1.0

RUN_DELETED = "mlflow_run_deleted"
INCOMPLETE = "mlflow_incomplete"


@dataclass(frozen=True)
class Page:
    """The part of a job that one pass sends, read in one snapshot of the database."""

    facts: RunFacts
    events: list[EventRecord]
    points: list[Point]
    next: MlflowCursor
    """The cursor after this page."""

    @property
    def job(self) -> JobRecord:
        return self.facts.job


class Recorder:
    """Sends new events to MLflow; one per service.

    `jobs_folder` holds `<job id>/{logs,model}/`. `server_url` is the address of the HTTP API in links.
    """

    def __init__(
        self, store: Store, api: MlflowApi, jobs_folder: Path, clock: Callable[[], datetime], server_url: str
    ) -> None:
        self._store = store
        self._api = api
        self._jobs_folder = jobs_folder
        self._clock = clock
        self._server_url = server_url
        self._sweeps = SweepRecorder(store, api, server_url)
        self._postponed: dict[str, tuple[int, datetime]] = {}
        """By id of a job or sweep: consecutive failures, and when the next try is due."""

    def run(self, stop: threading.Event) -> None:
        """Make a pass about once a second until `stop` is set; back off while MLflow or the database is unavailable."""

        def make_pass() -> float:
            return INTERVAL_S if self.step() < PAGE_EVENTS else 0.0

        told = {"paused": "Recording in MLflow is paused", "resumed": "Recording in MLflow has resumed."}
        repeat(make_pass, stop, logger, **told)

    def step(self) -> int:
        """Send each sweep with a new status, and at most one page of every job that is ahead of MLflow; return the
        number of events.

        Raises `ServiceUnavailableError` when MLflow or the database does not answer. A record that MLflow refuses is
        postponed and does not block the others.
        """
        num_events = 0
        for record_id, send in self._due():
            try:
                num_events += send(record_id)
            except MlflowUnreachableError:
                # The files of this record may be what takes too long: begin the next pass with another one.
                self._postpone(record_id)
                raise
            except NotFoundError:
                # It was deleted since the list was read.
                self._postponed.pop(record_id, None)
            except (MlflowRefusedError, OSError, ValueError) as error:
                wait_s = self._postpone(record_id)
                logger.warning("MLflow is missing part of %s; next try in %.0f s: %s", record_id, wait_s, error)
            else:
                self._postponed.pop(record_id, None)
        return num_events

    def _due(self) -> list[tuple[str, Callable[[str], int]]]:
        """What is ahead of MLflow, and how it is sent: sweeps first, because the runs of their trials name theirs."""
        limit, now = PAGE_JOBS + len(self._postponed), self._clock()
        with self._store.read() as tx:
            sweeps, jobs = tx.sweeps.behind_mlflow(limit), tx.jobs.behind_mlflow(limit)
        behind = [(sweep_id, self._sweeps.send) for sweep_id in sweeps] + [(job.id, self._advance) for job in jobs]
        return [each for each in behind if each[0] not in self._postponed or self._postponed[each[0]][1] <= now]

    def _postpone(self, record_id: str) -> float:
        num_failures = self._postponed.get(record_id, (0, None))[0] + 1
        wait_s = retry_after_s(num_failures)
        self._postponed[record_id] = num_failures, self._clock() + timedelta(seconds=wait_s)
        return wait_s

    def _advance(self, job_id: str) -> int:
        page = self._load(job_id)
        run_id = page.job.mlflow_run_id
        if run_id is None:
            run = self._open_run(page)
            self._save(job_id, run=run)
            run_id = run.run_id
        try:
            self._send(run_id, page)
        except MlflowRefusedError as error:
            self._resolve(run_id, page, error)
        else:
            self._save(job_id, cursor=page.next)
        return len(page.events)

    def _save(self, job_id: str, *, run: RunKey | None = None, cursor: MlflowCursor | None = None) -> None:
        run_id, experiment_id = (run.run_id, run.experiment_id) if run else (None, None)
        with self._store.begin() as tx:
            tx.jobs.set_mlflow(job_id, run_id=run_id, experiment_id=experiment_id, cursor=cursor)

    def _load(self, job_id: str, after: MlflowCursor | None = None) -> Page:
        with self._store.read() as tx:
            job = tx.jobs.get(job_id)
            cursor = job.mlflow_cursor if after is None else after
            events = tx.events.after(job_id, cursor.seq, limit=PAGE_EVENTS, kinds=RECORDED_KINDS)
            points, cursor = new_points(events, cursor)
            next_seq = events[-1].seq if len(events) == PAGE_EVENTS else job.last_seq
            return Page(_facts(tx, job), events, points, replace(cursor, seq=next_seq))

    def _open_run(self, page: Page) -> RunKey:
        """Find or create the job's run, log its parameters and datasets, and return it."""
        job, facts = page.job, page.facts
        # Not when the job was submitted: the time in the queue would count in MLflow's duration.
        started_at = facts.attempts[0].created_at if facts.attempts else job.created_at
        tags = run_tags(job) | parent_tags(facts.parent_run_id)
        run = self._api.ensure_run(job.id, name=job.name, started_at=started_at, tags=tags)
        if self._api.run_state(run.run_id) is RunState.ACTIVE:
            self._api.log_params(run.run_id, params_of(job, next(iter(facts.datasets), None), facts.eval_dataset))
            self._api.log_datasets(run.run_id, dataset_inputs(job, facts.datasets, facts.eval_dataset))
        return run

    def _refill(self, page: Page) -> None:
        """Create a new run for a job whose run MLflow does not know, and fill it from the first event on."""
        job_id, cursor = page.job.id, MlflowCursor()
        run = self._open_run(page)
        while cursor.seq < page.next.seq:
            part = self._load(job_id, after=cursor)
            self._send(run.run_id, part)
            cursor = part.next
        # Saved last: until then each try finds the same new run by its tag, and fills it from the start.
        self._save(job_id, run=run, cursor=cursor)

    def _send(self, run_id: str, page: Page) -> None:
        self._api.log_points(run_id, page.points)
        for event in page.events:
            if event.kind == EventKind.SAMPLE:
                upload_sample(self._api, run_id, event)
        if any(event.kind == EventKind.SAMPLE for event in page.events):
            upload_sample_table(self._api, run_id, self._newest_samples(page.job.id))
        analyses = [event.payload.analysis for event in page.events if isinstance(event.payload, FailurePayload)]
        if analyses and analyses[-1] is not None:
            upload_failure(self._api, run_id, analyses[-1])
        moves = [(event.payload, event.at) for event in page.events if event.kind == EventKind.STATUS]
        statuses = [(payload.status, at) for payload, at in moves if isinstance(payload, StatusPayload)]
        tags = event_tags(page.job, page.events)
        if statuses:
            tags |= parent_tags(page.facts.parent_run_id)  # the run of its sweep may be newer than its own
            tags[NOTE_TAG] = run_note(page.facts, self._server_url)[:MAX_TAG_LENGTH]
            self._api.log_points(run_id, run_time_points(page.facts.attempts))
        if tags:
            self._api.set_tags(run_id, tags)
        if page.job.num_files > 1 and any(status is JobStatus.PENDING for status, _ in statuses):
            # Files may have been appended since the last attempt; MLflow keeps each dataset once.
            self._api.log_datasets(run_id, dataset_inputs(page.job, page.facts.datasets, page.facts.eval_dataset))
        if any(status is JobStatus.COMPLETED for status, _ in statuses[:-1]):
            self._deliver(run_id, page, JobStatus.COMPLETED)  # it was re-opened before this page was read
        if statuses:
            self._send_status(run_id, page, *statuses[-1])

    def _send_status(self, run_id: str, page: Page, status: JobStatus, at: datetime) -> None:
        if not status.is_terminal:
            self._api.set_status(run_id, run_status(status, page.facts.models))
            return
        problem = self._deliver(run_id, page, status)
        if problem:
            logger.warning("MLflow's record of %s is incomplete: %s", page.job.id, problem)
            self._api.set_tags(run_id, {"ftlab.incomplete": problem[:MAX_TAG_LENGTH]})
        # Last, so that a run that has ended is complete.
        self._api.end(run_id, run_status(status, page.facts.models), at)

    def _deliver(self, run_id: str, page: Page, status: JobStatus) -> str | None:
        """Send the files of an ended job; return a sentence about what can never be sent."""
        job, folder = page.job, self._jobs_folder / page.job.id
        try:
            upload_config(self._api, run_id, job_file(job))
            upload_logs(self._api, run_id, folder)
            if job.kind is JobKind.EVALUATION and status is JobStatus.COMPLETED:
                upload_results(self._api, run_id, folder)
            if job.kind is JobKind.TRAINING and status is JobStatus.COMPLETED and not page.facts.models:
                upload_model(self._api, run_id, folder / "model")
                return "The job has no tuned model."
            for model in page.facts.models:
                self._deliver_model(run_id, page.facts, model, folder / model.path.name)
        except (FileNotFoundError, ValueError) as error:
            return f"A file could not be read: {error}"
        except MlflowRefusedError as error:
            if not error.is_permanent or self._api.run_state(run_id) is not RunState.ACTIVE:
                raise
            return f"MLflow refused a part: {error}"
        return None

    def _deliver_model(self, run_id: str, facts: RunFacts, model: ModelRecord, folder: Path) -> None:
        """Upload a tuned model, and register it if the job asked for it."""
        job = facts.job
        name = registered_name(job)
        if name is None:
            # The manifest is uploaded last.
            if not self._api.has_artifact(run_id, folder.name, MANIFEST):
                upload_model(self._api, run_id, folder)
            return
        if model.mlflow_version is not None and self._api.has_model(name, run_id, folder.name):
            return
        upload_model(self._api, run_id, folder)
        note = model_note(facts, model, self._server_url)
        tags = model_tags(job, model)
        version = self._api.register_model(name, run_id, folder.name, alias=job.id, tags=tags, note=note)
        with self._store.begin() as tx:
            tx.models.set_mlflow_version(model.id, version)

    def _resolve(self, run_id: str, page: Page, error: MlflowRefusedError) -> None:
        """Handle a refusal: re-raise it when a retry may succeed, else refill or skip."""
        job = page.job
        state = self._api.run_state(run_id)
        if state is RunState.ACTIVE and not error.is_permanent:
            raise error
        if state is RunState.MISSING and not self._was_deleted(job.id):
            self._refill(page)
            return
        if state is RunState.ACTIVE:
            logger.warning("MLflow refused a part of the record of %s: %s", job.id, error)
            self._skip(page, page.next, INCOMPLETE, "MLflow refused a part of this job's record.")
            return
        # A user moved the run to the trash: do not restore or replace it.
        message = "The job's MLflow run was deleted; nothing more of this job is recorded in MLflow."
        self._skip(page, replace(page.next, seq=job.last_seq), RUN_DELETED, message)

    def _skip(self, page: Page, cursor: MlflowCursor, code: str, message: str) -> None:
        """Move the cursor past what MLflow will not get, with one notice in the job's event log."""
        job = page.job
        if not job.status.is_terminal and not self._was_noticed(job.id, code):
            notice = NewEvent(NoticePayload(code=code, message=message), self._clock())
            try:
                with self._store.begin() as tx:
                    tx.events.append(JobRef(job.id, job.attempt), [notice])
            except StaleJobError:
                logger.info("%s has moved on; the notice follows with its next events.", job.id)
        self._save(job.id, cursor=cursor)

    def _was_deleted(self, job_id: str) -> bool:
        return self._was_noticed(job_id, RUN_DELETED)

    def _newest_samples(self, job_id: str) -> list[EventRecord]:
        with self._store.read() as tx:
            return tx.events.tail(job_id, EventKind.SAMPLE, MAX_TABLE_SAMPLES)

    def _was_noticed(self, job_id: str, code: str) -> bool:
        with self._store.read() as tx:
            notices = tx.events.tail(job_id, EventKind.NOTICE, PAGE_EVENTS)
        return any(notice.data["code"] == code for notice in notices)


def new_points(events: Sequence[EventRecord], cursor: MlflowCursor) -> tuple[list[Point], MlflowCursor]:
    """The points of steps that MLflow does not have yet, and the cursor after them.

    A resumed attempt repeats the steps after its checkpoint. MLflow cannot replace a point, so the first value stays.
    """
    step, eval_step, points = cursor.step, cursor.eval_step, []
    for event in events:
        if event.kind == EventKind.METRICS:
            new = [
                point
                for point in points_of(event)
                if point.is_final or point.step > (eval_step if point.is_eval else step)
            ]
            step = max([step, *(point.step for point in new if not point.is_eval)])
            eval_step = max([eval_step, *(point.step for point in new if point.is_eval)])
            points += new
    return points, replace(cursor, step=step, eval_step=eval_step)


def _facts(tx: Transaction, job: JobRecord) -> RunFacts:
    return RunFacts(
        job=job,
        attempts=tx.attempts.of_job(job.id),
        datasets=[_find_dataset(tx, dataset_id) for dataset_id in job.dataset_ids],
        eval_dataset=_find_dataset(tx, job.eval_dataset_id),
        models=tx.models.all_of_job(job.id),
        best=next((checkpoint for checkpoint in tx.checkpoints.of_job(job.id) if checkpoint.is_best), None),
        parent_run_id=tx.sweeps.mlflow_run_of(job.sweep_id) if job.sweep_id else None,
    )


def _find_dataset(tx: Transaction, dataset_id: str | None) -> DatasetRecord | None:
    if dataset_id is None:
        return None
    try:
        return tx.datasets.get(dataset_id)
    except NotFoundError:
        return None
