"""A run's rows: opened from the cache of prepared data, or made where they are not there any more."""

import os
from typing import TYPE_CHECKING

from ftlab.schemas import NoticePayload
from train.data.rows.errors import named_file
from train.data.tokens.prepare import Prepared, PrepareSpec, prepare_rows
from train.model.base_model import BaseModel
from train.plan import DataFile

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from train.loop.callback import Run


def load_rows(
    run: "Run", file: DataFile, base: BaseModel, tokenizer: "PreTrainedTokenizerBase", *, is_eval: bool = False
) -> Prepared:
    """The prepared rows of `file`. Every rank of the run calls it; one of them makes what is not there.

    Raises what `prepare_rows` raises, with the name of the dataset.
    """
    plan = run.plan

    def tell(_: int) -> None:
        run.pulse.tick()
        # A stop is agreed on by all ranks at once, and only one of them is at work here.
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            run.stops.leave_if_asked()

    run.stops.leave_if_asked()
    spec = PrepareSpec.of(file.rows, base.folder, plan.config.method, is_eval=is_eval)
    with named_file(file.dataset_id, is_eval=is_eval):
        prepared = prepare_rows(spec, plan.cache_folder, lambda: tokenizer, tell)
    if int(os.environ.get("RANK", "0")) == 0:
        _tell_what_was_cut(run, prepared, _rows_of(run, file, is_eval=is_eval))
    return prepared


def _rows_of(run: "Run", file: DataFile, *, is_eval: bool) -> str:
    if is_eval:
        return "the eval rows"
    return f"the rows of dataset {file.dataset_id}" if len(run.plan.train_files) > 1 else "the train rows"


def _tell_what_was_cut(run: "Run", prepared: Prepared, rows: str) -> None:
    counts = prepared.counts
    if not counts.num_truncated_rows and not counts.num_untrained_rows:
        return
    message = (
        f"Of {rows}, {counts.num_truncated_rows} were cut to {run.plan.config.method.max_length} "
        f"tokens ({counts.num_dropped_tokens} tokens lost) and {counts.num_untrained_rows} were left out, "
        "because no word of the assistant was left."
    )
    run.link.emit(NoticePayload(code="rows_cut", message=message))
