"""The Markdown descriptions of runs and models: whatever a user has named something, the page shows that text."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ftlab.schemas.adjustments import AdjustedBy, Adjustment, Change
from tests.unit.tracking.samples import NOW, add_job, dataset, later
from tracking.mlflow_record.run_note import RunFacts, model_note, run_note
from tracking.store import Store
from tracking.store.records import AttemptRecord, ModelRecord

SERVER = "http://127.0.0.1:8000"


@pytest.fixture
def facts(tmp_path: Path) -> Iterator[RunFacts]:
    store = Store.open(f"sqlite:///{tmp_path}/ftlab.db")
    store.migrate()
    yield RunFacts(add_job(store), [], [dataset()], None, [], None)
    store.close()


def test_a_note_says_what_was_trained_and_where_its_record_is(facts: RunFacts) -> None:
    note = run_note(facts, SERVER)
    assert note.startswith("Fine-tuning of `org/name` (SFT, LoRA, r 16, learning rate 0.0002) on **")
    assert f"| Job | [{facts.job.id}]({SERVER}/api/training/jobs/{facts.job.id}) |" in note
    assert "ftlab download" not in note, "there is no model yet"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a|b.jsonl", r"a\|b.jsonl"),
        ("<script>x</script>", r"&lt;script\>x&lt;/script\>"),
        ("**bold** [link](http://x)", r"\*\*bold\*\* \[link\](http://x)"),
        ("two\nlines", "two lines"),
        ("R&amp;D `code`", r"R&amp;amp;D \`code\`"),
    ],
)
def test_the_name_of_a_dataset_is_shown_as_it_is(facts: RunFacts, name: str, shown: str) -> None:
    named = replace(dataset(), name=name)
    assert f"**{shown}** (" in run_note(replace(facts, datasets=[named]), SERVER)
    assert f"evaluated on **{shown}** (" in run_note(replace(facts, eval_dataset=named), SERVER)


def test_a_message_stays_in_its_cell(facts: RunFacts) -> None:
    job = replace(facts.job, message="No | here:\n`x`")
    [row] = [line for line in run_note(replace(facts, job=job), SERVER).splitlines() if "Status" in line]
    assert row == rf"| Status | {job.status}. No \| here: \`x\` |"


def test_changed_settings_are_named_with_the_attempt_before(facts: RunFacts) -> None:
    changes = [Change(field="training.max_grad_norm", from_=1.0, to=0.5)]
    made = Adjustment(at=NOW, by=AdjustedBy.USER, attempt=2, changes=changes)
    note = run_note(replace(facts, job=replace(facts.job, adjustments=(made,))), SERVER)
    assert r"| Changed | after attempt 2: training.max\_grad\_norm 1 -\> 0.5 |" in note
    assert "Changed" not in run_note(facts, SERVER)


def test_removed_datasets_and_many_datasets(facts: RunFacts) -> None:
    assert "on a dataset that was removed." in run_note(replace(facts, datasets=[None]), SERVER)
    assert " and 2 more." in run_note(replace(facts, datasets=[dataset()] * 5), SERVER)


def test_a_model_note_names_its_base_between_backquotes(facts: RunFacts) -> None:
    model = ModelRecord("mdl-1", "local", facts.job.id, "m", "adapter", "a`b", None, 7, Path("model"), None, NOW)
    note = model_note(replace(facts, models=[model]), model, SERVER)
    assert note.startswith("LoRA adapter for `a'b`, trained by the job [")
    assert "after step 7" in note
    assert f"ftlab download {facts.job.id}" in note
    assert model_note(facts, replace(model, kind="full"), SERVER).startswith("All weights of `a'b`")


def test_the_time_is_that_of_all_attempts(facts: RunFacts) -> None:
    # Between the attempts, the job waited for an hour.
    times = [(later(0), later(90)), (later(3600), later(3690)), (later(7200), None)]
    attempts = [
        AttemptRecord(facts.job.id, number, "run", 2, 0.0, (), (), None, start, start, end, None, None)
        for number, (start, end) in enumerate(times, 1)
    ]
    assert "| Ran for | 0:03:00 in 3 attempts |" in run_note(replace(facts, attempts=attempts), SERVER)
