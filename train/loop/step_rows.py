"""The rows that some steps trained, by dataset and line of the uploaded file."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from ftlab.errors import FineTuneLabError
from train.data.row_keys import split_files
from train.data.rows.canonical import CanonicalFile
from train.data.split_spec import SplitSpec
from train.plan import TrainingPlan
from train.row_order import file_order
from train.row_schedule import RowSchedule

MAX_NAMED_LINES = 20


def sentence_about_rows(plan: TrainingPlan, schedule: RowSchedule, first: int, last: int) -> str | None:
    """A sentence with the rows of the steps `first` to `last`; `None` where they cannot be named.

    That is so for packed rows, which hold several rows of the dataset, and where rows were skipped in preparation.
    """
    if plan.config.method.packing or first > last:
        return None
    sizes = schedule.mix.sizes if schedule.mix else schedule.rows
    indexes = list(_indexes(schedule, plan.config.training.seed, first, last))
    with suppress(OSError, FineTuneLabError):  # the run has failed for another reason, which must not be hidden
        parts = [
            f"dataset {plan.train_files[number].dataset_id}, {_lines(lines)}"
            for number in range(len(sizes))
            if (lines := _lines_of(plan, number, sizes, sorted({row for file, row in indexes if file == number})))
        ]
        steps = f"step {last}" if first == last else f"the steps {first} to {last}"
        return f"Rows of {steps}: {'; '.join(parts)}." if parts else None
    return None


def _indexes(schedule: RowSchedule, seed: int, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Number of the dataset, from 0, and index in its prepared rows, of each row of the steps."""
    begin, end = schedule.next_at(first - 1), schedule.done_at(last)
    for file in range(begin.file, end.file + 1):
        start = begin.place if file == begin.file else 0
        stop = end.place if file == end.file else schedule.ends[file]
        for row in file_order(schedule, seed, file, start, stop):
            yield _in_mix(schedule.mix.sizes, row) if schedule.mix else (file, row)


def _in_mix(sizes: Sequence[int], row: int) -> tuple[int, int]:
    number = 0
    while row >= sizes[number]:
        row -= sizes[number]
        number += 1
    return number, row


def _lines_of(plan: TrainingPlan, number: int, sizes: Sequence[int], indexes: Sequence[int]) -> list[int]:
    """Lines of prepared rows in the uploaded file; none where rows were skipped in preparation."""
    spec = SplitSpec.of(plan.config)
    selected: Sequence[int] | None = None
    if spec is not None:
        names = [file.dataset_id for file in plan.train_files]
        splits = split_files([file.rows for file in plan.train_files], spec, plan.cache_folder, names)
        selected = [place - 1 for place in splits[number].train.numbers()]
    with CanonicalFile.open(plan.train_files[number].rows) as file:
        places: Sequence[int] = range(file.num_rows) if selected is None else selected
        if len(places) != sizes[number]:
            return []
        return [file.row(places[index])[0] for index in indexes]


def _lines(lines: Sequence[int]) -> str:
    named = ", ".join(map(str, lines[:MAX_NAMED_LINES]))
    more = f" and {len(lines) - MAX_NAMED_LINES} more" if len(lines) > MAX_NAMED_LINES else ""
    return f"{'line' if len(lines) == 1 else 'lines'} {named}{more}"
