"""The data worker's looks at datasets: reports, kept as files, and token views."""

import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.data_tasks import OnProgress
from cluster.data_work import BaseRef, CheckRequest, SourceFile, TokensRequest
from ftlab.schemas.checks import CheckReport
from train.base_model import BaseModel

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

    def check(self, request: CheckRequest, on_progress: OnProgress) -> dict[str, Any]:
        """The report as a document, from the disk where it has been made before. Raises what the doctor raises."""
        from train.data.doctor import VERSION, CheckOptions, examine
        from train.tokenizer import load_tokenizer

        base = _find(request.base)
        name = hashlib.sha256(f"{request.key}:{base.revision}:{VERSION}".encode()).hexdigest()
        path = self._folder / f"{name}.json"
        if path.exists():
            return CheckReport.model_validate_json(path.read_bytes()).model_dump(mode="json")
        method = request.method
        options = CheckOptions(
            max_length=method.max_length,
            assistant_only_loss=method.assistant_only_loss,
            packing=method.packing,
            max_findings=request.max_findings,
        )
        eval_file = request.eval_file
        report = examine(
            self._fetch(request.file),
            load_tokenizer(base),
            options,
            eval_rows=(eval_file.dataset_id, self._fetch(eval_file)) if eval_file else None,
            on_progress=on_progress,
        )
        report = report.model_copy(update={"dataset_id": request.file.dataset_id, "model": request.base.model})
        self._keep(path, report)
        return report.model_dump(mode="json")

    def tokens(self, request: TokensRequest) -> list[dict[str, Any]]:
        """One document a row, two for a pair. Raises what `train.data.token_view.token_rows` raises."""
        from train.data.token_view import token_rows

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

    def _tokenizer(self, base: BaseModel) -> "PreTrainedTokenizerBase":
        from train.tokenizer import load_tokenizer

        name = f"{base.folder}:{base.revision}"
        if name not in self._tokenizers:
            self._tokenizers[name] = load_tokenizer(base)
        self._tokenizers.move_to_end(name)
        while len(self._tokenizers) > MAX_TOKENIZERS:
            self._tokenizers.popitem(last=False)
        return self._tokenizers[name]

    def _keep(self, path: Path, report: CheckReport) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{threading.get_ident()}.tmp")
        aside.write_text(report.model_dump_json(), "utf-8")
        os.replace(aside, path)
        kept = sorted(self._folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
        for old in kept[:-MAX_REPORTS]:
            old.unlink(missing_ok=True)


def _find(base: BaseRef) -> BaseModel:
    from train.tokenizer_folder import find_tokenizer

    return find_tokenizer(base.model, base.models_folder, pinned=base.pinned_revision)
