"""Runs with `eval_split`: the same bits as with two files, through a pause, an empty cache and appended files."""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import MODEL, Job, Link, write_messages, write_pairs, write_rows
from tests.unit.train.traces import Rows, Trace, assert_equal, attempt, record_rows
from train.data.eval_split import RowSelection
from train.data.row_keys import split_files
from train.data.rows.canonical import CanonicalFile, write_canonical
from train.data.rows.errors import DatasetInvalidError
from train.data.split_spec import SplitSpec
from train.model.base_model import find_model
from train.model.tokenizer import load_tokenizer
from train.plan import StopKind

SPLIT: dict[str, Any] = {"eval_split": 0.3, "eval_split_seed": 5}
SPEC = SplitSpec(0.3, 5)
TRAINING: dict[str, Any] = {
    "max_steps": None,
    "num_train_epochs": 2,
    "eval_steps": 3,
    "save_steps": 2,
    "logging_steps": 1,
}
SFT: dict[str, Any] = {"training": TRAINING, "lora": {"r": 4, "lora_alpha": 8, "lora_dropout": 0.3}}
PACKED = SFT | {"method": {"type": "sft", "max_length": 48, "packing": True}}
DPO: dict[str, Any] = {"training": TRAINING, "method": {"type": "dpo", "max_length": 64}}
CASES = [
    pytest.param(SFT, write_rows, id="sft"),
    pytest.param(PACKED, write_rows, id="packing"),
    pytest.param(DPO, write_pairs, id="dpo"),
]

WriteRows = Callable[..., Path]
NewJob = Callable[..., Job]


@pytest.fixture(autouse=True)
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    return record_rows(monkeypatch.setattr)


@pytest.fixture
def new_job(models: Path, tmp_path: Path) -> NewJob:
    numbers = count()

    def make(*files: Path, eval_rows: Path | None = None) -> Job:
        """A job with a cache of its own."""
        return Job(tmp_path / f"lab-{next(numbers)}" / "job", models, list(files), eval_rows)

    return make


def extracted(source: Path, selection: RowSelection, target: Path) -> Path:
    """The selected rows in a file of their own."""
    with CanonicalFile.open(source) as file, write_canonical(target, file.kind) as out:
        for (line, row), flag in zip(file.rows(), selection.flags, strict=True):
            if flag:
                out.write(line, row)
    return target


@pytest.mark.parametrize(("config", "write"), CASES)
def test_a_split_trains_and_evaluates_like_two_files_and_a_pause_changes_no_bit(
    new_job: NewJob, rows: Rows, tmp_path: Path, config: dict[str, Any], write: WriteRows
):
    file = write(tmp_path / "rows.arrow", 12)
    [split] = split_files([file], SPEC, tmp_path / "keys", ["ds-1"])
    assert (split.train.num_rows, split.eval.num_rows) == (9, 3)
    train_rows = extracted(file, split.train, tmp_path / "train.arrow")
    two_files = Trace(new_job(train_rows, eval_rows=extracted(file, split.eval, tmp_path / "eval.arrow")))
    attempt(two_files, rows, **config)
    paused = Trace(new_job(file))
    attempt(paused, rows, Link(stop_at={3: StopKind.PAUSE}), **config, **SPLIT)
    shutil.rmtree(paused.job.folder.with_name("cache"))
    link = attempt(paused, rows, **config, **SPLIT)
    assert len(paused.series()["eval_loss"]) > 2
    assert_equal(paused, two_files)
    assert (link.receipt()["bit_exact"], link.receipt()["why_not"]) == (True, [])
    expected = "Of 12 rows, 9 are trained and 3 are set aside for evaluation (eval_split 0.3, eval_split_seed 5)."
    assert [link.notices("eval_split") for link in paused.links] == [[expected]] * 2


