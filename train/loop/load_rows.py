"""The prepared rows of a run: opened from the cache, or made if they are missing."""

from transformers import PreTrainedTokenizerBase

from ftlab.schemas import NoticePayload
from ftlab.schemas.methods import GrpoMethod
from train.all_ranks import is_main_rank, num_ranks
from train.data.rows.errors import named_file
from train.data.tokens.prepare import Prepared, PrepareSpec, check_labels, prepare_rows
from train.loop.run_context import RunContext
from train.model.base_model import BaseModel
from train.model.files import ModelFacts
from train.model.folder import facts_of
from train.model.preflight import check_rows
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
    spec = PrepareSpec.of(file.rows, base.tokenizer_folder, run.plan.config.method, is_eval=is_eval)
    with named_file(file.dataset_id, is_eval=is_eval):
        prepared = prepare_rows(spec, run.plan.cache_folder, lambda: tokenizer, on_progress)
        if not is_eval:
            check_labels(prepared.counts, run.plan.config.method)
    facts = facts_of(base.folder)
    check_rows(prepared.counts, facts, file.dataset_id)
    if is_main_rank():
        rows = _rows_of(run, file, is_eval=is_eval)
        _report_cut_rows(run, prepared, rows)
        _report_long_rows(run, prepared, rows, facts)
    return prepared


def _rows_of(run: RunContext, file: DataFile, *, is_eval: bool) -> str:
    if is_eval:
        return "the eval rows"
    return f"the rows of dataset {file.dataset_id}" if len(run.plan.train_files) > 1 else "the train rows"


def _report_cut_rows(run: RunContext, prepared: Prepared, rows: str) -> None:
    counts = prepared.counts
    _report_long_prompts(run, prepared, rows)
    if not counts.num_truncated_rows and not counts.num_untrained_rows:
        return
    message = (
        f"Of {rows}, {counts.num_truncated_rows} were truncated to {run.plan.config.method.max_length} "
        f"tokens ({counts.num_dropped_tokens} tokens dropped) and {counts.num_untrained_rows} were skipped because no "
        "trained token was left."
    )
    run.link.emit(NoticePayload(code="rows_cut", message=message))


def _report_long_prompts(run: RunContext, prepared: Prepared, rows: str) -> None:
    counts, method = prepared.counts, run.plan.config.method
    if not isinstance(method, GrpoMethod) or not counts.num_long_prompts:
        return
    message = (
        f"Of {rows}, {counts.num_long_prompts} were skipped because their prompts have more than "
        f"{method.max_prompt_length} tokens, which is method.max_length ({method.max_length}) without "
        f"method.max_completion_length ({method.max_completion_length})."
    )
    run.link.emit(NoticePayload(code="prompts_too_long", message=message))


def _report_long_rows(run: RunContext, prepared: Prepared, rows: str, facts: ModelFacts) -> None:
    max_positions = facts.layers.max_positions if facts.layers else None
    if max_positions is None or prepared.counts.longest <= max_positions:
        return
    message = (
        f"The longest of {rows} has {prepared.counts.longest} tokens, and the model was made for {max_positions} "
        f"positions: it may not learn anything beyond them. Set method.max_length to {max_positions} or less, or "
        "choose a model with a longer context."
    )
    run.link.emit(NoticePayload(code="rows_beyond_positions", message=message))
