"""The data worker's views of datasets: check reports, which are kept as files, and token views."""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cluster.data.requests import BaseRef, CheckRequest, SourceFile, TokensRequest
from cluster.data.tasks import OnProgress
from ftlab.files import replacing
from ftlab.schemas.checks import DEFAULT_MAX_FINDINGS, CheckReport
from train.model.base_model import BaseModel

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_REPORTS = 500
"""Reports that are kept; the oldest go first."""
MAX_TOKENIZERS = 4
"""Tokenizers that are kept for token views."""

Fetch = Callable[[SourceFile], Path]
"""Brings the rows of a dataset to this machine."""


class DataChecks:
    """Checks datasets and shows their tokens. Safe to call from several threads."""

    def __init__(self, cache: Path, fetch: Fetch) -> None:
        self._folder = cache / "checks"
        self._fetch = fetch
        # A tokenizer must not be changed while another thread uses it, so each check has its own.
        self._tokenizers: OrderedDict[str, PreTrainedTokenizerBase] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, request: CheckRequest, on_progress: OnProgress, *, eval_is_sound: bool = False) -> dict[str, Any]:
        """The report as a document, from the disk where it has been made before. Raises what the doctor raises.

        With `eval_is_sound` the rows to evaluate on are known to be valid.
        """
        base = _find(request.base)
        # A request for fewer findings shares the report of the others.
        made = replace(request, max_findings=max(request.max_findings, DEFAULT_MAX_FINDINGS))
        path = self._folder / f"{self._name(made, base)}.json"
        report = _kept(path)
        if report is None:
            report = self._examine(made, base, on_progress, eval_is_sound=eval_is_sound)
            self._keep(path, report)
        return _as_asked(report, request).model_dump(mode="json")

    def _examine(
        self, request: CheckRequest, base: BaseModel, on_progress: OnProgress, *, eval_is_sound: bool
    ) -> CheckReport:
        from train.data.doctor import CheckOptions, examine
        from train.model.tokenizer import load_tokenizer

        method = request.method
        options = CheckOptions(
            max_length=method.max_length,
            assistant_only_loss=method.assistant_only_loss,
            packing=method.packing,
            max_findings=request.max_findings,
        )
        eval_file = request.eval_file
        return examine(
            self._fetch(request.file),
            load_tokenizer(base),
            options,
            eval_rows=(eval_file.dataset_id, self._fetch(eval_file)) if eval_file else None,
            eval_is_sound=eval_is_sound,
            on_progress=on_progress,
        )

    def tokens(self, request: TokensRequest) -> list[dict[str, Any]]:
        """One document a row, two for a pair. Raises what `train.data.tokens.token_view.token_rows` raises."""
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
                    max_length=None if method.packing else method.max_length,
                    assistant_only_loss=method.assistant_only_loss,
                )
            ]
        named = {"dataset_id": request.file.dataset_id, "model": request.base.model}
        return [row.model_copy(update=named).model_dump(mode="json") for row in shown]

    def _name(self, request: CheckRequest, base: BaseModel) -> str:
        """What decides a report: the rows, the tokens they become, and what was asked about them.

        Neither the ids of datasets nor the revision of the model: datasets with the same rows share a report, and the
        chat template of a local folder may change under one revision.
        """
        from train.data.doctor import VERSION
        from train.data.tokens.prepare import PrepareSpec, content_of

        tokens = PrepareSpec.of(self._rows(request.file), base.folder, request.method).key()
        held_out = content_of(self._rows(request.eval_file)) if request.eval_file else None
        return hashlib.sha256(json.dumps([VERSION, tokens, held_out, request.max_findings]).encode()).hexdigest()

    def _rows(self, file: SourceFile) -> Path:
        """For the name of their content; so rows that are elsewhere are fetched only where the doctor reads them."""
        from train.data.tokens.prepare import is_named_by_content

        return file.rows if is_named_by_content(file.rows) else self._fetch(file)

    def _tokenizer(self, base: BaseModel) -> "PreTrainedTokenizerBase":
        from train.data.tokens.prepare import tokenizer_digest
        from train.model.tokenizer import load_tokenizer

        name = tokenizer_digest(base.folder)
        if name not in self._tokenizers:
            self._tokenizers[name] = load_tokenizer(base)
        self._tokenizers.move_to_end(name)
        while len(self._tokenizers) > MAX_TOKENIZERS:
            self._tokenizers.popitem(last=False)
        return self._tokenizers[name]

    def _keep(self, path: Path, report: CheckReport) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as aside:
            aside.write_text(report.model_dump_json(), "utf-8")
        kept = sorted(self._folder.glob("*.json"), key=_made_at)
        for old in kept[:-MAX_REPORTS]:
            old.unlink(missing_ok=True)


def _kept(path: Path) -> CheckReport | None:
    """`None` where it is not there, or torn: then it is made again."""
    try:
        return CheckReport.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None


def _as_asked(report: CheckReport, request: CheckRequest) -> CheckReport:
    """The report with the names and the number of findings of this request: it may have been made for another dataset
    with the same rows, and with more findings."""
    from train.data.doctor import worst

    named: dict[str, Any] = {"dataset_id": request.file.dataset_id, "model": request.base.model}
    named["findings"] = worst(report.findings, request.max_findings)
    if report.overlap is not None and request.eval_file is not None:
        named["overlap"] = report.overlap.model_copy(update={"eval_dataset_id": request.eval_file.dataset_id})
    return report.model_copy(update=named)


def _made_at(file: Path) -> float:
    """Seconds since the epoch; 0 where another thread or process removes it at this moment."""
    try:
        return file.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _find(base: BaseRef) -> BaseModel:
    from train.model.tokenizer import find_tokenizer

    return find_tokenizer(base.model, base.models_folder, pinned=base.pinned_revision)
