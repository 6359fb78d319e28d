"""The resolution of a whole config: valid, complete, repeatable, and within the memory."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from ftlab.schemas.auto import AUTO, AUTO_SETTINGS, auto_settings, with_settings, without_auto
from ftlab.schemas.job_file import parse_job_config
from tests.unit.train.auto.known import GRPO, LARGE, SMALL, cpu, facts, gpu, job, rows
from train.auto.facts import Facts
from train.auto.memory_rules import length_of
from train.auto.resolve import NEEDS_DEVICES, NEEDS_LENGTHS, RULES, resolve, stand_in
from train.estimate.devices import Fit

METHODS: tuple[dict[str, Any], ...] = (
    {},
    {"type": "dpo"},
    {"type": "kto"},
    {"type": "reward"},
    GRPO,
    GRPO | {"num_generations": 6, "max_completion_length": 30},
)
DEVICES = (cpu(2), cpu(16, processes=3), gpu("T4"), gpu("L4"), gpu("H100"))
SHAPES = (SMALL, LARGE)


def settings_of(method: dict[str, Any]) -> list[str]:
    return [name for name in AUTO_SETTINGS if name != "method.packing" or not method]


@st.composite
def cases(draw: st.DrawFn) -> tuple[JobConfig, Facts]:
    method = draw(st.sampled_from(METHODS))
    names = draw(st.sets(st.sampled_from(settings_of(method)), min_size=1))
    tuning = draw(st.sampled_from(["lora", "full", "4bit"]))
    groups: dict[str, Any] = {
        "method": dict(method),
        "tuning": "full" if tuning == "full" else "lora",
        "load_in_4bit": tuning == "4bit",
        "resources": {"num_workers": draw(st.integers(1, 5))},
        "training": {"max_steps": 12} if draw(st.booleans()) else {},
    }
    if draw(st.booleans()):
        groups["eval_split"] = 0.1
    if method.get("type") == "grpo":
        names |= {"training.gradient_accumulation_steps"}  # the default does not hold all answers of a prompt
    if method:
        names -= {"method.packing"}
    lengths = rows(
        draw(st.dictionaries(st.integers(1, 20_000), st.integers(1, 5000), max_size=5)),
        scale=draw(st.sampled_from([1, 7])),
    )
    devices = tuple(draw(st.lists(st.sampled_from(DEVICES), min_size=1, max_size=2)))
    shape, positions = draw(st.sampled_from(SHAPES)), draw(st.sampled_from([None, 600, 8192]))
    return job(*names, **groups), facts(shape=shape, lengths=lengths, devices=devices, max_positions=positions)


@given(cases())
def test_what_auto_becomes_is_a_valid_config_that_fits_or_is_said_not_to(case: tuple[JobConfig, Facts]) -> None:
    config, known = case
    names = auto_settings(config)
    found = resolve(config, known)
    assert list(found.auto) == names
    assert auto_settings(found.config) == []
    assert all(value.reason and not value.reason.endswith(".") for value in found.auto.values())
    document = found.config.model_dump(mode="json")
    assert parse_job_config(document).model_dump(mode="json") == document
    given_before = without_auto(config.model_dump(mode="json"), document)
    assert given_before == document, "settings that were given, or left to their defaults, stay as they were"
    assert resolve(config, known) == found
    length = length_of(found.config, known)
    batch = found.auto.get("training.per_device_train_batch_size")
    if batch is not None and "the smallest" not in batch.reason:
        assert known.fit_of(found.config, length) is Fit.FITS
    if batch is not None and "not even that fits" in batch.reason:
        assert known.fit_of(found.config, length) is Fit.DOES_NOT_FIT
    if "method.max_length" in names and known.max_positions:
        assert found.config.method.max_length <= max(known.max_positions, 257)


@given(cases())
def test_the_config_that_stands_in_is_valid(case: tuple[JobConfig, Facts]) -> None:
    found = stand_in(case[0])
    assert auto_settings(found) == []
    assert parse_job_config(found.model_dump(mode="json")).model_dump() == found.model_dump()


def test_every_setting_has_a_rule_and_asks_only_for_what_it_reads():
    assert set(RULES) == set(AUTO_SETTINGS)
    for name in RULES:
        lengths = rows({100: 50}) if name in NEEDS_LENGTHS else None
        devices = (cpu(),) if name in NEEDS_DEVICES else ()
        known = facts(lengths=lengths, devices=devices)
        assert resolve(job(name), known).auto.keys() == {name}


def test_a_config_without_auto_stays_as_it_is():
    config = job(training={"learning_rate": 1e-3})
    found = resolve(config, Facts())
    assert (found.config, found.auto) == (config, {})
    assert found.config.model_fields_set == config.model_fields_set


def test_the_values_of_every_setting_for_one_case():
    """A change of a rule changes this table, and the documentation."""
    known = facts(devices=(gpu("L4"),), shape=LARGE, lengths=rows({200: 4000, 700: 900, 1900: 100}), max_positions=8192)
    found = resolve(job(*AUTO_SETTINGS, load_in_4bit=True, eval_split=0.1), known)
    assert {name: value.value for name, value in found.auto.items()} == {
        "method.max_length": 1920,
        "method.packing": True,
        "training.num_train_epochs": 2.0,
        "training.per_device_train_batch_size": 4,
        "training.per_device_eval_batch_size": 4,
        "training.gradient_accumulation_steps": 1,
        "training.gradient_checkpointing": True,
        "training.learning_rate": 2e-4,
        "training.warmup_ratio": 0.03,
        "training.bf16": True,
        "training.fp16": False,
        "training.dataloader_num_workers": 0,
    }


@pytest.mark.parametrize(
    ("training", "words"),
    [
        ({"bf16": AUTO, "fp16": True}, "training.bf16 and training.fp16 cannot be combined"),
        (
            {"warmup_steps": 5, "warmup_ratio": AUTO},
            "training.warmup_steps (5) and training.warmup_ratio (auto) cannot",
        ),
        ({"weight_decay": AUTO}, "training.weight_decay must be a number"),
        ({"learning_rate": "Auto"}, "training.learning_rate must be a number or 'auto'"),
    ],
)
def test_what_cannot_be_left_to_the_service_is_refused_in_one_sentence(training, words):
    with pytest.raises(InvalidRequestError) as caught:
        parse_job_config({"model": "m", "dataset": "d", "training": training})
    assert words in caught.value.message
    assert caught.value.message.count(". ") == 0


def test_a_rule_between_given_settings_holds_for_a_config_with_auto():
    config = job("training.per_device_train_batch_size", method=dict(GRPO), training={"max_steps": 9})
    document = with_settings(config.model_dump(mode="json"), {"method.num_iterations": 2})
    with pytest.raises(InvalidRequestError, match=r"max_steps \(9\) must be a multiple"):
        parse_job_config(document)
