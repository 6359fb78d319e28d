"""Checks of datasets in the data worker: reports, kept as files, and token views."""

import hashlib
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cluster.data.requests import BaseRef, CheckRequest, SourceFile, TokensRequest
from cluster.data.tasks import OnProgress
from ftlab.files import replacing
from ftlab.schemas.checks import DEFAULT_MAX_FINDINGS, CheckReport
from ftlab.schemas.methods import GrpoMethod, KtoMethod
from train.model.base_model import BaseModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from train.data.doctor import CheckOptions, EvalRows, Examination
    from train.data.rows.canonical import CanonicalFile
    from train.data.tokens.encode import TokenisedRow
    from train.data.tokens.render import Renderer

MAX_REPORTS = 500
"""Maximum number of kept reports; the oldest are removed first."""
MAX_TOKENIZERS = 4
"""Maximum number of tokenizers kept for token views."""

logger = logging.getLogger(__name__)

Fetch = Callable[[SourceFile], Path]
"""Brings the rows of a dataset to this machine."""
KnownEvalRows = Callable[[], "EvalRows"]
"""Returns the evaluation rows that a job prepares, with their fingerprints."""


class DataChecks:
    """Checks datasets and shows their tokens. Safe to call from several threads."""

    def __init__(self, cache: Path, fetch: Fetch) -> None:
        self._folder = cache / "checks"
        self._fetch = fetch
        # A tokenizer must not be changed while another thread uses it, so each check has its own.
        self._tokenizers: OrderedDict[str, PreTrainedTokenizerBase] = OrderedDict()
        self._lock = threading.Lock()

    def check(
        self, request: CheckRequest, on_progress: OnProgress, eval_rows: KnownEvalRows | None = None
    ) -> dict[str, Any]:
        """The report as a document, from disk if it has been made before. Raise what the doctor raises.

        `eval_rows` is given where a job prepares the evaluation rows; otherwise they are checked as well.
        """
        from train.data.doctor import EvalRows, examine
        from train.model.tokenizer import load_tokenizer

        base = _find(request.base)
        made, path = self.made(request, base)
        report = _kept(path)
        if report is None:
            eval_file = made.eval_file
            if eval_file is not None and eval_rows is None:
                eval_rows = partial(EvalRows, eval_file.dataset_id, self._fetch(eval_file))
            report = examine(
                self._fetch(made.file),
                load_tokenizer(base),
                _options(made),
                eval_rows=eval_rows() if eval_rows else None,
                on_progress=on_progress,
            )
            self.keep(path, report)
        return _as_asked(report, request).model_dump(mode="json")

    def watch(self, request: CheckRequest, base: BaseModel, eval_rows: KnownEvalRows | None) -> "Watch":
        """An observer that makes the report of a file while a job prepares it for `base`, unless it already exists."""
        return Watch(self, request, base, eval_rows)

    def made(self, request: CheckRequest, base: BaseModel) -> tuple[CheckRequest, Path]:
        """The check that answers a request, and the file of its report."""
        # Requests for fewer findings share the report of the others.
        made = replace(request, max_findings=max(request.max_findings, DEFAULT_MAX_FINDINGS))
        return made, self._folder / f"{self._name(made, base)}.json"

    def tokens(self, request: TokensRequest) -> list[dict[str, Any]]:
        """One document per row, two for a pair. Raise what `train.data.tokens.token_view.token_rows` raises."""
        from train.data.tokens.token_view import token_rows

        method = request.method
        rows = self._fetch(request.file)
        with self._lock:
            tokenizer = self._tokenizer(_find(request.base))
            shown = [
                row
                for place in range(request.first_row, request.first_row + request.num_rows)
                for row in token_rows(
                    rows,
                    tokenizer,
                    number=place + 1,
                    max_length=method.max_length,
                    assistant_only_loss=method.assistant_only_loss,
                    packing=method.packing,
                )
            ]
        named = {"dataset_id": request.file.dataset_id, "model": request.base.model}
        return [row.model_copy(update=named).model_dump(mode="json") for row in shown]

    def template_problems(self, request: TokensRequest) -> dict[int, str]:
        """Problems by line of the first rows. Raise what `train.data.doctor.template_check` raises."""
        from train.data.doctor.template_check import template_problems

        rows = self._fetch(request.file)
        with self._lock:
            tokenizer = self._tokenizer(_find(request.base))
            return template_problems(
                rows, tokenizer, request.num_rows, assistant_only_loss=request.method.assistant_only_loss
            )

    def _name(self, request: CheckRequest, base: BaseModel) -> str:
        """Name of a report, from everything that determines it: the rows, their tokens, and the options.

        It leaves out the ids of datasets, since those with the same rows share a report, and the revision of the model,
        since the chat template of a local folder may change without it.
        """
        from train.data.doctor import VERSION
        from train.data.tokens.prepare import PrepareSpec, content_of

        tokens = PrepareSpec.of(self._rows(request.file), base.tokenizer_folder, request.method).key()
        held_out = content_of(self._rows(request.eval_file)) if request.eval_file else None
        parts = [VERSION, tokens, held_out, request.max_findings, _label_weights(request), *request.rewards]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _rows(self, file: SourceFile) -> Path:
        """The path that names the content of the rows, which are fetched only if their name does not."""
        from train.data.tokens.prepare import is_named_by_content

        return file.rows if is_named_by_content(file.rows) else self._fetch(file)

    def _tokenizer(self, base: BaseModel) -> "PreTrainedTokenizerBase":
        from train.data.tokens.prepare import tokenizer_digest
        from train.model.tokenizer import load_tokenizer

        name = tokenizer_digest(base.tokenizer_folder)
        if name not in self._tokenizers:
            self._tokenizers[name] = load_tokenizer(base)
        self._tokenizers.move_to_end(name)
        while len(self._tokenizers) > MAX_TOKENIZERS:
            self._tokenizers.popitem(last=False)
        return self._tokenizers[name]

    def keep(self, path: Path, report: CheckReport) -> None:
        """Write a report to disk durably, and remove the oldest beyond `MAX_REPORTS`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as aside:
            aside.write_text(report.model_dump_json(), "utf-8")
        kept = sorted(self._folder.glob("*.json"), key=_made_at)
        for old in kept[:-MAX_REPORTS]:
            old.unlink(missing_ok=True)


class Watch:
    """The doctor as observer of the preparation of one file. Its errors are logged and never stop the job."""

    def __init__(
        self, checks: DataChecks, request: CheckRequest, base: BaseModel, eval_rows: KnownEvalRows | None
    ) -> None:
        self.request = request
        self.has_report = False
        """Whether the report is known to be on disk."""
        self._checks = checks
        self._base = base
        self._eval_rows = eval_rows
        self._doctor: Examination | None = None

    def begin(self, file: "CanonicalFile", renderer: "Renderer") -> "Watch":
        """Start to observe; an `Observe` function of `train.data.tokens.prepare`."""
        from train.data.doctor import Examination

        with self._logged():
            made, self._path = self._checks.made(self.request, self._base)
            self.has_report = _kept(self._path) is not None
            if not self.has_report:
                self._doctor = Examination(file, renderer, _options(made))
        return self

    def on_rendered(self, rows: "list[TokenisedRow]") -> None:
        with self._logged():
            if self._doctor is not None:
                self._doctor.on_rendered(rows)

    def on_tokenised(self, rows: "list[TokenisedRow]") -> None:
        with self._logged():
            if self._doctor is not None:
                self._doctor.on_tokenised(rows)

    def on_end(self) -> None:
        with self._logged():
            doctor, self._doctor = self._doctor, None
            if doctor is not None:
                self._checks.keep(self._path, doctor.report(self._eval_rows() if self._eval_rows else None))
                self.has_report = True

    @contextmanager
    def _logged(self) -> Iterator[None]:
        try:
            yield
        except Exception:  # an edge: a failing check must not stop a job that can train
            logger.exception("The doctor's check of dataset %s could not be followed", self.request.file.dataset_id)
            self._doctor = None


def _options(request: CheckRequest) -> "CheckOptions":
    from train.data.doctor import CheckOptions

    method = request.method
    return CheckOptions(
        method.max_length,
        method.assistant_only_loss,
        method.packing,
        request.max_findings,
        _label_weights(request),
        isinstance(method, GrpoMethod),
        request.rewards,
    )


def _label_weights(request: CheckRequest) -> tuple[float, float]:
    """Weights of good and of bad answers in the loss."""
    method = request.method
    return (method.desirable_weight, method.undesirable_weight) if isinstance(method, KtoMethod) else (1.0, 1.0)


def _kept(path: Path) -> CheckReport | None:
    """The kept report; `None` if it is missing or damaged, so that it is made again."""
    try:
        return CheckReport.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _as_asked(report: CheckReport, request: CheckRequest) -> CheckReport:
    """The report with the names and the number of findings of this request.

    It may have been made for another dataset with the same rows, and with more findings.
    """
    from train.data.doctor import worst

    file = request.file
    named: dict[str, Any] = {"dataset_id": file.dataset_id, "dataset_name": file.name, "model": request.base.model}
    named["findings"] = worst(report.findings, request.max_findings)
    if report.overlap is not None and request.eval_file is not None:
        named["overlap"] = report.overlap.model_copy(update={"eval_dataset_id": request.eval_file.dataset_id})
    return report.model_copy(update=named)


def _made_at(file: Path) -> float:
    """Seconds since the epoch; 0 for a file that another thread or process is removing."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _find(base: BaseRef) -> BaseModel:
    from train.model.tokenizer import find_tokenizer

    return find_tokenizer(base.model, base.models_folder, pinned=base.pinned_revision, local=base.local)
