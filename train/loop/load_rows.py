"""The prepared rows of a run: opened from the cache, or made if they are missing."""

from transformers import PreTrainedTokenizerBase

from ftlab.schemas import NoticePayload
from train.all_ranks import is_main_rank, num_ranks
from train.data.rows.errors import named_file
from train.data.tokens.prepare import Prepared, PrepareSpec, prepare_rows
from train.loop.run_context import RunContext
from train.model.base_model import BaseModel
from train.plan import DataFile


def load_rows(
    run: RunContext, file: DataFile, base: BaseModel, tokenizer: PreTrainedTokenizerBase, *, is_eval: bool = False
) -> Prepared:
    """Load the prepared rows of `file`. Every rank of the run calls it; one of them makes what is missing.

    Raises what `prepare_rows` raises, with the name of the dataset.
    """

    def on_progress(_: int) -> None:
        run.heartbeat.beat()
        # All ranks agree on a stop at the same time, and only one of them works here.
        if num_ranks() == 1:
            run.stop_poll.raise_if_requested()

    run.stop_poll.raise_if_requested()
    spec = PrepareSpec.of(file.rows, base.folder, run.plan.config.method, is_eval=is_eval)
    with named_file(file.dataset_id, is_eval=is_eval):
        prepared = prepare_rows(spec, run.plan.cache_folder, lambda: tokenizer, on_progress)
    if is_main_rank():
        _report_cut_rows(run, prepared, _rows_of(run, file, is_eval=is_eval))
    return prepared


def _rows_of(run: RunContext, file: DataFile, *, is_eval: bool) -> str:
    if is_eval:
        return "the eval rows"
    return f"the rows of dataset {file.dataset_id}" if len(run.plan.train_files) > 1 else "the train rows"


def _report_cut_rows(run: RunContext, prepared: Prepared, rows: str) -> None:
    counts = prepared.counts
    if not counts.num_truncated_rows and not counts.num_untrained_rows:
        return
    message = (
        f"Of {rows}, {counts.num_truncated_rows} were cut to {run.plan.config.method.max_length} "
        f"tokens ({counts.num_dropped_tokens} tokens lost) and {counts.num_untrained_rows} were left out, "
        "because no word of the assistant was left."
    )
    run.link.emit(NoticePayload(code="rows_cut", message=message))
