"""Evaluations of the tiny model on tasks of lm-eval, compared with our own computation and with lm-eval itself."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ftlab.errors import InvalidRequestError
from ftlab.schemas import EvaluationConfig
from ftlab.schemas.evaluation_results import ModelResult
from ftlab.status import StopKind
from tests.support.bench_tasks import ANSWERS, QUESTIONS, write_task, write_tasks
from tests.unit.train.evaluation.test_run import plan_of, results_of, rows_of, tuned
from tests.unit.train.runs import MODEL, Job, Link, write_rows
from train.evaluation.run import TASK_DATA, run
from train.evaluation.task_checks import checked_tasks
from train.evaluation.work import LoadedModel, generate
from train.model.base_model import find_model
from train.model.generation import RowDraws, generating
from train.model.load import load_for_answers
from train.model.tokenizer import load_tokenizer
from train.plan import Ending, EvaluationPlan, MeasuredModel

__all__ = ["tuned"]

BASE = MeasuredModel(MODEL, "base", MODEL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tasks(tmp_path / "tasks")


def task_plan(job: Job, folder: Path, tasks: list[Any], *models: MeasuredModel, **config: Any) -> EvaluationPlan:
    """The plan of an evaluation that was checked at its submission."""
    values = {"models": [MODEL], "tasks": tasks, "seed": 3} | config
    parsed = EvaluationConfig.model_validate(values)
    parsed = parsed.model_copy(update={"tasks": checked_tasks(parsed.tasks, folder)})
    plan = plan_of(job, Path("unused"))
    return replace(plan, config=parsed, dataset=None, models=models or (BASE,), tasks_folder=folder)


def metrics_of(model: ModelResult) -> dict[str, float | None]:
    return {metric.metric: metric.value for metric in model.metrics}


@pytest.fixture
def loaded(models: Path) -> LoadedModel:
    base = find_model(MODEL, models)
    return LoadedModel(load_for_answers(base, use_cuda=False), load_tokenizer(base), None)


def likelihood(loaded: LoadedModel, context: str, continuation: str) -> float:
    """Sum of the log-probabilities of the continuation's tokens."""
    before, whole = (loaded.tokenizer(text)["input_ids"] for text in (context, context + continuation))
    with torch.no_grad():
        logits = loaded.model(torch.tensor([whole])).logits[0].log_softmax(-1)
    return sum(float(logits[place - 1, whole[place]]) for place in range(len(before), len(whole)))


def test_choices_and_answers_are_those_of_our_own_computation(job: Job, folder: Path, loaded: LoadedModel):
    plain = [{"name": name, "apply_chat_template": False} for name in ("choice_local", "answer_local")]
    plan = task_plan(job, folder, plain)
    assert run(plan, Link()).ending is Ending.FINISHED
    [model] = results_of(plan).models
    rows = rows_of(plan)
    assert [row["row"] for row in rows] == list(range(1, len(QUESTIONS) + len(ANSWERS) + 1))
    hits, hits_by_length, errors = 0, 0, 0.0
    for row, (question, choices, label) in zip(rows, QUESTIONS, strict=False):
        context = f"Question: {question}\nAnswer:"
        found = torch.tensor([likelihood(loaded, context, f" {choice}") for choice in choices], dtype=torch.float64)
        lengths = torch.tensor([len(choice) for choice in choices])
        assert (row["task"], row["reference"]) == ("choice_local", choices[label])
        assert row["answers"]["base"] == choices[int(found.argmax())]
        hits += int(found.argmax()) == label
        hits_by_length += int((found / lengths).argmax()) == label
        expected = torch.nn.functional.one_hot(torch.tensor(label), len(choices))
        error = float(((found.softmax(-1) - expected) ** 2).sum())
        assert row["scores"]["base"]["choice_local/brier_score"] == pytest.approx(error, abs=1e-5)
        errors += error
    values = metrics_of(model)
    assert values["choice_local/acc"] == pytest.approx(hits / len(QUESTIONS), abs=1e-12)
    assert values["choice_local/acc_norm"] == pytest.approx(hits_by_length / len(QUESTIONS), abs=1e-12)
    assert values["choice_local/brier_score"] == pytest.approx(errors / len(QUESTIONS), abs=1e-5)
    lengths = []
    for row, (question, answer) in zip(rows[len(QUESTIONS) :], ANSWERS, strict=True):
        prompt = loaded.tokenizer(question)["input_ids"]
        with generating(loaded.model):
            [own] = generate(loaded, [prompt], 6)
        text = own.text.split(".")[0]
        assert (row["task"], row["question"], row["reference"]) == ("answer_local", question, answer)
        assert row["answers"]["base"] == text
        assert row["scores"]["base"]["answer_local/exact_match/whole"] == float(text == answer)
        lengths.append(len(text))
    assert values["answer_local/num_chars/whole"] == max(lengths)
    longest = next(metric for metric in model.metrics if metric.metric == "answer_local/num_chars/whole")
    assert (longest.low, longest.is_lower_better) == (None, True)
    brier = next(metric for metric in model.metrics if metric.metric == "choice_local/brier_score")
    assert brier.is_lower_better
    assert brier.low is not None
    assert brier.low <= brier.value <= brier.high
    assert brier.worst[0].score >= brier.best[0].score
    assert not (plan.results_folder / TASK_DATA).exists()


