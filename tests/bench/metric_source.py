"""Metrics at a chosen rate: `python -m tests.bench.metric_source DRIVER`, in the service's Ray environment.

It stands in for the halted worker of a running job: the same link to the same run driver, and no training that takes
cores from what is measured. Each line of its input is the interval from now on, in seconds; it ends with its input.
"""

import sys
import threading
from itertools import count

import ray

from cluster.names import NAMESPACE
from cluster.runs.worker import _DriverLink
from ftlab.schemas import MetricsPayload

TOLD_BEFORE = 10_000
"""The driver leaves out events that it knows by their number, and those of the halted worker come first."""


class Pace:
    """How often an event is due; follows the input."""

    def __init__(self) -> None:
        self.interval_s = 1.0
        self.ended = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def _follow(self) -> None:
        for line in sys.stdin:
            self.interval_s = float(line)
        self.ended.set()


def main(driver: str) -> None:
    ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level="error")
    pace = Pace()
    link = _DriverLink(ray.get_actor(driver, NAMESPACE), rank=0)
    link._emitter._numbers = count(TOLD_BEFORE)
    step = 0
    while not pace.ended.wait(pace.interval_s):
        step += 1
        link.emit(metrics_of(step, pace.interval_s))
    link.close()


def metrics_of(step: int, step_time_s: float) -> MetricsPayload:
    """What a step of a real job tells."""
    loss = 2.0 + 1.0 / step
    values = {
        "loss": loss,
        "grad_norm": 0.8123456789,
        "learning_rate": 0.0001998,
        "entropy": loss + 0.1,
        "mean_token_accuracy": 0.4567891234,
        "num_tokens": 1024.0 * step,
        "step_time_s": step_time_s,
        "data_wait_s": 0.000512,
        "tokens_per_s": 1024.0 / step_time_s,
    }
    return MetricsPayload(
        step=step,
        total_steps=10_000_000,
        epoch=step / 250,
        eta_s=123456.789,
        step_time_s=step_time_s,
        data_wait_s=0.000512,
        values=values,
    )


if __name__ == "__main__":
    main(sys.argv[1])
