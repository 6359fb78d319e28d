"""Metrics at a fixed rate: `python -m tests.bench.metric_source DRIVER INTERVAL_S`, in the service's Ray environment.

It stands in for the halted worker of a running job: the same link to the same run driver, and no training that takes
cores from what is measured. It prints `started` and goes on until its input is closed.
"""

import sys
import threading

import ray

from cluster.names import NAMESPACE
from cluster.worker import _DriverLink
from ftlab.schemas import EventKind


def main(driver: str, interval_s: float) -> None:
    ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level="error")
    link = _DriverLink(ray.get_actor(driver, NAMESPACE), rank=0)
    done = threading.Event()
    threading.Thread(target=_wait_for_end_of_input, args=(done,), daemon=True).start()
    print("started", flush=True)
    step = 0
    while not done.wait(interval_s):
        step += 1
        link.emit(EventKind.METRICS, metrics_of(step, interval_s))
    link.close()


def _wait_for_end_of_input(done: threading.Event) -> None:
    sys.stdin.read()
    done.set()


def metrics_of(step: int, step_time_s: float) -> dict[str, object]:
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
    return {
        "step": step,
        "total_steps": 10_000_000,
        "epoch": step / 250,
        "eta_s": 123456.789,
        "step_time_s": step_time_s,
        "data_wait_s": 0.000512,
        "values": values,
    }


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
