"""The data worker: everything that needs a tokenizer but no device, in a process of its own.

So neither the API nor the coordinator imports a tokenizer, and a dataset that uses up all memory affects only this
process.
"""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray

from cluster.coordinator_client import RayCoordinatorClient
from cluster.data.checks import DataChecks, KnownEvalRows, Watch
from cluster.data.requests import (
    FINDINGS,
    CheckRequest,
    DataRequest,
    FetchRequest,
    LengthsRequest,
    PrepareRequest,
    SourceFile,
    TokensRequest,
    WorkState,
)
from cluster.data.tasks import OnProgress, TaskTable
from cluster.named_actor import start_actor
from cluster.names import DATA_WORKER
from ftlab.formatting import counted
from ftlab.lean_imports import execute_hiding, hook_imports
from ftlab.schemas.checks import CheckReport
from ftlab.schemas.methods import GrpoMethod, Method
from ftlab.settings import Settings, load_settings
from tracking.buckets import Buckets
from train.data.split_spec import SplitSpec
from train.data.tokens.sample_prompts import encode_prompts
from train.model.adapter_files import check_adapter
from train.model.base_model import BaseModel
from train.model.folder import facts_of
from train.model.preflight import check_rows, check_use

if TYPE_CHECKING:
    from train.data.eval_split import FileSplit, RowSelection
    from train.data.tokens.prepare import Prepared
    from train.data.tokens.row_lengths import RowLengths

PREPARATIONS = 2
"""Jobs whose data is prepared at the same time."""
CHECKS = 2
"""Datasets that are checked at the same time, in addition."""
CHECK_KEPT_S = 3.0
"""How long the result of a check is remembered: not long, since a chat template may be changed and tried repeatedly.
If nothing has changed, the report is on disk."""
NICENESS = 10
"""The same as for training, so that requests to the API take precedence."""
MAX_CALLS = 32

logger = logging.getLogger(__name__)