@pytest.mark.parametrize("apply_chat_template", [False, True])
def test_the_values_are_those_of_lm_eval_itself(job: Job, folder: Path, loaded: LoadedModel, apply_chat_template: bool):
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    for name, rows in (("_rows.yaml", "choice.jsonl"), ("answer.yaml", "answer.jsonl")):
        text = (folder / name).read_text("utf-8")
        (folder / name).write_text(text.replace(rows, f"{folder}/{rows}"), "utf-8")  # lm-eval knows no other folder
    given = {"apply_chat_template": apply_chat_template, "num_fewshot": 2}
    plan = task_plan(job, folder, [{"name": name} | given for name in ("choice_local", "answer_local")], batch_size=2)
    run(plan, Link())
    expected = simple_evaluate(
        HFLM(loaded.model, tokenizer=loaded.tokenizer, batch_size=2),
        tasks=["choice_local", "answer_local"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        num_fewshot=2,
        fewshot_random_seed=3,
        apply_chat_template=apply_chat_template,
        fewshot_as_multiturn=apply_chat_template,
        bootstrap_iters=0,
    )["results"]
    found = metrics_of(results_of(plan).models[0])
    compared = 0
    for task, values in expected.items():
        for name, value in values.items():
            metric, comma, filtered = name.partition(",")
            if comma and not metric.endswith("_stderr"):
                ours = found[f"{task}/{metric}" if filtered == "none" else f"{task}/{metric}/{filtered}"]
                assert ours == pytest.approx(value, abs=1e-5), name
                compared += 1
    assert compared == len(found) == 7


def test_the_base_comes_first_and_rows_of_a_dataset_come_before_those_of_tasks(
    job: Job, tuned: MeasuredModel, folder: Path
):
    rows = write_rows(job.folder.with_name("measured.arrow"), 3)
    config = {"metrics": [{"type": "perplexity", "max_length": 64}], "dataset": "ds-1", "max_rows": 2}
    plan = task_plan(job, folder, ["choice_local"], BASE, tuned, **config)
    plan = replace(plan, dataset=plan_of(job, rows).dataset)
    link = Link()
    assert run(plan, link).step == 2 * (2 + 2)
    found = results_of(plan)
    assert (found.dataset_id, found.num_rows) == ("ds-1", 4)
    assert [(row["row"], row.get("task"), row["line"]) for row in rows_of(plan)] == [
        (1, None, 1),
        (2, None, 2),
        (3, "choice_local", 1),
        (4, "choice_local", 2),
    ]
    assert list(metrics_of(found.models[1])) == [
        "perplexity",
        "choice_local/acc",
        "choice_local/acc_norm",
        "choice_local/brier_score",
    ]
    test = next(test for test in found.tests if test.metric == "choice_local/brier_score")
    assert (test.model, test.other, test.num_rows) == ("model", "base", 2)
    assert test.p_value is not None
    [loaded] = link.loaded
    assert loaded.num_tokens is None


def test_a_stopped_evaluation_goes_on_with_the_same_examples(job: Job, folder: Path):
    tasks = [{"name": "choice_local", "num_fewshot": 2}]
    plan = task_plan(job, folder, tasks, batch_size=2, seed=2**32 - 1)
    stopped = run(plan, Link(stop_at={2: StopKind.PREEMPT}))
    assert (stopped.ending, stopped.step) == (Ending.STOPPED, 2)
    again = run(replace(plan, attempt=2), Link())
    assert (again.ending, again.step) == (Ending.FINISHED, len(QUESTIONS))
    whole = replace(plan, job_folder=job.folder.with_name("whole"))
    run(whole, Link())
    assert rows_of(whole) == rows_of(plan)


def test_sampled_answers_depend_on_no_other_row(job: Job, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A row asks twice, and gets two answers."""
    settings = {"until": ["."], "max_gen_toks": 6, "do_sample": True, "temperature": 1.0}
    write_task(folder, "sampled", include="answer.yaml", repeats=2, generation_kwargs=settings)
    asked: list[int] = []
    monkeypatch.setattr("train.evaluation.harness.RowDraws", lambda seeds: asked.extend(seeds) or RowDraws(seeds))
    found = []
    for size in (1, 2, 3):
        plan = replace(task_plan(job, folder, ["sampled"], batch_size=size), job_folder=job.folder.with_name(f"{size}"))
        assert run(plan, Link()).ending is Ending.FINISHED
        found.append((rows_of(plan), sorted(asked)))
        asked.clear()
    assert found[0] == found[1] == found[2]
    rows, seeds = found[0]
    assert len({row["answers"]["base"] for row in rows}) > 1
    assert len({*seeds}) == 2 * len(ANSWERS)


def test_rows_that_do_not_fit_are_counted_and_not_cut(job: Job, folder: Path):
    write_task(folder, "long", doc_to_text="{{question}} " + "x " * 3000, num_fewshot=0)
    plan = task_plan(job, folder, ["long"], max_rows=1)
    run(plan, Link())
    found = results_of(plan).models[0].metrics
    assert [(metric.metric, metric.value, metric.skipped) for metric in found] == [
        (f"long/{name}", None, {"prompt_too_long": 1}) for name in ("acc", "acc_norm", "brier_score")
    ]


def test_a_faulty_task_is_named_in_the_error(job: Job, folder: Path):
    write_task(folder, "faulty", doc_to_choice="absent")
    with pytest.raises(InvalidRequestError, match="Task 'faulty' cannot be loaded") as caught:
        run(task_plan(job, folder, ["faulty"]), Link())
    assert caught.value.param == "tasks"


def test_files_that_changed_since_the_submission_are_refused(job: Job, folder: Path):
    plan = task_plan(job, folder, ["choice_local"])
    with (folder / "choice.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"question": "?", "choices": ["a", "b"], "label": 0}\n')
    with pytest.raises(InvalidRequestError, match="have changed"):
        run(plan, Link())
