"""Evaluations of the tiny model, without Ray."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, RwkvConfig, RwkvForCausalLM

from ftlab.errors import ConflictError
from ftlab.schemas import EvaluationConfig, EventKind, EventPayload
from ftlab.schemas.evaluation_results import RESULTS_FILE, ROWS_FILE, EvaluationResults
from ftlab.status import ReasonCode, StopKind
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.runs import MODEL, Job, Link, write_messages, write_rows
from train.data.rows.canonical import CanonicalFile
from train.data.tokens.prompts import prompts
from train.data.tokens.render import Renderer
from train.evaluation import cases
from train.evaluation.cases import Case
from train.evaluation.row_store import PROGRESS_FILE
from train.evaluation.run import run
from train.evaluation.work import LoadedModel, generate
from train.failures.classify import classify
from train.model.base_model import find_model
from train.model.generation import generating
from train.model.identity import identity_of, known_identity
from train.model.load import load_for_answers
from train.model.tokenizer import load_tokenizer
from train.plan import DataFile, Ending, EngineReady, EvaluationPlan, MeasuredModel, ModelLoaded

PERPLEXITY: dict[str, Any] = {"type": "perplexity", "max_length": 64}
EXACT: dict[str, Any] = {"type": "exact_match"}
ANSWERED: dict[str, Any] = {"metrics": [EXACT], "generation": {"max_new_tokens": 4}}


def plan_of(job: Job, rows: Path, *models: MeasuredModel, **config: Any) -> EvaluationPlan:
    values = {"models": [MODEL], "dataset": "ds-1"} | config
    return EvaluationPlan(
        job_id="job-2",
        attempt=1,
        config=EvaluationConfig.model_validate(values),
        job_folder=job.folder.with_name("evaluation"),
        models_folder=job.models,
        cache_folder=job.folder.with_name("cache"),
        threads=1,
        dataset=DataFile("ds-1", rows),
        models=models or (MeasuredModel(MODEL, "base", MODEL),),
    )


def results_of(plan: EvaluationPlan) -> EvaluationResults:
    return EvaluationResults.model_validate_json((plan.results_folder / RESULTS_FILE).read_text("utf-8"))


def rows_of(plan: EvaluationPlan) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (plan.results_folder / ROWS_FILE).read_text("utf-8").splitlines()]


@pytest.fixture
def tuned(job: Job) -> MeasuredModel:
    """The adapter that the job delivers."""
    assert job.train().ending is Ending.FINISHED
    return MeasuredModel("job:job-1", "model", str(job.folder / "model"), base=0)


def test_perplexity_is_exp_of_the_eval_loss_of_the_job(job: Job):
    link = Link()
    job.train(link)
    tuned = MeasuredModel("job:job-1", "model", str(job.folder / "model"), base=0)
    assert job.eval_rows is not None
    base = MeasuredModel(MODEL, "base", MODEL)
    plan = plan_of(job, job.eval_rows, base, tuned, metrics=[{"type": "perplexity", "max_length": 64}], batch_size=3)
    told = Link()
    assert run(plan, told).ending is Ending.FINISHED
    [first], [second] = (model.metrics for model in results_of(plan).models)
    losses = link.series("eval_loss")
    assert first.value == pytest.approx(math.exp(losses[0]), rel=1e-6)
    [final] = link.series("final_eval_loss").values()
    assert second.value == pytest.approx(math.exp(final), rel=1e-6)
    assert first.value != pytest.approx(second.value, rel=1e-3)
    assert (first.num_rows, first.skipped, first.is_lower_better) == (4, {}, True)
    [test] = results_of(plan).tests
    assert (test.model, test.other, test.num_rows) == ("model", "base", 4)
    assert test.difference == pytest.approx(second.value - first.value)
    [measured] = told.told(EventKind.METRICS)
    assert measured["values"].pop("read_tokens_per_s") > 0
    assert measured["values"] == {"eval_base/perplexity": first.value, "eval_model/perplexity": second.value}


def test_each_model_reads_every_row_once_for_each_metric(
    job: Job, tuned: MeasuredModel, monkeypatch: pytest.MonkeyPatch
):
    """The rows that are read for the estimate are kept for the measurement."""
    rows = write_rows(job.folder.with_name("measured.arrow"), 5)
    plan = plan_of(job, rows, MeasuredModel(MODEL, "base", MODEL), tuned, **ANSWERED | {"metrics": [PERPLEXITY, EXACT]})
    asked: list[int] = []
    read: list[int] = []
    ask, label = cases.prompt_of, cases.labelled_texts

    def prompt_of(case: Case, *args: Any) -> Any:
        asked.append(case.number)
        return ask(case, *args)

    def labelled_texts(some: Sequence[Case], *args: Any, **options: Any) -> Any:
        read.extend(case.number for case in some)
        return label(some, *args, **options)

    monkeypatch.setattr(cases, "prompt_of", prompt_of)
    monkeypatch.setattr(cases, "labelled_texts", labelled_texts)
    assert run(plan, Link()).ending is Ending.FINISHED
    assert sorted(asked) == sorted(read) == sorted([*range(1, 6), *range(1, 6)])
    assert [metric.num_rows for model in results_of(plan).models for metric in model.metrics] == [5] * 4


def test_answers_of_a_padded_batch_are_those_of_one_by_one(job: Job, models: Path):
    base = find_model(MODEL, models)
    tokenizer = load_tokenizer(base)
    loaded = LoadedModel(load_for_answers(base, use_cuda=False), tokenizer, None)
    asked = ["Hi?", "What does the loss tell me about the model that I train?", "Why is the queue so long today?"]
    rows = write_messages(
        job.folder.with_name("asked.arrow"),
        [[{"role": "user", "content": text}, {"role": "assistant", "content": "-"}] for text in asked],
    )
    with CanonicalFile.open(rows) as file:
        found = [prompt.ids for prompt in prompts(file.rows(), Renderer(tokenizer, assistant_only_loss=True)) if prompt]
    assert len({len(ids) for ids in found}) == 3
    with generating(loaded.model):
        together = generate(loaded, found, 12)
        alone = [generate(loaded, [ids], 12)[0] for ids in found]
    assert together == alone
    assert all(answer.ids for answer in together)


def test_a_model_that_reads_padding_as_text_answers_one_by_one(job: Job, tmp_path: Path):
    job.models = tmp_path / "models"
    folder = make_tiny_model(job.models / "org--tiny")
    torch.manual_seed(0)
    vocabulary = AutoConfig.from_pretrained(folder).vocab_size
    model = RwkvForCausalLM(RwkvConfig(vocab_size=vocabulary, hidden_size=32, num_hidden_layers=2))
    with torch.no_grad():
        for weight in model.parameters():
            weight.normal_()
    model.save_pretrained(folder)
    asked = ["Hi?", "What does the loss tell me about the model that I train?", "Why is the queue so long?"]
    answer = {"role": "assistant", "content": "-"}
    rows = write_messages(tmp_path / "asked.arrow", [[{"role": "user", "content": text}, answer] for text in asked])
    answers = []
    for size in (1, 3):
        plan = replace(plan_of(job, rows, **ANSWERED, batch_size=size), job_folder=tmp_path / f"size-{size}")
        run(plan, Link())
        answers.append([row["answers"]["base"] for row in rows_of(plan)])
    assert answers[0] == answers[1]
    assert len({*answers[0]}) > 1


def test_a_sampled_answer_depends_on_no_other_row(job: Job):
    """Not on the batch size, and not on where an evaluation was interrupted."""
    rows = write_rows(job.folder.with_name("measured.arrow"), 5)
    sampled = {"metrics": [EXACT], "generation": {"max_new_tokens": 6, "temperature": 1.0, "top_p": 0.9, "top_k": 100}}

    def answers(name: str, **config: Any) -> list[str]:
        plan = replace(plan_of(job, rows, **sampled | config), job_folder=job.folder.with_name(name))
        if name == "interrupted":
            assert run(plan, Link(stop_at={2: StopKind.PREEMPT})).step == 2
        assert run(plan, Link()).step == 5
        return [row["answers"]["base"] for row in rows_of(plan)]

    whole = answers("whole", batch_size=5)
    assert len({*whole}) > 1
    assert answers("one-by-one", batch_size=1) == answers("interrupted", batch_size=2) == whole
    assert answers("other", seed=1) != whole


def test_the_base_comes_first_and_every_row_has_its_answers(job: Job, tuned: MeasuredModel):
    rows = write_rows(job.folder.with_name("measured.arrow"), 5)
    base = MeasuredModel(MODEL, "base", MODEL)
    plan = plan_of(job, rows, base, tuned, **ANSWERED, max_rows=4)
    link = Link()
    assert run(plan, link).ending is Ending.FINISHED
    found = results_of(plan)
    assert [(model.key, model.base) for model in found.models] == [("base", None), ("model", "base")]
    assert found.num_rows == 4
    cut = {key: sum(key in line.get("cut", ()) for line in rows_of(plan)) for key in ("base", "model")}
    assert {model.key: (model.num_answers, model.num_cut_answers) for model in found.models} == {
        key: (4, number) for key, number in cut.items()
    }
    assert max(cut.values()) > 0
    lines = rows_of(plan)
    assert [line["row"] for line in lines] == [1, 2, 3, 4]
    assert [line["reference"] for line in lines] == [f"Answer {number}." for number in range(4)]
    for line in lines:
        assert set(line["answers"]) == {"base", "model"}
        expected = {key: float(text.strip() == line["reference"]) for key, text in line["answers"].items()}
        assert {key: score["exact_match"] for key, score in line["scores"].items()} == expected
    [metric] = found.models[1].metrics
    assert metric.value == pytest.approx(sum(line["scores"]["model"]["exact_match"] for line in lines) / 4)
    assert [row.row for row in metric.worst + metric.best]
    assert metric.worst[0].score <= metric.best[0].score
    assert found.estimated_memory_bytes > 600 * 1024**2
    assert found.peak_memory_bytes > 100 * 1024**2
    [loaded] = link.loaded
    assert (loaded.num_tokens, loaded.num_answer_tokens) == (0, 2 * 4 * 4)
    [measured] = link.told(EventKind.METRICS)
    assert measured["values"]["answer_tokens_per_s"] > 0
    assert "read_tokens_per_s" not in measured["values"]


def test_rows_that_cannot_be_scored_are_counted_by_name(job: Job):
    asked = {"role": "user", "content": "What is a queue?"}
    answer = {"role": "assistant", "content": "Answer 1."}
    rows = write_messages(
        job.folder.with_name("odd.arrow"),
        [
            [asked, answer],
            [asked, {"role": "assistant", "content": " "}],
            [answer],
            [asked | {"content": "x" * 4000}, answer],
        ],
    )
    plan = plan_of(job, rows, **ANSWERED | {"metrics": [EXACT, {"type": "perplexity", "max_length": 64}]})
    run(plan, Link())
    exact, perplexity = results_of(plan).models[0].metrics
    assert exact.num_rows + sum(exact.skipped.values()) == 4
    assert exact.skipped == {"no_prompt": 1, "no_reference": 1, "prompt_too_long": 1}
    assert perplexity.num_rows + sum(perplexity.skipped.values()) == 4
    assert perplexity.skipped["no_counted_token"] >= 1
    assert rows_of(plan)[2]["skipped"]["base"]["exact_match"] == "no_prompt"


def test_a_stopped_evaluation_goes_on_with_the_rows_that_are_missing(job: Job, monkeypatch: pytest.MonkeyPatch):
    rows = write_rows(job.folder.with_name("measured.arrow"), 6)
    plan = plan_of(job, rows, **ANSWERED, batch_size=2)
    stopped = run(plan, Link(stop_at={4: StopKind.PREEMPT}))
    assert (stopped.ending, stopped.stop, stopped.step) == (Ending.STOPPED, StopKind.PREEMPT, 4)
    assert stopped.kept == "the 4 measurements so far are kept"
    file = plan.results_folder / PROGRESS_FILE
    first = file.read_text("utf-8")
    file.write_text(first + '{"model": 0, "par', "utf-8")  # what a killed attempt may leave
    asked: list[int] = []

    def counted(*args: Any, **options: Any) -> Any:
        asked.append(len(args[1]))
        return generate(*args, **options)

    monkeypatch.setattr("train.evaluation.work.generate", counted)
    link = Link()
    again = run(replace(plan, attempt=2), link)
    assert (again.ending, again.step, asked) == (Ending.FINISHED, 6, [2])
    assert file.read_text("utf-8").startswith(first)
    whole = plan_of(job, rows, **ANSWERED)
    whole = replace(whole, job_folder=job.folder.with_name("whole"))
    run(whole, Link())
    assert rows_of(whole) == rows_of(plan)
    asked.clear()
    assert run(replace(plan, attempt=3), Link()).ending is Ending.FINISHED
    assert not asked


def test_a_model_that_changed_since_the_submission_is_refused(job: Job, tuned: MeasuredModel, tmp_path: Path):
    folder = shutil.copytree(tuned.model, tmp_path / "adapter")
    copied = replace(tuned, model=str(folder), base=None)
    known = known_identity(copied, job.models)
    assert known is not None
    assert known == identity_of(find_model(str(folder), job.models))
    weights = folder / "adapter_model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert known_identity(copied, job.models) != known
    plan = replace(plan_of(job, write_rows(tmp_path / "rows2.arrow", 2), copied, **ANSWERED), identities=(known,))
    with pytest.raises(ConflictError, match="changed since the evaluation was submitted"):
        run(plan, Link())


def test_a_batch_that_does_not_fit_the_memory_is_halved(job: Job, monkeypatch: pytest.MonkeyPatch):
    asked: list[int] = []

    def too_large(*args: Any, **options: Any) -> Any:
        asked.append(len(args[1]))
        if len(args[1]) > 2:
            raise torch.cuda.OutOfMemoryError
        return generate(*args, **options)

    monkeypatch.setattr("train.evaluation.work.generate", too_large)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: None)
    plan = plan_of(job, write_rows(job.folder.with_name("measured.arrow"), 5), **ANSWERED)
    assert run(plan, Link()).ending is Ending.FINISHED
    assert asked == [5, 4, 2, 2, 1]
    fixed = replace(plan_of(job, plan.dataset.rows, **ANSWERED, batch_size=4), job_folder=job.folder.with_name("fixed"))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        run(fixed, Link())


def test_a_full_disk_ends_an_evaluation_and_keeps_what_was_measured(job: Job):
    class FullDisk(Link):
        """Nothing more can be written to the file of the measurements once the model is loaded."""

        def emit(self, payload: EventPayload | ModelLoaded | EngineReady) -> None:
            super().emit(payload)
            if isinstance(payload, ModelLoaded):
                file.unlink(missing_ok=True)
                file.symlink_to("/dev/full")

    assert isinstance(job.rows, Path)
    plan = plan_of(job, job.rows, metrics=[{"type": "perplexity"}])
    file = plan.results_folder / PROGRESS_FILE
    with pytest.raises(Exception, match=r"disk .* is full") as caught:
        run(plan, FullDisk())
    assert classify(caught.value, plan.job_folder).reason is ReasonCode.DISK_FULL
    file.unlink()
    assert run(plan, Link()).ending is Ending.FINISHED
