"""Alarms of a run: its measurements go through the rules, on rank 0, and a timer watches a wait that does not end."""

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ftlab.schemas import NoticePayload
from train.plan import RunLink
from train.reporting.alarm_rules import (
    DataWaitRule,
    EvalLossRule,
    FlatLossRule,
    GradNormRule,
    RewardRule,
    SpeedRule,
)
from train.reporting.run_metrics import StepMeter

TIMER_INTERVAL_S = 1.0


class RunAlarms:
    """Emits a notice when a rule raises an alarm. Only rank 0 has one."""

    def __init__(self, link: RunLink, meter: StepMeter, *, warmup_steps: int, learns_from_prompts: bool) -> None:
        """With `learns_from_prompts`, the loss says little, and the rewards are watched instead."""
        self._link = link
        self._meter = meter
        self._data_wait = DataWaitRule()
        self._speed = SpeedRule()
        self._grad_norm = GradNormRule()
        self._eval_loss = EvalLossRule()
        self._flat_loss = None if learns_from_prompts else FlatLossRule(warmup_steps)
        self._rewards = RewardRule()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch the waits for data from a thread: the training thread itself can say nothing until a wait ends."""
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended,), name="ftlab-alarms", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def resumed(self, log_history: Iterable[Mapping[str, Any]]) -> None:
        """Continue the series of the job's earlier attempts. Alarms that they raised are not raised again."""
        for entry in log_history:
            self._notices(entry["step"], entry)

    def step_ended(self) -> None:
        self._emit(self._data_wait.step_ended(self._meter.data_waits.last, self._meter.step_times.last))

    def logged(self, step: int, values: Mapping[str, float], active_s: float) -> None:
        """Check the values of a logged step, or of an evaluation; `active_s` is the time since the last logged step."""
        for notice in self._notices(step, values):
            self._emit(notice)
        if "tokens_per_s" in values:
            self._emit(self._speed.logged(values["tokens_per_s"], active_s))

    def _notices(self, step: int, values: Mapping[str, float]) -> list[NoticePayload | None]:
        rules = {
            "grad_norm": self._grad_norm.logged,
            "eval_loss": self._eval_loss.logged,
        }
        if self._flat_loss is not None:
            rules["loss"] = self._flat_loss.logged
        found = [check(step, values[name]) for name, check in rules.items() if name in values]
        return [*found, self._rewards.logged(step, values)]

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(TIMER_INTERVAL_S):
            self._emit(self._data_wait.still_waiting(self._meter.waiting_s()))

    def _emit(self, notice: NoticePayload | None) -> None:
        if notice is not None:
            self._link.emit(notice)