class DataWorker:
    """Prepares, checks and shows datasets. Results are files below `home/cache`, which the next data worker finds.

    `prepare` and `check` return the progress immediately; the work is done in threads of their own.
    """

    def __init__(self, settings: Settings, *, on_prepared: Callable[[], None] = lambda: None) -> None:
        self._settings = settings
        self._cache = settings.home / "cache"
        self._cache.mkdir(parents=True, exist_ok=True)
        self._preparations = TaskTable(PREPARATIONS, self._cache, on_end=on_prepared)
        self._checks = TaskTable(CHECKS, self._cache, reported_kept_s=CHECK_KEPT_S)
        self._doctor = DataChecks(self._cache, self._fetch)

    def prepare(self, request: DataRequest) -> WorkState:
        """Make the rows of a job ready; safe to repeat."""

        def work(on_progress: OnProgress) -> dict[str, Any]:
            if isinstance(request, FetchRequest):
                return {"files": [str(self._fetch(file)) for file in request.files]}
            return self._prepare(request, on_progress)

        state = self._preparations.ask(request.key, work)
        return replace(state, worker=os.getpid())

    def check(self, request: CheckRequest) -> WorkState:
        """Check a dataset; safe to repeat. The result is a `CheckReport` document."""
        return self._checks.ask(request.key, lambda on_progress: self._doctor.check(request, on_progress))

    def tokens(self, request: TokensRequest) -> list[dict[str, Any]]:
        """The tokens of some rows: one `TokenRow` document per row, two for a pair."""
        return self._doctor.tokens(request)

    def template_problems(self, request: TokensRequest) -> dict[int, str]:
        """What the chat template leaves out of the first `num_rows` rows, by their line in the uploaded file."""
        return self._doctor.template_problems(request)

    def row_lengths(self, request: LengthsRequest) -> "list[RowLengths]":
        """How long the rows of each file are; a sample of those that are not prepared yet."""
        from train.data.rows.errors import named_file
        from train.data.tokens.prepare import PrepareSpec
        from train.data.tokens.row_lengths import row_lengths
        from train.model.tokenizer import find_tokenizer, load_tokenizer

        ref = request.base
        base = find_tokenizer(ref.model, ref.models_folder, pinned=ref.pinned_revision, local=ref.local)
        tokenizer = cache(lambda: load_tokenizer(base))
        found = []
        for file, split in zip(request.files, self._splits(request.files, request.eval_split), strict=True):
            with named_file(file.label, is_eval=False):
                train, held_out = (split.train, split.eval.num_rows) if split else (None, 0)
                spec = PrepareSpec.of(self._fetch(file), base.tokenizer_folder, request.method, selection=train)
                found.append(replace(row_lengths(spec, self._cache, tokenizer), num_eval_rows=held_out))
        return found

    def close(self) -> None:
        self._preparations.close()
        self._checks.close()

    def _prepare(self, request: PrepareRequest, on_progress: OnProgress) -> dict[str, Any]:
        """Prepare the files one after another, watched by the doctor; return their manifests and its findings.

        Raise what the run would raise.
        """
        from train.data.rows.errors import named_file
        from train.data.tokens.prepare import check_labels, prepared_cache
        from train.model.tokenizer import load_tokenizer

        base = request.base.find()
        facts = facts_of(base.folder)
        if base.adapter is not None:
            check_adapter(base.adapter, facts)
        # The settings of an adapter of this service were checked by the job that made it.
        is_own = base.adapter is not None and base.adapter.is_relative_to(self._settings.home / "jobs")
        if request.use is not None and not is_own:
            check_use(request.use, facts)
        if request.samples is not None:
            encode_prompts(request.samples, load_tokenizer(base), facts.layers.max_positions if facts.layers else None)
        eval_file = request.eval_file
        progress = _Progress(on_progress, 2 * sum(file.num_rows for file in request.all_files))
        eval_rows = self._eval_rows(eval_file, progress) if eval_file else None
        splits = self._splits(request.files, request.eval_split, progress.step())
        rewards = request.method.compared_rewards if isinstance(request.method, GrpoMethod) else ()
        checks = [
            CheckRequest(request.base, request.method, file, eval_file, rewards=rewards) for file in request.files
        ]
        watches = [self._doctor.watch(check, base, eval_rows) for check in checks]
        made = []
        with ExitStack() as in_use:
            for part in _parts(watches, splits, eval_file):
                file = part.file
                with named_file(file.label, is_eval=part.is_eval, is_split=part.selection is not None):
                    prepared = self._prepare_part(part, base, request.method, progress.step())
                    in_use.callback(prepared.close)
                    if not part.is_eval:
                        check_labels(prepared.counts, request.method)
                check_rows(prepared.counts, facts, file.label)
                made.append({"dataset_id": file.dataset_id, "key": prepared.key, **asdict(prepared.counts)})
            # This job's own entries are still in use, so only others are evicted.
            prepared_cache(self._cache).evict(self._settings.prepared_cache_bytes)
            findings = " ".join(self._look_over(watch.request, eval_rows, progress.step()) for watch in watches)
            findings += self._leaks(request.files, splits, progress.step())
        progress.end()
        return {"files": made, FINDINGS: findings}

    def _prepare_part(
        self, part: "_Part", base: BaseModel, method: Method, on_rows: Callable[[int], None]
    ) -> "Prepared":
        from train.data.tokens.prepare import PrepareSpec, prepare_rows
        from train.model.tokenizer import load_tokenizer

        rows, watch = self._fetch(part.file), part.watch
        spec = PrepareSpec.of(rows, base.tokenizer_folder, method, is_eval=part.is_eval, selection=part.selection)
        observe = watch.begin if watch else None
        # The watch makes a second pass for the report unnecessary.
        passes = 2 if watch else 1
        prepared = prepare_rows(
            spec, self._cache, lambda: load_tokenizer(base), lambda rows: on_rows(passes * rows), observe
        )
        on_rows(part.num_rows * (2 if watch and watch.has_report else 1))
        return prepared

    def _splits(
        self, files: Sequence[SourceFile], spec: SplitSpec | None, on_rows: Callable[[int], None] = lambda _: None
    ) -> "list[FileSplit] | list[None]":
        """The split of each file; `None` for each without one. Raise what `train.data.row_keys.split_files` raises."""
        from train.data.row_keys import split_files

        if spec is None:
            return [None] * len(files)
        names = [file.label for file in files]
        # Reading the rows is no progress of the preparation, which only checks whether to stop.
        return split_files([self._fetch(file) for file in files], spec, self._cache, names, lambda _: on_rows(0))

    def _eval_rows(self, file: SourceFile, progress: "_Progress") -> KnownEvalRows:
        """A function that reads the evaluation rows when a report needs them, once for all files."""
        from train.data.doctor import EvalRows

        return cache(lambda: EvalRows.read(file.dataset_id, self._fetch(file), progress.step()))

    def _look_over(self, request: CheckRequest, eval_rows: KnownEvalRows | None, on_rows: Callable[[int], None]) -> str:
        """The doctor's report as a sentence. Never raises: errors that fail the job were raised by the preparation."""
        file = request.file
        try:
            document = self._doctor.check(request, lambda rows, _: on_rows(rows), eval_rows)
            report = CheckReport.model_validate(document)
        except Exception:  # an edge: a failing check must not stop a job that can train
            logger.exception("The doctor could not check dataset %s", file.dataset_id)
            return f"Dataset {file.label} could not be checked."
        # Where the model generates the answers, no token of the rows is trained.
        is_generated = isinstance(request.method, GrpoMethod)
        what = f"{report.num_rows:,} prompts; {report.found}." if is_generated else report.summary
        return f"Dataset {file.label}: {what}"

    def _leaks(
        self, files: Sequence[SourceFile], splits: "Sequence[FileSplit | None]", on_rows: Callable[[int], None]
    ) -> str:
        """How many rows a split sets aside, which the reports count too, and how many are known from training."""
        from train.data.split_leaks import num_leaks

        known = [split for split in splits if split is not None]
        if not known:
            return ""
        num_held_out = sum(split.eval.num_rows for split in known)
        text = f" The counts include {counted(num_held_out, 'row')} set aside for evaluation."
        try:
            leaks = num_leaks([self._fetch(file) for file in files], known, self._cache, lambda _: on_rows(0))
        except Exception:  # an edge: a failing check must not stop a job that can train
            logger.exception("The rows that are set aside could not be compared with the others")
            return text
        if leaks:
            text += (
                f" {leaks:,} of these {'is' if leaks == 1 else 'are'} nearly identical to a trained row, so the eval "
                "loss may look better than it is."
            )
        return text

    def _fetch(self, file: SourceFile) -> Path:
        """The rows on this machine, fetched from their bucket if necessary."""
        if file.rows.is_file():
            os.utime(file.rows)  # so that a copy that a run is about to read is not evicted first
            return file.rows
        return Buckets.open(self._settings).local_path(file.bucket, file.key)


