"""The data worker: everything that needs a tokenizer and no device, in a process of its own.

So neither the API nor the coordinator imports a tokenizer, and a dataset that takes all memory takes it from here.
"""

import logging
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import ray

from cluster.coordinator_client import RayCoordinatorClient
from cluster.data.checks import DataChecks
from cluster.data.requests import FINDINGS, CheckRequest, PrepareRequest, SourceFile, TokensRequest, WorkState
from cluster.data.tasks import OnProgress, TaskTable
from cluster.named_actor import start_actor
from cluster.names import DATA_WORKER
from ftlab.schemas.checks import CheckReport
from ftlab.settings import Settings, load_settings
from tracking.buckets import Buckets

PREPARATIONS = 2
"""Jobs whose data is prepared at the same time."""
CHECKS = 2
"""Datasets that are checked at the same time, besides."""
CHECK_KEPT_S = 3.0
"""How long the end of a check is remembered: a chat template may be changed and tried again at once. Where nothing has
changed, the report is on the disk."""
NICENESS = 10
"""As training: a request to the API goes first."""
MAX_CALLS = 32

logger = logging.getLogger(__name__)


class DataWorker:
    """Prepares, checks and shows datasets. What it makes are files below `home/cache`: a new one finds them.

    `prepare` and `check` answer at once with how far the work is, and do it in threads of their own.
    """

    def __init__(self, settings: Settings, *, on_prepared: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._cache = settings.home / "cache"
        self._cache.mkdir(parents=True, exist_ok=True)
        self._preparations = TaskTable(PREPARATIONS, self._cache, on_end=on_prepared)
        self._checks = TaskTable(CHECKS, self._cache, reported_kept_s=CHECK_KEPT_S)
        self._doctor = DataChecks(self._cache, self._fetch)

    def prepare(self, request: PrepareRequest) -> WorkState:
        """Make the rows of a job ready for training; safe to repeat."""
        state = self._preparations.ask(request.key, lambda on_progress: self._prepare(request, on_progress))
        return replace(state, worker=os.getpid())

    def check(self, request: CheckRequest) -> WorkState:
        """Look for what is wrong with a dataset; safe to repeat. The result is a `CheckReport` document."""
        return self._checks.ask(request.key, lambda on_progress: self._doctor.check(request, on_progress))

    def tokens(self, request: TokensRequest) -> list[dict[str, Any]]:
        """The tokens of some rows: a `TokenRow` document a row, two for a pair."""
        return self._doctor.tokens(request)

    def close(self) -> None:
        self._preparations.close()
        self._checks.close()

    def _prepare(self, request: PrepareRequest, on_progress: OnProgress) -> dict[str, Any]:
        """Prepare the files one after another, then look them over; return their manifests and what the doctor says.

        Raises what the run would raise.
        """
        from train.data.rows.errors import named_file
        from train.data.tokens.prepare import PrepareSpec, prepare_rows, prepared_cache
        from train.model.tokenizer import load_tokenizer

        base = request.base.find()
        total_rows = sum(file.num_rows for file in (*request.all_files, *request.files))
        done_rows = 0
        made = []
        with ExitStack() as in_use:
            for file in request.all_files:

                def tell(rows: int, before: int = done_rows) -> None:
                    on_progress(before + rows, total_rows)

                is_eval = file is request.eval_file
                with named_file(file.dataset_id, is_eval=is_eval):
                    spec = PrepareSpec.of(self._fetch(file), base.folder, request.method, is_eval=is_eval)
                    prepared = prepare_rows(spec, self._cache, lambda: load_tokenizer(base), tell)
                in_use.callback(prepared.close)
                made.append({"dataset_id": file.dataset_id, "key": prepared.key, **asdict(prepared.counts)})
                done_rows += file.num_rows
                on_progress(done_rows, total_rows)
            # What this job needs is in use until others have made room for it.
            prepared_cache(self._cache).evict(self._settings.prepared_cache_bytes)
            said = []
            for file in request.files:

                def tell_looked_over(rows: int, before: int = done_rows) -> None:
                    on_progress(before + rows, total_rows)

                check = CheckRequest(request.base, request.method, file, request.eval_file)
                said.append(self._look_over(check, tell_looked_over))
                done_rows += file.num_rows
                on_progress(done_rows, total_rows)
        return {"files": made, FINDINGS: " ".join(said)}

    def _look_over(self, request: CheckRequest, on_rows: Callable[[int], None]) -> str:
        """The doctor's report in a sentence. What would stop the job has been raised before, so nothing does here."""
        file = request.file

        def tell(rows: int, total: int) -> None:
            # The doctor counts the rows to evaluate on besides, which are compared with each file anew.
            on_rows(file.num_rows * rows // max(total, 1))

        try:
            # The rows to evaluate on have been prepared: what would be wrong with them has been raised.
            report = CheckReport.model_validate(self._doctor.check(request, tell, eval_is_sound=True))
        except Exception:  # an edge: a job that can train is not kept from it by what only looks at it
            logger.exception("The doctor could not look at dataset %s", file.dataset_id)
            return f"Dataset {file.dataset_id} could not be checked."
        return f"Dataset {file.dataset_id}: {report.summary}"

    def _fetch(self, file: SourceFile) -> Path:
        """The rows on this machine, from their bucket if need be."""
        if file.rows.is_file():
            os.utime(file.rows)  # a copy that a run is about to read is not the first to be evicted
            return file.rows
        return Buckets.open(self._settings).local_path(file.bucket, file.key)


class DataWorkerActor(DataWorker):
    """The actor; it has the coordinator look again when some job's data is ready."""

    def __init__(self) -> None:
        os.nice(NICENESS)
        # Nothing forks here, and one thread a core is what makes a tokenizer fast.
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        super().__init__(load_settings(), on_prepared=RayCoordinatorClient().attempt_ended)


def start_data_worker() -> ray.actor.ActorHandle:
    """Start the data worker, or find the running one."""
    return start_actor(DataWorkerActor, DATA_WORKER, max_concurrency=MAX_CALLS)
