"""What a sweep may hold: every fault is one sentence that names the place."""

import time
from typing import Any

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.schemas.sweep_rules import check_sweep
from ftlab.schemas.sweeps import SweepConfig

JOB: dict[str, Any] = {
    "model": "org/name",
    "dataset": "ds-1",
    "eval_split": 0.2,
    "training": {"max_steps": 90, "eval_steps": 5},
}
HALVING = "successive_halving"
RATE = {"training.learning_rate": {"min": 1e-5, "max": 1e-3, "log": True}}


def sweep_of(**fields: Any) -> SweepConfig:
    return SweepConfig.model_validate({"job": JOB, "parameters": RATE, **fields})


def refusal(**fields: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        check_sweep(SweepConfig(**{"job": JOB, "parameters": RATE, **fields}))
    assert caught.value.code == "invalid_config"
    assert caught.value.message.count(".\n") == 0
    return caught.value.message


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"training.learning_rte": [1e-4]}, "Did you mean 'learning_rate'?"),
        ({"learning_rate": [1e-4]}, "parameters.learning_rate cannot be varied"),
        ({"lora." + "r" * 300: [1]}, "parameters has a name of more than 200 characters"),
        ({"model": ["org/a"]}, "parameters.model cannot be varied"),
        ({"method.type": ["sft"]}, "except method.type"),
        ({"lora.r": ["eight"]}, "lora.r must be"),
        ({"lora.r": [8, 0]}, "parameters.lora.r: lora.r must be at least 1"),
        ({"lora.r": [8, 8]}, "parameters.lora.r must not have a value twice"),
        ({"lora.r": {"min": 1, "max": 8, "step": 1.5}}, "parameters.lora.r.step must be a whole number"),
        ({"lora.r": {"min": 1}}, "parameters.lora.r needs 'values', or 'min' and 'max'"),
        ({"lora.r": {"min": 8, "max": 2}}, "must have a 'min' below its 'max'"),
        ({"lora.r": {"values": [1], "min": 2}}, "either 'values', or 'min' and 'max'"),
        ({"training.learning_rate": {"min": 0, "max": 1, "log": True}}, "'min' above 0"),
        ({"training.learning_rate": {"min": 1e-5, "max": 9}}, "training.learning_rate must be at most 1"),
        ({"training.learning_rate": {"min": 1, "max": 2, "step": 5}}, "not larger than the range"),
        ({"training.learning_rate": {"min": 1e-5, "max": 1e-3, "step": 1e-300}}, "at most 1,000,000,000 values"),
        ({"training.learning_rate": {"min": 1e-5, "max": 1e-3, "step": 5e-324}}, "at most 1,000,000,000 values"),
        ({"training.learning_rate": {"min": 0.5, "max": 10**400, "step": 1}}, "numbers of at most 1e+300"),
        ({"training.learning_rate": {"min": -1e308, "max": 1e308, "step": 1}}, "numbers of at most 1e+300"),
    ],
)
def test_a_faulty_parameter_is_named(parameters: dict[str, Any], words: str):
    assert words in refusal(parameters=parameters)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"method": {"type": "grid"}}, "needs 'values' or a 'step' with method 'grid'"),
        ({"job": {"kind": "evaluation"}}, "must be of the kind 'training'"),
        ({"job": {"model": "org/name"}}, "dataset is required"),
        ({"job": JOB | {"name": "n" * 100_000}}, "job must have at most 100,000 characters as JSON"),
        ({"job": {key: JOB[key] for key in ("model", "dataset")}}, "give it eval_dataset or eval_split"),
        ({"job": JOB | {"register_as": "m"}}, "job.register_as would register"),
        ({"job": JOB | {"after": ["sft"]}}, "job.after is not supported"),
        (
            {"method": HALVING, "job": JOB | {"training": {"eval_steps": 5}}},
            "needs job.training.max_steps",
        ),
        ({"method": HALVING, "job": JOB | {"training": {"max_steps": 9}}}, "one job.training.eval_steps"),
        ({"method": {"type": "successive_halving", "min_steps": 7}}, "must be a multiple of job.training.eval_steps"),
        ({"method": {"type": "successive_halving", "min_steps": 90}}, "needs a first rung below"),
        (
            {"method": HALVING, "parameters": {"training.max_steps": [10, 20]}},
            "cannot be varied with 'successive_halving'",
        ),
        (
            {
                "method": "grid",
                "parameters": {name: {"min": 1, "max": 40, "step": 1} for name in ("training.seed", "lora.r")},
            },
            "1,600 combinations",
        ),
        (
            {"method": "grid", "max_trials": 5, "parameters": {"training.seed": {"min": 0, "max": 10**6, "step": 1}}},
            "parameters.training.seed has 1,000,001 values",
        ),
    ],
)
def test_a_faulty_sweep_is_refused(fields: dict[str, Any], words: str):
    assert words in refusal(**fields)


