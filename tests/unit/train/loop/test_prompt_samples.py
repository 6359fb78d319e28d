"""Answers of a run to the prompts of its job."""

from pathlib import Path
from typing import Any

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.schemas import EventKind
from tests.unit.train.ranks import Task, train
from tests.unit.train.runs import Job, Link
from train.loop import prompt_samples
from train.plan import Ending, Phase, StopKind

PROMPTS: list[Any] = [
    "What is a queue?",
    [{"role": "system", "content": "Answer briefly."}, {"role": "user", "content": "How do I submit a job?"}],
]
SAMPLING: dict[str, Any] = {"sample_prompts": PROMPTS, "sample_max_new_tokens": 6}


def samples(link: Link) -> dict[tuple[int, int], str]:
    """The answers by step and prompt."""
    return {(data["step"], data["number"]): data["text"] for data in link.told(EventKind.SAMPLE)}


def losses(link: Link) -> tuple[dict[int, float], dict[int, float]]:
    return link.series("loss"), link.series("eval_loss")


@pytest.mark.parametrize(
    "config",
    [
        {"lora": {"r": 4, "lora_alpha": 8, "lora_dropout": 0.2}},
        {"tuning": "full", "training": {"gradient_checkpointing": True}},
    ],
)
def test_answers_change_no_bit_of_the_training(job: Job, config: dict[str, Any]) -> None:
    config = {"training": {}} | config
    training = {"eval_steps": 2, "max_steps": 4, "learning_rate": 0.05} | config.pop("training")
    without, sampled = Link(), Link()
    job.train(without, training=training, **config)
    other = Job(job.folder.with_name("other"), job.models, job.rows, job.eval_rows)
    other.train(sampled, training=training | SAMPLING, **config)
    assert losses(sampled) == losses(without)
    assert list(samples(sampled)) == [(step, number) for step in (0, 2, 4) for number in (1, 2)]
    assert samples(sampled)[0, 1] != samples(sampled)[4, 1], "the model has learned something"
    [first, *_] = sampled.told(EventKind.SAMPLE)
    assert first["prompt"] == PROMPTS[0]
    assert 1 <= first["num_tokens"] <= 6


def test_without_an_eval_dataset_the_prompts_are_answered_at_the_same_steps(job: Job) -> None:
    job.eval_rows = None
    link = Link()
    job.train(link, training={"max_steps": 3, "eval_steps": 2} | SAMPLING)
    assert {step for step, _ in samples(link)} == {0, 2, 3}
    assert Phase.EVALUATING in {beat.phase for beat in link.beats}


def test_a_stop_cuts_an_answer_short_and_the_resume_repeats_it(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_samples, "TOKENS_PER_TURN", 2)
    job.eval_rows = None
    training = {"max_steps": 4, "eval_steps": 2} | SAMPLING
    first, second = Link(stop_in={(Phase.EVALUATING, 2): StopKind.PAUSE}), Link()
    outcome = job.train(first, training=training)
    assert (outcome.ending, outcome.step, outcome.saved_step) == (Ending.STOPPED, 2, 2)
    assert {step for step, _ in samples(first)} == {0}
    job.train(second, training=training)
    assert {step for step, _ in samples(second)} == {2, 4}
    whole = Link()
    Job(job.folder.with_name("whole"), job.models, job.rows, None).train(whole, training=training)
    assert losses(whole)[0] == losses(first)[0] | losses(second)[0]
    assert samples(whole) == samples(first) | samples(second)


def test_a_stop_before_the_first_step_leaves_nothing_to_save(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_samples, "TOKENS_PER_TURN", 2)
    job.eval_rows = None
    link = Link(stop_in={(Phase.EVALUATING, 0): StopKind.PAUSE})
    outcome = job.train(link, training=SAMPLING)
    assert (outcome.ending, outcome.step, outcome.has_saved) == (Ending.STOPPED, 0, False)


def test_a_failure_of_the_answers_is_a_notice_and_training_continues(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(prompt_samples.PromptSampler, "_answer_all", fail)
    link = Link()
    assert job.train(link, training={"max_steps": 2} | SAMPLING).ending is Ending.FINISHED
    [message] = link.notices("samples_failed")
    assert "step 0 (MemoryError: no room)" in message


def test_a_prompt_without_room_for_its_answer_is_refused_before_the_weights_are_loaded(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.run.load_on_devices", lambda *_, **__: pytest.fail("the weights were loaded"))
    with pytest.raises(InvalidRequestError, match=r"Prompt 1 of training.sample_prompts has \d+ tokens") as error:
        job.train(training={"sample_prompts": ["word " * 3000]})
    assert error.value.param == "training.sample_prompts"


@pytest.mark.slow
@pytest.mark.slow
def test_two_workers_answer_once_and_stop_together(job: Job, tmp_path: Path) -> None:
    def other(name: str) -> Job:
        return Job(tmp_path / name, job.models, job.rows, None)

    training = {"max_steps": 4, "eval_steps": 2, "per_device_train_batch_size": 1}
    sampling = {"sample_prompts": PROMPTS, "sample_max_new_tokens": 40}
    plain, sampled, stopped = (other(name) for name in ("plain", "sampled", "stopped"))
    config = {"training": training | sampling}
    tasks = [
        Task(plain, config={"training": training}),
        Task(sampled, config=config),
        Task(stopped, config=config, stop_in=(Phase.EVALUATING, 2, StopKind.PAUSE)),
        Task(stopped, config=config),
    ]
    without, whole, first, second = (trained.link for trained in train(tmp_path / "ranks", tasks, workers=2))
    assert losses(whole) == losses(without)
    assert list(samples(whole)) == [(step, number) for step in (0, 2, 4) for number in (1, 2)]
    assert {step for step, _ in samples(first)} == {0}
    assert {step for step, _ in samples(second)} == {2, 4}
    assert losses(first)[0] | losses(second)[0] == losses(whole)[0]
