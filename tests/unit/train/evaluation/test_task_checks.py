"""Tasks of lm-evaluation-harness at the submission: found by name, refused where something would be downloaded."""

from pathlib import Path
from typing import Any

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.schemas import EvaluationConfig
from ftlab.schemas.bench_tasks import BenchTask
from tests.support.bench_tasks import write_task, write_tasks
from train.evaluation.task_checks import available_tasks, checked_tasks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tasks(tmp_path / "tasks")


def names(folder: Path, *tasks: str) -> list[str]:
    return [task.name for task in checked_tasks([BenchTask(name=name) for name in tasks], folder)]


def refusal(folder: Path | None, *tasks: str) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        checked_tasks([BenchTask(name=name) for name in tasks], folder)
    return caught.value


def test_groups_and_tags_stand_for_their_tasks(folder: Path):
    assert names(folder, "choice_local") == ["choice_local"]
    assert names(folder, "local_group") == ["choice_local", "answer_local"]
    assert names(folder, "local_tag") == ["answer_local", "choice_local"]
    assert "task 'choice_local' is named twice" in refusal(folder, "local_group", "choice_local").message


def test_the_hash_covers_definition_functions_and_rows(folder: Path):
    found = {checked_tasks([BenchTask(name="answer_local")], folder)[0].sha256}
    for name in ("answer.yaml", "scores.py", "answer.jsonl"):
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write("\n")
        [task] = checked_tasks([BenchTask(name="answer_local")], folder)
        found.add(task.sha256)
    assert len(found) == 4
    assert checked_tasks([task], folder) == [task]
    (folder / "scores.py").write_text("", "utf-8")
    with pytest.raises(InvalidRequestError, match=r"^tasks\.0: the files of task 'answer_local' have changed"):
        checked_tasks([task], folder)


def test_the_hash_covers_included_files(folder: Path):
    before = checked_tasks([BenchTask(name="choice_local")], folder)
    (folder / "_rows.yaml").write_text((folder / "_rows.yaml").read_text("utf-8") + "\n", "utf-8")
    assert checked_tasks([BenchTask(name="choice_local")], folder) != before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset_path": "org/rows"}, "would be downloaded (dataset_path 'org/rows')"),
        ({"dataset_path": "tasks"}, "would be downloaded"),
        ({"dataset_kwargs": {"data_files": "https://example.com/rows.jsonl"}}, "would be downloaded"),
        ({"dataset_kwargs": {"data_files": {"test": ["absent.jsonl"]}}}, "has no file"),
        ({"dataset_kwargs": {"data_files": "none-*.jsonl"}}, "has no file"),
        ({"dataset_kwargs": {}}, "names no data_files"),
        ({"metric_list": [{"metric": "bertscore"}]}, "metric 'bertscore' of task 'other' would be downloaded"),
        ({"metric_list": [{"metric": "acc", "hf_evaluate": True}]}, "would be downloaded"),
        ({"metric_list": [{"metric": ["acc"]}]}, "would be downloaded"),
        ({"metric_list": 5}, "metric_list that is not a list"),
        ({"dataset_kwargs": 5}, "dataset_kwargs that are not fields"),
        ({"unsafe_code": True}, "runs code that the models write"),
        ({"class": "x"}, "is written in Python"),
        ({"custom_dataset": "x"}, "makes its rows by a Python function"),
        ({"doc_to_image": ["image"]}, "shows images"),
    ],
)
def test_what_cannot_run_here_is_refused_in_one_sentence(folder: Path, fields: dict[str, Any], message: str):
    write_task(folder, "other", **fields)
    error = refusal(folder, "choice_local", "other")
    assert message in error.message
    assert error.message.startswith("tasks.1: ")
    assert error.message.count(". ") <= 1
    assert error.param == "tasks.1.name"


def test_local_rows_may_be_in_a_folder_or_match_a_pattern(folder: Path):
    (folder / "rows").mkdir()
    (folder / "rows" / "test.jsonl").write_bytes((folder / "choice.jsonl").read_bytes())
    write_task(folder, "in_a_folder", dataset_path="./rows", dataset_kwargs={})
    write_task(folder, "by_pattern", dataset_kwargs={"data_files": {"test": "rows/*.jsonl"}})
    assert names(folder, "in_a_folder", "by_pattern") == ["in_a_folder", "by_pattern"]


def test_an_unknown_name_is_refused_with_what_is_there(folder: Path):
    assert "Did you mean 'choice_local'" in refusal(folder, "choice_locl").message
    assert "it has: answer_local, choice_local, local_group, local_tag" in refusal(folder, "zzz").message
    (folder / "broken.yaml").write_text("task: [", "utf-8")
    assert "the first is broken.yaml: " in refusal(folder, "zzz").message
    assert "lm_eval_tasks" in refusal(None, "zzz").message


def test_a_group_that_contains_itself_or_changes_its_tasks_is_refused(folder: Path):
    (folder / "loop.yaml").write_text("group: loop\ntask: [loop]\n", "utf-8")
    assert "contains itself" in refusal(folder, "loop").message
    (folder / "changed.yaml").write_text("group: changed\ntask: [choice_local]\nnum_fewshot: 5\n", "utf-8")
    assert "changes the settings of its tasks" in refusal(folder, "changed").message


def test_a_service_without_lm_eval_says_how_to_install_it(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("train.evaluation.task_checks.has_package", lambda: False)
    assert "ftlab[bench]" in refusal(folder, "choice_local").message


def test_a_file_that_is_nested_too_deeply_hides_no_other(folder: Path):
    (folder / "deep.yaml").write_text("[" * 100_000, "utf-8")
    assert "choice_local" in {each.name for each in available_tasks(folder)}
    assert "could not be read" in refusal(folder, "zzz").message


def test_the_list_says_which_tasks_would_be_refused(folder: Path):
    write_task(folder, "remote", dataset_path="org/rows", tag="local_tag")
    found = {each.name: (each.kind, each.num_tasks, each.problem) for each in available_tasks(folder)}
    assert found["choice_local"] == ("task", 1, None)
    assert found["local_group"] == ("group", 2, None)
    assert found["remote"][2] is not None
    assert found["remote"][2].startswith("The rows of task 'remote' would be downloaded")
    assert found["local_tag"] == ("tag", 3, found["remote"][2])


def test_tasks_need_no_dataset_and_a_dataset_needs_metrics():
    config = EvaluationConfig.model_validate({"models": ["org/m"], "tasks": ["one", {"name": "two", "num_fewshot": 2}]})
    assert (config.datasets, config.metrics, [task.name for task in config.tasks]) == ([], [], ["one", "two"])
    assert config.tasks[1].num_fewshot == 2
    again = EvaluationConfig.model_validate(config.model_dump(mode="json"))
    assert again == config
    for document, message in [
        ({"models": ["org/m"]}, "dataset is required, unless tasks are measured"),
        ({"models": ["org/m"], "tasks": ["a", "a"]}, "tasks has the item 0 twice"),
        (
            {"models": ["org/m"], "tasks": ["a"], "metrics": [{"type": "f1"}]},
            "because metrics are measured on its rows",
        ),
        ({"models": ["org/m"], "dataset": "ds-1", "metrics": []}, "at least 1 item"),
    ]:
        with pytest.raises(ValueError, match=message):
            EvaluationConfig.model_validate(document)
