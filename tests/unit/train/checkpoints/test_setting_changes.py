"""Every setting of a job has a rule about its change at a resume."""

import re
from pathlib import Path
from typing import Any

import pytest

from ftlab.schemas import JobConfig, LoraConfig, Resources, TrainingConfig
from ftlab.schemas.adjustments import Change
from ftlab.schemas.config_changes import adjusted, changes_between
from ftlab.schemas.methods import METHODS
from train.checkpoints.setting_changes import SETTING_CHANGES, Effect, changed_config, refused_changes

GROUPS = {"training": [TrainingConfig], "lora": [LoraConfig], "resources": [Resources], "method": METHODS}
PLAIN: dict[str, Any] = {"model": "org/name", "dataset": "ds-1"}


def refused(changes: dict[str, Any], *, has_checkpoint: bool = True, **settings: Any) -> list[str]:
    document = PLAIN | settings
    before, after = (JobConfig.model_validate(each) for each in (document, adjusted(document, changes)))
    found = changes_between(before, after)
    return [change.field for change, _ in refused_changes(before, found, has_checkpoint=has_checkpoint)]


def test_every_setting_has_one_rule_with_a_reason():
    # Another kind is another config, which no adjustment leads to.
    settings = {name for name in JobConfig.model_fields if name not in (*GROUPS, "kind")}
    settings |= {
        f"{group}.{name}" for group, models in GROUPS.items() for model in models for name in model.model_fields
    }
    assert set(SETTING_CHANGES) == settings
    assert all(isinstance(effect, Effect) and reason for effect, reason in SETTING_CHANGES.values())


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"training.learning_rate": 1e-4, "training.per_device_train_batch_size": 2, "time_limit_s": 900}, []),
        ({"training.optim": "adamw_8bit", "load_in_4bit": True, "training.gradient_checkpointing": True}, []),
        ({"lora.r": 8, "training.warmup_steps": 5}, ["lora.r"]),
        ({"model": "org/other", "dataset": ["ds-1", "ds-2"]}, ["model", "dataset"]),
        ({"method": {"type": "dpo"}}, ["method"]),
        ({"tuning": "full"}, ["tuning"]),
        ({"name": "other"}, ["name"]),
    ],
)
def test_a_checkpoint_decides_what_may_change(changes: dict[str, Any], fields: list[str]):
    assert refused(changes) == fields


def test_packed_rows_keep_their_length():
    assert refused({"method.max_length": 512}) == []
    assert refused({"method.max_length": 512}, method={"packing": True}) == ["method.max_length"]


def test_before_the_first_checkpoint_everything_but_the_name_may_change():
    changes = {"name": "other", "model": "org/other", "lora.r": 8, "method.packing": True, "training.seed": 1}
    assert refused(changes, has_checkpoint=False) == ["name"]


@pytest.mark.parametrize(
    ("field", "value", "with_checkpoint", "without"),
    [
        ("training.per_device_train_batch_size", 2, True, True),
        ("training.per_device_train_batch_size", 4, False, False),
        ("training.per_device_train_batch_size", 0, False, False),
        ("training.no_such_setting", 1, False, False),
        ("lora.r", 4, False, True),
    ],
)
def test_suggested_changes_are_possible_or_not(field: str, value: object, with_checkpoint: bool, without: bool):
    config = JobConfig.model_validate(PLAIN)
    changes = [Change(field=field, from_=None, to=value)]
    for has_checkpoint, expected in ((True, with_checkpoint), (False, without)):
        after = changed_config(config, config.model_dump(mode="json"), changes, has_checkpoint=has_checkpoint)
        assert (after is not None) is expected


def test_the_page_about_resumes_lists_every_setting_under_its_effect():
    page = (Path(__file__).parents[4] / "docs/howto/resume-with-changes.md").read_text("utf-8")
    _, free, continues, new_job, _ = re.split(
        r"^These change no weight|^These are in force|^These need a new job|^A request to change",
        page,
        flags=re.MULTILINE,
    )
    for effect, text in ((Effect.FREE, free), (Effect.CONTINUES, continues), (Effect.NEW_JOB, new_job)):
        first_column = "\n".join(line.split(" | ")[0] for line in text.splitlines())
        listed = set(re.findall(r"`([a-z0-9_.]+)`", first_column))
        assert listed == {name for name, (found, _) in SETTING_CHANGES.items() if found is effect}
