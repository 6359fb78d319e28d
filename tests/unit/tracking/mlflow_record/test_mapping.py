"""What jobs and events become, without a server."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ftlab.schemas import EventKind, JobConfig, LoraConfig, TrainingConfig
from ftlab.schemas.adjustments import AdjustedBy, Adjustment, Change
from ftlab.status import JobStatus
from tests.unit.tracking.mlflow_record.conftest import Jobs
from tracking.mlflow_record.mapping import (
    MAX_PARAM_LENGTH,
    MAX_TAG_LENGTH,
    RUN_STATUS,
    Point,
    dataset_inputs,
    event_tags,
    model_tags,
    params_of,
    points_of,
    registered_name,
    run_tags,
    run_time_points,
)
from tracking.mlflow_record.metric_names import metric_key, valid_key
from tracking.store.records import EventRecord, JobRecord, ModelRecord

AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


def _event(kind: EventKind, data: dict[str, object], attempt: int = 1) -> EventRecord:
    return EventRecord("job-a", 5, attempt, AT, kind, data, "local", 5)


@pytest.fixture
def job(jobs: Jobs) -> JobRecord:
    job_id = jobs.add_job("greeter")
    with jobs.store.read() as tx:
        return tx.jobs.get(job_id)


def test_every_status_has_a_run_status() -> None:
    assert set(RUN_STATUS) == set(JobStatus)
    assert {RUN_STATUS[status] for status in JobStatus if status.is_terminal} == {"FINISHED", "FAILED", "KILLED"}


def test_points_carry_time_and_step_and_leave_out_what_is_no_number() -> None:
    event = _event(EventKind.METRICS, {"step": 3, "epoch": 0.5, "values": {"loss": 2, "grad_norm": None}})
    timestamp_ms = 1_772_366_400_250
    assert points_of(event) == [Point("train/loss", 2.0, timestamp_ms, 3), Point("train/epoch", 0.5, timestamp_ms, 3)]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("loss", "train/loss"),
        ("a_metric_of_tomorrow", "train/a_metric_of_tomorrow"),
        ("eval_loss", "eval/loss"),
        ("eval_a_metric_of_tomorrow", "eval/a_metric_of_tomorrow"),
        ("final_eval_loss", "eval/final_eval_loss"),
        ("tokens_per_s", "perf/tokens_per_s"),
        ("precision@5", "train/precision_5"),
    ],
)
def test_every_series_is_in_a_section(name: str, key: str) -> None:
    assert metric_key(name) == key


def test_the_run_time_is_that_of_the_attempts(job: JobRecord, jobs: Jobs) -> None:
    """Ten seconds each; the hour between them, in a pause or the queue, does not count."""
    jobs.requeue(jobs.start_attempt(job.id))
    with jobs.store.read() as tx:
        [attempt] = tx.attempts.of_job(job.id)
    hours = [replace(attempt, number=n, created_at=AT + timedelta(hours=n), ended_at=None) for n in (1, 2, 3)]
    ended = [replace(each, ended_at=each.created_at + timedelta(seconds=10)) for each in hours[:2]]
    points = run_time_points([*ended, hours[2]])
    assert [(point.key, point.step, point.value) for point in points] == [
        ("perf/run_time_s", 1, 10.0),
        ("perf/run_time_s", 2, 20.0),
    ]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("loss", "loss"),
        ("eval/loss", "eval/loss"),
        ("precision@5", "precision_5"),
        ("größe [m²]", "größe _m²_"),
        ("../../x", "x"),
        ("/loss", "loss"),
        ("a//b/./c", "a/b/c"),
        ("..", "_"),
        ("", "_"),
        ("@" * 300, "_" * 250),
    ],
)
def test_keys_are_made_valid(name: str, key: str) -> None:
    assert valid_key(name) == key


@pytest.mark.parametrize(
    ("name", "registered"),
    [
        ("greeter", "greeter"),
        ("org/model: v2", "org-model- v2"),
        ("Grüße 你好", "Grüße 你好"),
        ("..", "JOB"),
        ("///", "JOB"),
        ("a%2F..?x#y", "a-2F..-x-y"),
    ],
)
def test_registered_names_are_made_valid(job: JobRecord, name: str, registered: str) -> None:
    submitted = replace(job, submitted_config=job.submitted_config | {"name": name})
    assert registered_name(submitted) == registered.replace("JOB", job.id)


@pytest.mark.parametrize(
    ("config", "registered"),
    [
        ({"name": "greeter"}, "greeter"),
        ({"name": "greeter", "register_as": "support-bot"}, "support-bot"),
        ({"name": "greeter", "register_as": False}, None),
        ({"register_as": "support-bot"}, "support-bot"),
        ({}, None),
        ({"name": None, "register_as": None}, None),
    ],
)
def test_a_model_is_registered_where_a_name_was_given(
    job: JobRecord, config: dict[str, object], registered: str | None
) -> None:
    assert registered_name(replace(job, submitted_config=config)) == registered


def test_params_are_flat_and_complete(job: JobRecord, jobs: Jobs) -> None:
    with jobs.store.read() as tx:
        dataset = tx.datasets.get(job.dataset_id)
    params = params_of(job, dataset, None)
    defaults = params_of(replace(job, config=JobConfig(model="m", dataset="d").resolved()), dataset, None)
    assert params == defaults | {
        "name": "greeter",
        "model": "org/base",
        "training.max_steps": "10",
        "training.learning_rate": "0.0002",
        "lora.r": "8",
        "lora.target_modules": '["q_proj", "v_proj"]',
        "dataset.id": dataset.id,
        "dataset.name": "greeter rows",
        "dataset.sha256": dataset.sha256,
    }
    assert params["method.max_length"] == "1024"
    assert not [name for name in params if name in ("dataset", "eval_dataset", "time_limit_s")]


@pytest.mark.parametrize(
    "config",
    [
        JobConfig(model="m", dataset="d"),
        JobConfig(model="m", dataset="d", tuning="full", training=TrainingConfig(learning_rate=3e-5, warmup_steps=7)),
        JobConfig(model="m", dataset="d", lora=LoraConfig(r=4, lora_alpha=64, lora_dropout=0.1, use_rslora=True)),
        JobConfig(model="m", dataset="d", training=TrainingConfig(gradient_accumulation_steps=3, weight_decay=0.2)),
    ],
    ids=["defaults", "full", "rslora", "accumulation"],
)
def test_params_equal_the_resolved_config_setting_by_setting(job: JobRecord, config: JobConfig) -> None:
    resolved = config.resolved().model_dump(mode="json")
    params = params_of(replace(job, config=config.resolved()), None, None)
    shown = {name: text for name, text in params.items() if not name.startswith("dataset.")}
    expected: dict[str, str] = {}
    remaining = [(name, value) for name, value in resolved.items() if name not in ("dataset", "eval_dataset")]
    while remaining:
        name, value = remaining.pop()
        if isinstance(value, dict):
            remaining += [(f"{name}.{inner}", setting) for inner, setting in value.items()]
        elif value is not None:
            expected[name] = json.dumps(value) if isinstance(value, list) else str(value)
    assert shown == expected


def test_params_of_a_job_whose_dataset_is_gone(job: JobRecord) -> None:
    params = params_of(job, None, None)
    assert params["dataset.id"] == job.dataset_id
    assert "dataset.name" not in params


def test_long_values_are_cut(job: JobRecord) -> None:
    modules = [f"layer.{number}.q_proj" for number in range(100)] + ["x" * 200] * 50
    config = job.config.model_copy(update={"lora": LoraConfig(target_modules=modules[:100]), "model": "/" + "m" * 511})
    assert len(params_of(replace(job, config=config), None, None)["model"]) == 512
    config = config.model_copy(update={"lora": LoraConfig(target_modules=["x" * 200] * 100)})
    assert len(params_of(replace(job, config=config), None, None)["lora.target_modules"]) == MAX_PARAM_LENGTH
    failed = _event(EventKind.STATUS, {"status": "failed", "message": "m" * 20_000, "reason": "device_oom"})
    assert len(event_tags(job, [failed])["ftlab.message"]) == MAX_TAG_LENGTH


def test_datasets_have_a_short_digest(jobs: Jobs, job: JobRecord) -> None:
    train, held_out = jobs.add_dataset(), jobs.add_dataset("held out", b"other rows")
    inputs = dataset_inputs(job, [train, None], held_out)
    assert [(item.name, item.context, item.source) for item in inputs] == [
        ("hello", "training", train.id),
        ("held out", "evaluation", held_out.id),
    ]
    assert [item.digest for item in inputs] == [train.sha256[:8], held_out.sha256[:8]]
    assert dataset_inputs(job, [None], None) == []


def test_tags_hold_the_newest_state(job: JobRecord) -> None:
    events = [
        _event(EventKind.STATUS, {"status": "running", "message": "The job is training.", "reason": None}),
        _event(EventKind.CHECKPOINT, {"step": 5}),
        _event(EventKind.CHECKPOINT, {"step": 10}),
        _event(EventKind.STATUS, {"status": "completed", "message": "Done.", "reason": "ok"}, attempt=2),
    ]
    assert event_tags(replace(job, model_revision="abc"), events) == {
        "ftlab.status": "completed",
        "ftlab.attempt": "2",
        "ftlab.message": "Done.",
        "ftlab.reason": "ok",
        "ftlab.model_revision": "abc",
        "ftlab.checkpoint.latest_step": "10",
    }
    assert event_tags(job, []) == {}
    assert run_tags(job)["mlflow.user"] == "local"
    assert "ftlab.sweep" not in run_tags(job)
    assert run_tags(replace(job, sweep_id="sweep-1"))["ftlab.sweep"] == "sweep-1"


def test_a_tag_holds_the_changes_of_the_config(job: JobRecord) -> None:
    moved = _event(EventKind.STATUS, {"status": "pending", "message": "It waits."}, attempt=2)
    assert "ftlab.adjustments" not in event_tags(job, [moved])
    changes = [Change(field="training.max_grad_norm", from_=1.0, to=0.5)]
    made = Adjustment(at=AT, by=AdjustedBy.AUTOMATIC, attempt=1, changes=changes)
    [found] = json.loads(event_tags(replace(job, adjustments=(made,)), [moved])["ftlab.adjustments"])
    assert (found["by"], found["changes"][0]["from"], found["changes"][0]["to"]) == ("automatic", 1.0, 0.5)


def test_model_tags_name_the_job_and_the_base(job: JobRecord) -> None:
    model = ModelRecord(
        "mdl-a", "local", job.id, "greeter", "adapter", "org/base", None, 10, Path("/models/a"), None, AT
    )
    tags = model_tags(job, model)
    assert tags["ftlab.job_id"] == job.id
    assert "ftlab.base_revision" not in tags
    assert model_tags(job, replace(model, base_revision="abc"))["ftlab.base_revision"] == "abc"