@dataclass(frozen=True)
class _Part:
    """Rows of one dataset that a job trains or evaluates."""

    file: SourceFile
    is_eval: bool
    selection: "RowSelection | None" = None
    watch: Watch | None = None
    """The doctor, for a whole training dataset; one that is split is checked in a pass of its own."""

    @property
    def num_rows(self) -> int:
        return self.selection.num_rows if self.selection else self.file.num_rows


def _parts(
    watches: Sequence[Watch], splits: "Sequence[FileSplit | None]", eval_file: SourceFile | None
) -> Iterator[_Part]:
    """Everything that is prepared for a job: the rows to train on, then those to evaluate on."""
    for watch, split in zip(watches, splits, strict=True):
        file = watch.request.file
        yield _Part(file, is_eval=False, selection=split.train) if split else _Part(file, is_eval=False, watch=watch)
    for watch, split in zip(watches, splits, strict=True):
        if split and split.eval.num_rows:
            yield _Part(watch.request.file, is_eval=True, selection=split.eval)
    if eval_file:
        yield _Part(eval_file, is_eval=True)


class _Progress:
    """Progress of the preparation of a job's data.

    Each file counts twice: for its tokens, and for the doctor's report or the comparison with the other files.
    """

    def __init__(self, on_progress: OnProgress, total_rows: int) -> None:
        self._on_progress = on_progress
        self._total_rows = total_rows
        self._done_rows = 0

    def step(self) -> Callable[[int], None]:
        """Start a pass over some rows; call the result with the number of them that are done."""
        start = self._done_rows
        return lambda rows: self._reach(start + rows)

    def end(self) -> None:
        self._reach(self._total_rows)

    def _reach(self, rows: int) -> None:
        self._done_rows = max(self._done_rows, min(rows, self._total_rows))
        self._on_progress(self._done_rows, self._total_rows)


class DataWorkerActor(DataWorker):
    """The actor; it wakes the coordinator when a job's data is ready.

    PyTorch would take two thirds of its memory, and of the time until its first tokenizer is loaded.
    """

    def __init__(self) -> None:
        os.nice(NICENESS)
        # As where PyTorch is not installed: transformers then has its tokenizers, and no models. It would log that.
        hook_imports({"transformers": partial(execute_hiding, ("torch",))}.get)
        os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
        # Nothing forks here, and the tokenizer is fastest with one thread per core.
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        super().__init__(load_settings(), on_prepared=RayCoordinatorClient().hurry)


def start_data_worker() -> ray.actor.ActorHandle:
    """Start the data worker, or find the running one."""
    return start_actor(DataWorkerActor, DATA_WORKER, max_concurrency=MAX_CALLS)
