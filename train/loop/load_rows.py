"""The prepared rows of a run: opened from the cache, or made if they are missing."""

from collections.abc import Sequence

from datasets import Dataset, concatenate_datasets
from transformers import PreTrainedTokenizerBase

from ftlab.schemas import NoticePayload
from ftlab.schemas.events import EVAL_SPLIT
from ftlab.schemas.methods import GrpoMethod
from train.all_ranks import is_main_rank, num_ranks
from train.data.eval_split import FileSplit, RowSelection
from train.data.row_keys import split_files
from train.data.rows.errors import named_file
from train.data.split_spec import SplitSpec
from train.data.tokens.prepare import Prepared, PrepareSpec, check_labels, prepare_rows
from train.loop.run_context import RunContext
from train.model.base_model import BaseModel
from train.model.files import ModelFacts
from train.model.folder import facts_of
from train.model.preflight import check_rows
from train.plan import DataFile


def load_datasets(
    run: RunContext, base: BaseModel, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[Dataset], Dataset | None]:
    """The rows of every file to train on, and those to evaluate on. Every rank of the run calls it.

    Raises what `load_rows` and `train.data.row_keys.split_files` raise.
    """
    plan = run.plan
    spec = SplitSpec.of(plan.config)
    if spec is not None:
        return _load_split(run, base, tokenizer, spec)
    train_sets = [load_rows(run, file, base, tokenizer).dataset() for file in plan.train_files]
    if plan.eval_file is None:
        return train_sets, None
    return train_sets, load_rows(run, plan.eval_file, base, tokenizer, is_eval=True).dataset()


def _load_split(
    run: RunContext, base: BaseModel, tokenizer: PreTrainedTokenizerBase, spec: SplitSpec
) -> tuple[list[Dataset], Dataset]:
    files = run.plan.train_files
    run.stop_poll.raise_if_requested()
    splits = split_files(
        [file.rows for file in files],
        spec,
        run.plan.cache_folder,
        [file.dataset_id for file in files],
        lambda _: _report_progress(run),
    )
    if is_main_rank():
        _report_split(run, spec, splits)
    parts = list(zip(files, splits, strict=True))
    train_sets = [load_rows(run, file, base, tokenizer, selection=split.train).dataset() for file, split in parts]
    eval_sets = [
        load_rows(run, file, base, tokenizer, is_eval=True, selection=split.eval).dataset()
        for file, split in parts
        if split.eval.num_rows
    ]
    return train_sets, concatenate_datasets(eval_sets)


def load_rows(
    run: RunContext,
    file: DataFile,
    base: BaseModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    is_eval: bool = False,
    selection: RowSelection | None = None,
) -> Prepared:
    """Load the prepared rows of `file`. Every rank of the run calls it; one of them makes what is missing.

    Raises what `prepare_rows` raises, with the name of the dataset.
    """
    run.stop_poll.raise_if_requested()
    spec = PrepareSpec.of(
        file.rows, base.tokenizer_folder, run.plan.config.method, is_eval=is_eval, selection=selection
    )
    with named_file(file.dataset_id, is_eval=is_eval, is_split=selection is not None):
        prepared = prepare_rows(spec, run.plan.cache_folder, lambda: tokenizer, lambda _: _report_progress(run))
        if not is_eval:
            check_labels(prepared.counts, run.plan.config.method)
    facts = facts_of(base.folder)
    check_rows(prepared.counts, facts, file.dataset_id)
    if is_main_rank():
        rows = _rows_of(run, file, is_eval=is_eval)
        _report_cut_rows(run, prepared, rows)
        _report_long_rows(run, prepared, rows, facts)
    return prepared


def _report_progress(run: RunContext) -> None:
    run.heartbeat.beat()
    # All ranks agree on a stop at the same time, and only one of them works here.
    if num_ranks() == 1:
        run.stop_poll.raise_if_requested()


def _report_split(run: RunContext, spec: SplitSpec, splits: Sequence[FileSplit]) -> None:
    num_rows, num_train, num_eval = (
        sum(counts)
        for counts in zip(
            *((len(split.train.flags), split.train.num_rows, split.eval.num_rows) for split in splits), strict=True
        )
    )
    message = (
        f"Of {num_rows} rows, {num_train} are trained and {num_eval} are set aside for evaluation (eval_split "
        f"{spec.share:g}, eval_split_seed {spec.seed})."
    )
    if num_repeated := num_rows - num_train - num_eval:
        message += f" {num_repeated} rows of appended datasets equal one of these and are left out."
    run.link.emit(NoticePayload(code=EVAL_SPLIT, message=message))


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
