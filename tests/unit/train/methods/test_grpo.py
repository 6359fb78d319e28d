"""Reinforcement learning with verifiable rewards: it is what TRL does, and a pause changes no bit."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel
from trl import GRPOConfig, GRPOTrainer

from ftlab.schemas import EventKind, GrpoMethod
from ftlab.schemas.events import REWARDS_EQUAL
from tests.support.tiny_models import make_tiny_model
from tests.unit.train.evaluators import Evaluator
from tests.unit.train.methods.plain_trl import TOLERANCE, arguments, begin, conversations, series_of
from tests.unit.train.ranks import Task, assert_same_numbers, train
from tests.unit.train.runs import Job, Link, write_messages, write_rows
from train.data.rows.canonical import Kind, write_canonical
from train.data.rows.errors import DatasetInvalidError
from train.loop.exact_resume import ExactResume
from train.methods.grpo import GrpoRunTrainer
from train.plan import StopKind
from train.reporting import alarm_rules
from train.rewards import checked_rewards, reward_functions

LENGTH = {"type": "length", "min_length": 40, "max_length": 80, "unit": "characters", "weight": 2.0}
GRPO: dict[str, Any] = {
    "type": "grpo",
    "rewards": [LENGTH, {"type": "regex", "pattern": "[a-e]", "weight": 0.5}],
    "max_length": 64,
    "max_completion_length": 8,
    "num_generations": 4,
}
STEPS = {"max_steps": 3, "num_train_epochs": 1.0, "per_device_train_batch_size": 4, "learning_rate": 0.01}
ANSWER = [{"role": "assistant", "content": "Twice."}]
SERIES = ("loss", "reward", "reward_std", "rewards/length/mean", "rewards/regex/mean", "entropy", "num_tokens")


@pytest.fixture
def prompts(job: Job, tmp_path: Path) -> Job:
    job.rows = write_rows(tmp_path / "prompts.arrow", 8)
    job.eval_rows = write_rows(tmp_path / "eval.arrow", 3, offset=2)
    return job


@pytest.fixture
def ending(prompts: Job, tmp_path: Path) -> Job:
    """Answers of 1 to 8 tokens: every eighth token ends one."""
    prompts.models = tmp_path / "ending"
    file = make_tiny_model(prompts.models / "org--tiny") / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"eos_token_id": [*range(7, 512, 8)]}))
    prompts.eval_rows = write_rows(tmp_path / "seven.arrow", 7, offset=2)
    return prompts


def plain_trl(job: Job, rewards: list[Callable[..., list[float]]], **options: Any) -> dict[str, dict[int, float]]:
    """The series of the script that a user of TRL writes."""
    folder = job.models / "org--tiny"
    begin()
    rows = [row["messages"][:-1] for row in conversations(Path(str(job.rows)), ("messages",))]
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        reward_funcs=list(rewards),
        args=GRPOConfig(
            **arguments(job, STEPS),
            disable_dropout=True,
            reward_weights=[2.0, 0.5],
            **{name: GRPO[name] for name in ("num_generations", "max_completion_length")} | options,
        ),
        train_dataset=Dataset.from_dict({"prompt": rows}),
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=LoraConfig(r=4, lora_alpha=8, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    trainer.train()
    series = series_of(trainer)
    return {name: series[name] for name in SERIES}


def length(completions: list[Any], **_: Any) -> list[float]:
    sizes = [len(answer[0]["content"]) for answer in completions]
    return [size / 40 if size < 40 else max(0.0, 1 - max(0, size - 80) / 80) for size in sizes]


def regex(completions: list[Any], **_: Any) -> list[float]:
    return [float(any(char in "abcde" for char in answer[0]["content"])) for answer in completions]


@pytest.mark.parametrize(
    "options",
    [{}, {"beta": 0.1, "num_iterations": 3, "scale_rewards": "batch", "loss_type": "grpo", "temperature": 0.8}],
    ids=["defaults", "several iterations"],
)
def test_the_series_are_those_of_trl(prompts: Job, options: dict[str, Any]) -> None:
    link = Link()
    prompts.eval_rows = None
    prompts.train(link, training=STEPS, method=GRPO | options)
    expected = plain_trl(prompts, [length, regex], **options)
    for name, values in expected.items():
        found = link.series(name)
        assert {step: found[step] for step in values} == pytest.approx(values, rel=TOLERANCE, abs=TOLERANCE), name
    assert len(expected["loss"]) == len(link.series("num_tokens")) == STEPS["max_steps"]
    assert any(expected["reward_std"].values())


def test_the_rewards_know_the_tokens_that_end_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def make(trainer: Any, **_: Any) -> None:
        trainer.eos_token_ids, trainer.processing_class = [8, 9], SimpleNamespace(pad_token_id=0)

    monkeypatch.setattr(ExactResume, "__init__", make)
    method = GrpoMethod.model_validate({"type": "grpo", "rewards": [{"type": "length", "max_length": 2}]})
    [reward] = rewards = reward_functions(method)
    GrpoRunTrainer(rewards=rewards)
    answers = [[1, 2, 8], [1, 2, 9], [1, 2, 3]]
    assert reward(completions=["", "", ""], completion_ids=answers, reference=[None] * 3) == [1.0, 1.0, 0.5]


def trained_weights(job: Job) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(job.folder / "model" / "adapter_model.safetensors"))


def test_two_workers_answer_every_prompt_of_an_epoch(prompts: Job, tmp_path: Path) -> None:
    """A step takes 2 of 5 prompts, one a worker: the last step of the epoch takes its first prompt once more.

    Before the first step, both evaluate what one worker evaluates.
    """
    questions = [f"{number} and {number}?" for number in range(5)]
    prompts.rows = write_messages(
        tmp_path / "five.arrow", [[{"role": "user", "content": text}, *ANSWER] for text in questions]
    )
    alone, link = Job(tmp_path / "alone", prompts.models, prompts.rows, prompts.eval_rows), Link()
    alone.train(link, training=STEPS | {"max_steps": 1}, method=GRPO)
    training = STEPS | {"per_device_eval_batch_size": 1}
    [two] = train(tmp_path / "ranks", [Task(prompts, config={"method": GRPO, "training": training})], workers=2)
    assert sorted(two.link.series("reward")) == [1, 2, 3]
    for name in ("eval_reward", "eval_rewards/length/mean", "eval_completions/mean_length"):
        assert two.link.series(name)[0] == pytest.approx(link.series(name)[0]), name
    answered = [row for step in sorted(two.rows) for [batch] in two.rows[step] for row in batch]
    assert len(answered) == 3 * 2 * 4
    order = [tuple(row) for row in answered[::4]]
    assert [row for row in order for _ in range(4)] == [tuple(row) for row in answered]
    assert len(set(order)) == 5
    assert order[5] == order[0]


@pytest.mark.parametrize("num_iterations", [1, 2])
def test_a_pause_changes_no_bit(prompts: Job, tmp_path: Path, num_iterations: int) -> None:
    """With two iterations, the pause lies between two steps that train the same answers."""
    method = GRPO | {"num_iterations": num_iterations}
    steps = STEPS | {"max_steps": 4, "gradient_accumulation_steps": 2, "eval_steps": 2}
    whole = Link()
    prompts.train(whole, training=steps, method=method)
    paused = Job(tmp_path / "paused", prompts.models, prompts.rows, prompts.eval_rows)
    first, second = Link(stop_at={3: StopKind.PAUSE}), Link()
    paused.train(first, training=steps, method=method)
    answers = list((paused.folder / "checkpoints").glob("*/answers_0.pt"))
    assert bool(answers) == (num_iterations > 1)
    paused.train(second, training=steps, method=method)
    for name in (*SERIES, "eval_loss", "eval_reward"):
        assert first.series(name) | second.series(name) == whole.series(name), name
    assert len(whole.series("loss")) == 4
    for name, weight in trained_weights(prompts).items():
        assert torch.equal(weight, trained_weights(paused)[name]), name


def test_an_evaluation_draws_the_same_answers_whatever_was_drawn_before(prompts: Job) -> None:
    link = Link()
    prompts.train(link, training=STEPS | {"eval_steps": 1, "learning_rate": 1e-30}, method=GRPO)
    rewards = link.series("eval_reward")
    assert len(rewards) == 4
    assert len({*rewards.values()}) == 1
    assert link.series("eval_loss") == {step: -reward for step, reward in rewards.items()}
    parts = link.series("eval_rewards/length/mean"), link.series("eval_rewards/regex/mean")
    assert rewards[0] == pytest.approx(2.0 * parts[0][0] + 0.5 * parts[1][0])


@pytest.mark.parametrize("loss_type", ["dapo", "grpo"])
def test_no_number_depends_on_how_answers_are_divided(ending: Job, tmp_path: Path, loss_type: str) -> None:
    """The 8 answers of a step, taken as 1 x 8 and as 4 x 2; the 7 prompts to evaluate on, 7 and 3 at a time."""
    method = GRPO | {"loss_type": loss_type, "beta": 0.1}
    links = []
    for passes, eval_size in ((1, 7), (4, 3)):
        shape = {"per_device_train_batch_size": 8 // passes, "gradient_accumulation_steps": passes}
        training = STEPS | shape | {"max_steps": 2, "per_device_eval_batch_size": eval_size, "eval_steps": 1}
        links.append(Link())
        job = Job(tmp_path / f"job-{passes}", ending.models, ending.rows, ending.eval_rows)
        job.train(links[-1], training=training, method=method)
    whole, divided = links
    assert {1, 8} < {*whole.series("completions/min_length").values(), *whole.series("completions/max_length").values()}
    assert whole.series("kl")[2] > 0
    assert 1 < whole.series("eval_completions/mean_length")[0] < 8
    assert_same_numbers(divided, whole)


def test_metrics_of_several_steps_are_those_of_all_their_answers(ending: Job, tmp_path: Path) -> None:
    """One logged step for three that leave the weights nearly as they are."""
    ending.eval_rows = None
    each, joined = Link(), Link()
    training = STEPS | {"per_device_train_batch_size": 8, "learning_rate": 1e-30}
    ending.train(each, training=training, method=GRPO)
    other = Job(tmp_path / "joined", ending.models, ending.rows)
    other.train(joined, training=training | {"logging_steps": 3}, method=GRPO)

    def mean(name: str, weights: dict[int, float]) -> float:
        values = each.series(name)
        return sum(values[step] * weights[step] for step in values) / sum(weights[step] for step in values)

    lengths = each.series("completions/mean_length")
    ended = {step: 1 - ratio for step, ratio in each.series("completions/clipped_ratio").items()}
    assert len({*lengths.values()}) == len({*ended.values()}) == 3
    expected = {
        "entropy": mean("entropy", lengths),
        "completions/mean_terminated_length": mean("completions/mean_terminated_length", ended),
        "completions/mean_length": sum(lengths.values()) / 3,
        "completions/min_length": min(each.series("completions/min_length").values()),
        "completions/max_length": max(each.series("completions/max_length").values()),
    }
    assert {name: joined.series(name)[3] for name in expected} == pytest.approx(expected, rel=1e-5)


def test_answers_that_were_all_cut_off_have_no_length_up_to_an_end(prompts: Job) -> None:
    prompts.eval_rows = None
    link = Link()
    prompts.train(link, training=STEPS, method=GRPO | {"max_completion_length": 2})
    ratios = link.series("completions/clipped_ratio")
    assert {step for step, ratio in ratios.items() if ratio < 1} == {*link.series("completions/min_terminated_length")}
    assert 1.0 in ratios.values()


def test_padding_before_a_prompt_changes_no_probability(tmp_path: Path) -> None:
    """A model with absolute positions, such as GPT-2, would count it."""
    folder = make_tiny_model(tmp_path / "models" / "org--tiny")
    vocabulary = AutoModelForCausalLM.from_pretrained(folder).config.vocab_size
    shape = GPT2Config(vocab_size=vocabulary, n_embd=32, n_layer=2, n_head=4, initializer_range=0.5)
    GPT2LMHeadModel(shape).save_pretrained(folder)
    row = {"prompt_ids": [5], "reference": ""}
    trainer = Evaluator(tmp_path, folder.parent, row, method=GRPO, training=STEPS, tuning="full").trainer
    ids = torch.tensor([[0, 0, 0, 5, 6, 7, 8], [9, 10, 11, 12, 13, 14, 15]])
    mask = (ids > 0).long()
    found, *_ = trainer._get_per_token_logps_and_entropies(trainer.model, ids, mask, 3)
    alone, *_ = trainer._get_per_token_logps_and_entropies(trainer.model, ids[:1, 3:], mask[:1, 3:], 3)
    assert found[0].tolist() == pytest.approx(alone[0].tolist(), abs=1e-4)


def test_the_reward_rises(prompts: Job) -> None:
    """Longer answers score higher: their mean length is about 17 of 60 characters before training."""
    link = Link()
    reward = {"type": "length", "min_length": 60, "max_length": 200, "unit": "characters"}
    steps = {"max_steps": 12, "per_device_train_batch_size": 16, "learning_rate": 0.01, "lr_scheduler_type": "constant"}
    prompts.eval_rows = None
    prompts.train(link, training=steps, method=GRPO | {"rewards": [reward], "num_generations": 8}, tuning="full")
    rewards = [*link.series("reward").values()]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.1


def test_rewards_that_are_equal_for_all_answers_raise_an_alarm(prompts: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm_rules, "EQUAL_REWARDS_STREAK", 3)
    never = {"rewards": [{"type": "regex", "pattern": "(?!)"}]}
    prompts.eval_rows = None
    link = Link()
    prompts.train(link, method=GRPO | never, training=STEPS)
    [message] = link.notices(REWARDS_EQUAL)
    assert "0 on average at step 3" in message


def test_a_prompt_that_is_too_long_is_skipped_and_counted(prompts: Job, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two."}]
    long = [{"role": "user", "content": "word " * 200}, {"role": "assistant", "content": "Two."}]
    prompts.rows, prompts.eval_rows = write_messages(tmp_path / "long.arrow", [turns, long, turns]), None
    link = Link()
    prompts.train(link, training=STEPS | {"max_steps": 1}, method=GRPO)
    [notice] = link.notices("prompts_too_long")
    assert "1 were skipped because their prompts have more than 56 tokens" in notice


def test_prompts_without_answers_are_trained_like_those_with_answers(prompts: Job, tmp_path: Path) -> None:
    rows = tmp_path / "alone.arrow"
    with write_canonical(rows, Kind.PROMPTS) as out:
        for line, row in enumerate(conversations(Path(str(prompts.rows)), ("messages",)), 1):
            out.write(line, {"prompt": row["messages"][:-1]})
    with_answers, alone = Link(), Link()
    prompts.eval_rows = None
    prompts.train(with_answers, training=STEPS, method=GRPO)
    shutil.rmtree(prompts.folder)
    prompts.rows, prompts.recorded_step, prompts.recorded_checkpoints = rows, 0, ()
    prompts.train(alone, training=STEPS, method=GRPO)
    for name in SERIES:
        assert alone.series(name) == with_answers.series(name), name


def test_a_python_file_rewards_as_a_built_in_one(prompts: Job, tmp_path: Path) -> None:
    file = tmp_path / "rewards.py"
    file.write_text("""
