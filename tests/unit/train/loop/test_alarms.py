"""Alarms of real runs on the tiny model."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import pytest

from ftlab.schemas import EventKind, EventPayload
from ftlab.schemas.events import DATA_WAIT_HIGH, EVAL_LOSS_RISING, LOSS_FLAT
from tests.unit.train.runs import CrashError, Job, Link, write_messages
from train.methods.collator import RowCollator
from train.plan import ModelLoaded, Phase
from train.reporting import alarm_rules


@dataclass
class TimedLink(Link):
    """Keeps the time of every notice."""

    noticed_at: dict[str, float] = field(default_factory=dict)

    def emit(self, payload: EventPayload | ModelLoaded) -> None:
        super().emit(payload)
        if not isinstance(payload, ModelLoaded) and payload.kind is EventKind.NOTICE:
            self.noticed_at.setdefault(payload.to_data()["code"], time.monotonic())


def test_a_slow_loader_raises_an_alarm_while_the_step_still_waits(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded_at: list[float] = []
    collate = RowCollator.__call__

    def slow(self: RowCollator, rows: list[dict[str, Any]]) -> Any:
        if len(loaded_at) == 3:
            time.sleep(3.0)
        loaded_at.append(time.monotonic())
        return collate(self, rows)

    monkeypatch.setattr(RowCollator, "__call__", slow)
    monkeypatch.setattr(alarm_rules, "PENDING_DATA_WAIT_S", 1.0)
    job.eval_rows = None
    link = TimedLink()
    job.train(link, training={"max_steps": 6, "save_steps": 6})
    [message] = link.notices(DATA_WAIT_HIGH)
    assert "The next step has been waiting for its rows" in message
    assert link.noticed_at[DATA_WAIT_HIGH] < loaded_at[3]


def test_rising_eval_losses_raise_one_alarm_over_two_attempts(job: Job) -> None:
    # Answers of which no token is in the training rows: the model learns that they are unlikely.
    unseen = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "ZZZ %%% QQQ &&& ### ZZZ %%% QQQ"}]
    job.eval_rows = write_messages(job.folder.with_name("unseen.arrow"), [unseen])
    training = {"max_steps": 6, "save_steps": 1, "eval_steps": 1, "learning_rate": 0.004}
    first, second = Link(crash_at=5), Link()
    with pytest.raises(CrashError):
        job.train(first, training=training)
    job.train(second, training=training)
    losses = first.series("eval_loss") | second.series("eval_loss")
    assert losses[0] < losses[1] < losses[2] < losses[3] < losses[4] < losses[5], "it is still rising at the resume"
    [message] = first.notices(EVAL_LOSS_RISING)
    assert "at step 3" in message
    assert not second.notices(EVAL_LOSS_RISING)


def test_a_learning_rate_that_is_too_small_raises_an_alarm(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarm_rules, "FLAT_LOSS_POINTS", 16)
    job.eval_rows = None
    link = Link()
    job.train(link, training={"max_steps": 16, "save_steps": 16, "learning_rate": 1e-12})
    [message] = link.notices(LOSS_FLAT)
    assert "training.learning_rate is too small" in message


@pytest.mark.parametrize("warmup", [{"warmup_steps": 10}, {"warmup_ratio": 0.6}], ids=["steps", "ratio"])
def test_a_flat_loss_in_the_warm_up_raises_nothing(
    job: Job, monkeypatch: pytest.MonkeyPatch, warmup: dict[str, Any]
) -> None:
    monkeypatch.setattr(alarm_rules, "FLAT_LOSS_POINTS", 16)
    job.eval_rows = None
    link = Link()
    job.train(link, training={"max_steps": 16, "save_steps": 16, "learning_rate": 1e-12} | warmup)
    assert not link.notices(LOSS_FLAT)


def test_a_healthy_run_raises_nothing_and_ends_with_no_timer(job: Job) -> None:
    link = Link()
    job.train(link, training={"eval_steps": 2})
    assert not link.told(EventKind.NOTICE)
    assert Phase.EVALUATING in {beat.phase for beat in link.beats}
    assert "ftlab-alarms" not in {thread.name for thread in threading.enumerate()}
