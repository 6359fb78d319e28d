"""The stage before a job holds a device: its data is prepared by the data worker while the job waits in the queue.

A job whose data is not ready is passed over; it holds nothing, and nobody behind it waits for it. One that has run
with the same files is not passed over: it would lose its turn over an answer that is late. Neither is one whose data
was ready before: it would lose its place when the service starts again. A job that runs when files are appended to it
trains on until they are prepared. The cache is the truth of what is ready, and a coordinator that forgot asks again.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from cluster.coordinator.queue_snapshot import Scene
from cluster.coordinator.ray_backend import Cluster
from cluster.coordinator.transitions import Moves
from cluster.data.make_requests import prepare_request
from cluster.data.requests import FINDINGS, PrepareRequest, WorkState, WorkStatus
from cluster.policy import Fleet, QueuedJob, Wait, fair_order, waiting_reasons
from ftlab.errors import NotFoundError
from ftlab.schemas import JobConfig
from ftlab.schemas.methods import Method
from ftlab.settings import Settings
from ftlab.status import RETRY_CLASSES, JobStatus, ReasonCode, RetryClass
from tracking.store import Store
from tracking.store.records import JobRecord
from train.model.base_model import LOCAL_REVISION

AT_WORK = 2
"""Preparations that go on at the same time."""
AT_WORK_FOR_RUNNING = 1
"""Of them those for files that were appended to jobs that run, so that the queue is not held up."""
SETTLED_S = 3.0
"""So long a job's files must have been the same before its run is stopped for them: they often come one by one."""
MAX_DEATHS = 3
"""After so many deaths of the data worker over the same data, the run itself shall try: it tells what is wrong."""
SILENCE_S = 120.0
"""The same after so long without an answer: a data worker that starts again is there within seconds."""
UNASKED_S = 30.0
"""After so long without a question, no answer is no sign."""
READY_FOR_S = 1800.0
"""So long data is taken to be ready. Then it is asked for again, which keeps it, and its rows, from being evicted."""
MAX_REMEMBERED = 10_000
LEFT_TO_THE_RUN = frozenset({ReasonCode.INTERNAL_ERROR, ReasonCode.HOST_OOM})
"""What went wrong may have been the data worker's own trouble."""

_READY, _WORKING = WorkState(WorkStatus.DONE), WorkState(WorkStatus.WORKING)
_NEVER = datetime.min.replace(tzinfo=UTC)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Wants:
    """All of a job's config that decides its prepared data: jobs that want the same share it."""

    datasets: tuple[str, ...]
    eval_dataset: str | None
    model: str
    revision: str | None
    """Of a model of the hub."""
    method: Method

    @classmethod
    def of(cls, config: JobConfig, revision: str | None) -> "_Wants":
        if revision is not None and revision.startswith(LOCAL_REVISION):
            revision = None
        return cls(tuple(config.datasets), config.eval_dataset, config.model, revision, config.method)


@dataclass(eq=False)
class _Data:
    """What is known of the data that some jobs want."""

    is_ready: bool = False
    ready_at: datetime = _NEVER
    request: PrepareRequest | None = None
    """Once it was asked for."""
    told: WorkState = _WORKING
    wanted_at: datetime | None = None
    """When a job that runs was first found to want it."""
    asked_at: datetime = _NEVER
    """When it was last asked for; `_NEVER` too where that is no measure of how long an answer takes."""
    heard_at: datetime = _NEVER
    """When the data worker last answered."""
    moved_at: datetime = _NEVER
    """When the preparation last got further."""
    num_deaths: int = 0
    """Of data workers that were at it."""

    def grow_old(self, now: datetime) -> None:
        """Data that was ready long ago is to be asked for again."""
        if self.is_ready and now - self.ready_at > timedelta(seconds=READY_FOR_S):
            self.is_ready, self.told, self.num_deaths = False, _WORKING, 0
            self.asked_at = _NEVER

    def ask(self, now: datetime) -> None:
        if now - self.asked_at > timedelta(seconds=UNASKED_S):
            self.heard_at = self.moved_at = now
        self.asked_at = now

    def note(self, is_ready: bool | None, now: datetime) -> None:
        """Keep whether it is ready; `None` when nobody asked."""
        if is_ready is None:
            self.asked_at = _NEVER
        else:
            self.is_ready, self.ready_at = is_ready, now

    def hear(self, answer: WorkState, now: datetime) -> None:
        if answer.done_rows != self.told.done_rows:
            self.moved_at = now
        self.num_deaths += self.told.worker not in (0, answer.worker)
        self.told, self.heard_at = answer, now

    def why_given_up(self, now: datetime, stuck_timeout_s: float) -> str | None:
        """Why nobody waits for the preparation any longer."""
        if self.num_deaths >= MAX_DEATHS:
            return f"{self.num_deaths} data workers died over it."
        if now - self.heard_at > timedelta(seconds=SILENCE_S):
            return "The data worker does not answer."
        if self.told.status is WorkStatus.WORKING and now - self.moved_at > timedelta(seconds=stuck_timeout_s):
            return "It does not get further."
        return None