def reward(completions, references):
    assert all(reference.startswith("Answer ") for reference in references)
    return [len(answer) / 40 if len(answer) < 40 else max(0, 1 - max(0, len(answer) - 80) / 80)
            for answer in completions]
""")
    method = GRPO | {"rewards": [LENGTH, {"type": "python_file", "path": str(file)}]}
    method = checked_rewards(GrpoMethod.model_validate(method), [tmp_path]).model_dump()
    link = Link()
    prompts.train(link, training=STEPS, method=method)
    assert link.series("rewards/python_file/mean") == link.series("rewards/length/mean")
    assert link.series("eval_rewards/python_file/mean") == link.series("eval_rewards/length/mean")
    assert len(link.series("rewards/python_file/mean")) == 3


def test_a_reward_that_needs_a_reference_refuses_rows_without_one(prompts: Job, tmp_path: Path) -> None:
    rows = [[{"role": "user", "content": "One?"}, {"role": "assistant", "content": text}] for text in ("Two.", " ")]
    prompts.rows, prompts.eval_rows = write_messages(tmp_path / "blank.arrow", rows), None
    with pytest.raises(DatasetInvalidError, match=r"1 of the 2 rows has no reference answer \(the first is row 2\)"):
        prompts.train(training=STEPS, method=GRPO | {"rewards": [{"type": "exact_match"}]})
    link = Link()
    prompts.train(link, training=STEPS | {"max_steps": 1}, method=GRPO)
    assert link.told(EventKind.CHECKPOINT)
    assert {"generation", "forward", "backward"} <= set(link.told(EventKind.METRICS)[-1]["times_s"])