def test_several_files_give_a_share_each_and_appended_ones_none(
    new_job: NewJob, rows: Rows, models: Path, tmp_path: Path
):
    """The appended file has all rows of the first one again: those that are evaluated are never trained."""
    first, second = (write_rows(tmp_path / f"{start}.arrow", 10, offset=start) for start in (0, 20))
    appended = write_rows(tmp_path / "appended.arrow", 14)
    trace = Trace(new_job(first, second))
    datasets = {"dataset": ["ds-1", "ds-2"], "training": TRAINING | {"num_train_epochs": 1, "eval_steps": 1}}
    before = attempt(trace, rows, Link(stop_at={3: StopKind.EXTEND}), **datasets, **SPLIT)
    trace.job = replace(trace.job, rows=[first, second, appended])
    longer = datasets | {"dataset": ["ds-1", "ds-2", "ds-3"], "eval_split_files": 2}
    after = attempt(trace, rows, **longer, **SPLIT)
    assert before.notices("eval_split")[0].startswith("Of 20 rows, 14 are trained and 6 are set aside for evaluation")
    assert after.notices("eval_split")[0].startswith("Of 34 rows, 25 are trained and 6 are set aside for evaluation")
    assert "3 rows of appended datasets equal one of these and are left out." in after.notices("eval_split")[0]
    assert after.receipt()["why_not"] == ["one more file is trained"]
    tokenizer = load_tokenizer(find_model(MODEL, models))
    texts = tokenizer.batch_decode([row for step in trace.rows.values() for passed in step for row in passed])
    trained = Counter(int(number) for text in texts for number in re.findall(r"Answer (\d+)", text))
    splits = split_files([first, second], SPEC, tmp_path / "keys", ["ds-1", "ds-2"])
    mine, others = (
        [start + number - 1 for number in split.train.numbers()] for start, split in zip((0, 20), splits, strict=True)
    )
    assert trained == Counter([*mine, *others, *mine, 10, 11, 12, 13])


def test_a_changed_split_is_named_in_the_receipt(new_job: NewJob, rows: Rows, tmp_path: Path):
    trace = Trace(new_job(write_rows(tmp_path / "rows.arrow", 10)))
    attempt(trace, rows, Link(stop_at={2: StopKind.PAUSE}), **SFT, **SPLIT)
    link = attempt(trace, rows, **SFT, **(SPLIT | {"eval_split_seed": 6}))
    assert "eval_split_seed changed from 5 to 6" in link.receipt()["why_not"]


def test_a_split_without_evaluation_rows_fails_with_the_share_that_works(new_job: NewJob, tmp_path: Path):
    job = new_job(write_rows(tmp_path / "rows.arrow", 10))
    with pytest.raises(DatasetInvalidError, match=r"the smallest share that works is 0\.1\.$"):
        job.train(eval_split=0.05)


def test_evaluation_rows_without_a_token_to_learn_are_named(new_job: NewJob, tmp_path: Path):
    question = {"role": "user", "content": "Hi"}
    chats = [[question, {"role": "assistant", "content": f"Answer {number}."}] for number in range(9)]
    file = write_messages(tmp_path / "rows.arrow", [*chats, [question]])
    splits = (split_files([file], SplitSpec(0.1, seed), tmp_path / "keys", ["ds-1"])[0] for seed in count())
    seed = next(seed for seed, split in enumerate(splits) if list(split.eval.numbers()) == [10])
    with pytest.raises(DatasetInvalidError, match=r"^The evaluation rows of dataset ds-1: None of the 1 rows has"):
        new_job(file).train(eval_split=0.1, eval_split_seed=seed)


def test_two_workers_train_and_evaluate_the_rows_of_one(new_job: NewJob, rows: Rows, tmp_path: Path):
    file = write_rows(tmp_path / "rows.arrow", 12)
    config: dict[str, Any] = {"training": TRAINING | {"per_device_train_batch_size": 2}}
    one = Trace(new_job(file))
    attempt(one, rows, training=TRAINING | {"per_device_train_batch_size": 4}, **SPLIT)
    job = new_job(file)
    [trained] = train(tmp_path / "ranks", [Task(job, {}, config | SPLIT)], workers=2)
    assert trained.link.notices("eval_split") == one.links[0].notices("eval_split")
    assert trained.link.series("eval_loss") == pytest.approx(one.series()["eval_loss"], rel=1e-4)
    in_two = sorted(
        tuple(row) for step in trained.rows.values() for rank in step for p in rank for row in p if len(row) > 2
    )
    assert len(in_two) == len([row for step in one.rows.values() for p in step for row in p])