def test_very_many_unknown_settings_are_counted_and_not_described():
    began = time.process_time()
    found = refusal(job=JOB | {f"setting_{number}": 1 for number in range(4000)})
    assert "and 3997 more" in found
    assert time.process_time() - began < 2


def test_a_key_of_any_length_is_named_in_one_line():
    found = refusal(job=JOB | {"\x1b[2J" + "k" * 50_000: 1})
    assert "kkk… is not a known setting" in found
    assert len(found) < 1000
    assert "\x1b" not in found


GRPO = {"type": "grpo", "rewards": [{"type": "json_schema"}]}


@pytest.mark.parametrize(
    ("method", "field", "metric", "other"),
    [
        ({"type": "sft"}, "max_length", "eval_loss", "train_samples"),
        ({"type": "sft"}, "max_length", "loss", "tokens_per_s"),
        ({"type": "sft"}, "label_smoothing_factor", "loss", "eval_loss"),
        ({"type": "dpo"}, "beta", "eval_loss", "eval_rewards/accuracies"),
        ({"type": "dpo"}, "beta", "eval_rewards/margins", "eval_logps/chosen"),
        ({"type": "kto"}, "desirable_weight", "eval_loss", "eval_logps/chosen"),
        ({"type": "reward"}, "center_rewards_coefficient", "eval_loss", "eval_accuracy"),
        (GRPO, "temperature", "eval_reward", "step_time_s"),
    ],
)
def test_a_setting_that_the_metric_is_computed_with_cannot_be_varied(
    method: dict[str, Any], field: str, metric: str, other: str
):
    name, values = f"method.{field}", [512, 1024] if field == "max_length" else [0.1, 0.2]
    fields = {"job": JOB | {"method": method}, "parameters": {name: values}}
    message = refusal(**fields, objective={"metric": metric})
    assert f"parameters.{name} cannot be varied with objective.metric '{metric}'" in message
    assert check_sweep(sweep_of(**fields, objective={"metric": other})).max_trials == 20
    one = fields | {"parameters": {name: values[:1]}, "objective": {"metric": metric}}
    assert check_sweep(sweep_of(**one)).max_trials == 20


@pytest.mark.parametrize(
    ("objective", "is_minimised"),
    [
        ({}, True),
        ({"metric": "loss"}, True),
        ({"metric": "grad_norm"}, True),
        ({"metric": "eval_reward"}, False),
        ({"metric": "eval_rewards/accuracies"}, False),
        ({"metric": "eval_rewards/margins"}, False),
        ({"metric": "eval_rewards/rejected"}, True),
        ({"metric": "rewards/json_schema/mean"}, False),
        ({"metric": "eval_mean_token_accuracy"}, False),
        ({"metric": "eval_margin"}, False),
        ({"metric": "reward_std"}, True),
        ({"metric": "eval_reward", "direction": "minimise"}, True),
    ],
)
def test_rewards_and_accuracies_are_maximised(objective: dict[str, str], is_minimised: bool):
    sweep = sweep_of(objective=objective)
    assert sweep.objective.is_minimised is is_minimised
    again = SweepConfig.model_validate_json(sweep.model_dump_json(exclude_unset=True))
    assert again.objective.is_minimised is is_minimised


def test_the_rungs_are_multiples_of_the_first():
    method = {"type": "successive_halving", "min_steps": 10, "reduction_factor": 3}
    assert check_sweep(sweep_of(method=method)).rungs == (10, 30)
    assert check_sweep(sweep_of(method="successive_halving")).rungs == (10, 30)  # 90 / 9


def test_the_template_may_leave_out_what_is_varied():
    job = {key: value for key, value in JOB.items() if key != "training"}
    checked = check_sweep(sweep_of(job=job, parameters={"training.max_steps": [10, 20]}, objective={"metric": "loss"}))
    assert checked.job.training.max_steps == 20  # the largest, which needs the most
    assert checked.variants == (("training.max_steps", 10), ("training.max_steps", 20))
    assert checked.whole == {"training.max_steps"}


def test_shorthands_and_defaults():
    sweep = sweep_of(method="random", parameters={"lora.r": [4, 8]})
    assert sweep.parameters["lora.r"].values == [4, 8]
    assert sweep.method.type == "random"
    assert check_sweep(sweep).max_trials == 20
    assert sweep.trial_document({"lora.r": 4})["lora"] == {"r": 4}
    assert "lora" not in sweep.job