class DataStage:
    def __init__(self, store: Store, cluster: Cluster, settings: Settings, moves: Moves) -> None:
        self._store = store
        self._cluster = cluster
        self._settings = settings
        self._moves = moves
        self._data: OrderedDict[_Wants, _Data] = OrderedDict()
        self._by_job: dict[str, tuple[JobConfig, str | None, _Data]] = {}
        """Of the jobs of the last look, so that a tick does not work it out anew for all of them."""
        self._for_running: dict[_Data, WorkState | None] = {}
        """What was asked for jobs that run, in this tick."""

    def let_take_in(self, jobs: Sequence[JobRecord], now: datetime) -> set[str]:
        """Of these jobs, which run and have new files, those that shall stop for them: all is ready.

        Or it can never be made, which fails the job once it has stopped. While the data worker has trouble, a run
        trains on.
        """
        self._for_running = {}
        due = set()
        for record in jobs:
            config = self._moves.config(record)
            if config is None:
                continue
            wanted = self._data_of(config, record.model_revision)
            wanted.grow_old(now)
            wanted.wanted_at = wanted.wanted_at or now
            if not wanted.is_ready and wanted not in self._for_running:
                is_turn = _num_at_work(self._for_running) < AT_WORK_FOR_RUNNING
                state = self._ask(wanted, config, record, now, gives_up=False) if is_turn else None
                self._for_running[wanted] = state
                wanted.note(None if state is None else state.status is WorkStatus.DONE, now)
            has_settled = now - wanted.wanted_at >= timedelta(seconds=SETTLED_S)
            if has_settled and _is_decided(self._for_running.get(wanted, _READY)):
                due.add(record.id)
        return due

    def pass_over(self, scene: Scene, fleet: Fleet, now: datetime) -> tuple[Sequence[QueuedJob], list[Wait]]:
        """The jobs that may start as far as their data goes, in queue order, and why the others wait.

        A job whose data cannot be prepared fails.
        """
        data = self._look_up(scene)
        for each in data.values():
            each.grow_old(now)
        if all(each.is_ready for each in data.values()):
            return scene.queue, []
        states: dict[_Data, WorkState | None] = {}
        waits: list[Wait] = []
        at_once: set[str] = set()
        for job in fair_order(scene.queue, fleet, scene.situation):
            wanted, record = data[job.id], scene.records[job.id]
            if not wanted.is_ready and wanted not in states:
                is_turn = _num_at_work(self._for_running | states) < AT_WORK
                states[wanted] = self._ask(wanted, job.config, record, now) if is_turn else None
            state = states.get(wanted, _READY)
            if self._goes_on_at_once(wanted, job, record, state):
                at_once.add(job.id)
            elif (wait := self._judge(job, record, state, now)) is not None:
                waits.append(wait)
        for wanted, state in states.items():
            wanted.note(None if state is None else _lets_start(state), now)
        self._forget_except(states)
        return [job for job in scene.queue if data[job.id].is_ready or job.id in at_once], waits

    def findings(self, job: JobRecord) -> str | None:
        """What the doctor says of the data of a job that the last look let start; `None` where it has not answered."""
        known = self._by_job.get(job.id)
        result = known[2].told.result if known is not None else None
        return result.get(FINDINGS) if result else job.data_findings

    def _look_up(self, scene: Scene) -> dict[str, _Data]:
        looked_at = {}
        for job in scene.queue:
            revision = scene.records[job.id].model_revision
            known = self._by_job.get(job.id)
            if known is None or known[0] is not job.config or known[1] != revision:
                known = job.config, revision, self._data_of(job.config, revision)
            looked_at[job.id] = known
        self._by_job = looked_at
        return {job_id: data for job_id, (_, _, data) in looked_at.items()}

    def _data_of(self, config: JobConfig, revision: str | None) -> _Data:
        return self._data.setdefault(_Wants.of(config, revision), _Data())

    def _request(self, wanted: _Data, config: JobConfig, record: JobRecord) -> PrepareRequest | None:
        """`None` when something of it is gone: the start finds out what, and says it."""
        if wanted.request is None:
            try:
                with self._store.read() as tx:
                    wanted.request = prepare_request(tx, self._settings, config, record.model_revision)
            except NotFoundError:
                return None
        return wanted.request

    def _goes_on_at_once(self, wanted: _Data, job: QueuedJob, record: JobRecord, state: WorkState | None) -> bool:
        """Whether the job was let start before and its run can prepare by itself what is not prepared any more."""
        was_let_start = (job.has_run and not record.has_new_files) or record.data_findings is not None
        if not was_let_start or (state is not None and state.status is not WorkStatus.WORKING):
            return False
        request = self._request(wanted, job.config, record)
        if request is None:
            return True
        files = [*request.files, *([request.eval_file] if request.eval_file else [])]
        # A run does not reach into buckets: rows that are not on this machine are brought by the data worker.
        return all(file.rows.is_file() for file in files)

    def _ask(
        self, wanted: _Data, config: JobConfig, record: JobRecord, now: datetime, *, gives_up: bool = True
    ) -> WorkState:
        request = self._request(wanted, config, record)
        if request is None:
            return _READY
        wanted.ask(now)
        answer = self._cluster.prepare(request)
        if answer is not None:
            wanted.hear(answer, now)
        if gives_up and (why := wanted.why_given_up(now, config.first_step_timeout_s)):
            logger.warning("The data of job %s is left to its run: %s", record.id, why)
            return _READY
        return wanted.told

    def _judge(self, job: QueuedJob, record: JobRecord, state: WorkState | None, now: datetime) -> Wait | None:
        if state is None:
            return Wait(job.id, waiting_reasons.waits_for_data_ahead(AT_WORK))
        if state.status is WorkStatus.WORKING:
            return Wait(job.id, waiting_reasons.waits_for_data(state.percent))
        if state.status is WorkStatus.FAILED and state.reason is None:
            return Wait(job.id, waiting_reasons.waits_for_what_is_away(state.message))
        if not _lets_start(state):
            self._moves.move(record, JobStatus.FAILED, now, reason=state.reason, message=state.message)
        return None

    def _forget_except(self, states: dict[_Data, WorkState | None]) -> None:
        """Forget what nobody wants any more, and what failed: the next job that wants it has it tried again."""
        kept = {
            wants: data
            for wants, data in self._data.items()
            if data.is_ready
            or data in self._for_running
            or ((state := states.get(data, _READY)) is None or _is_open(state))
        }
        self._data = OrderedDict(islice(kept.items(), max(0, len(kept) - MAX_REMEMBERED), None))
        remembered = set(kept.values())
        self._by_job = {job_id: known for job_id, known in self._by_job.items() if known[2] in remembered}


def _num_at_work(states: Mapping[_Data, WorkState | None]) -> int:
    return sum(state is not None and state.status is WorkStatus.WORKING for state in states.values())


def _is_decided(state: WorkState | None) -> bool:
    """Whether the data is there, or never will be."""
    return state is not None and (state.status is WorkStatus.DONE or not (_is_open(state) or _lets_start(state)))


def _is_open(state: WorkState) -> bool:
    """Whether it will be asked for again."""
    return state.status is WorkStatus.WORKING or (state.status is WorkStatus.FAILED and state.reason is None)


def _lets_start(state: WorkState) -> bool:
    """Whether the data is there, or the run is to make it."""
    if state.status is not WorkStatus.FAILED:
        return state.status is WorkStatus.DONE
    reason = state.reason
    return reason in LEFT_TO_THE_RUN or (reason is not None and RETRY_CLASSES[reason] is not RetryClass.NEVER)
