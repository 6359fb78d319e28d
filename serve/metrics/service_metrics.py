"""Metrics that are read from the database at each scrape, so that every replica gives the same ones."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily

from ftlab.errors import ServiceUnavailableError
from ftlab.status import JobStatus, ReasonCode
from serve.jobs.views.queue import is_scheduling
from tracking.store import Store, Transaction
from tracking.store.records import AttemptTotals

NEWEST_POINTS = {
    "step_time_s": ("ftlab_job_step_seconds", "Duration of the newest step of each job that has devices."),
    "tokens_per_s": ("ftlab_job_tokens_per_second", "Tokens per second of each job that has devices."),
}
"""Metrics of jobs by their name in the event log."""


def service_metrics(store: Store, version: str) -> list[Metric]:
    """All of them; without the database only those that need none. Blocks."""
    started = time.perf_counter()
    try:
        with store.read() as tx:
            found = list(_read(tx, datetime.now(UTC)))
            is_up = True
    except ServiceUnavailableError:
        found, is_up = [], False
    read_s = time.perf_counter() - started
    return [
        _labelled("ftlab_info", "The version of the service; the value is always 1.", "version", {version: 1}),
        GaugeMetricFamily("ftlab_database_up", "Whether the database answers: 1 or 0.", value=int(is_up)),
        GaugeMetricFamily(
            "ftlab_database_read_seconds", "Time that reading these metrics from the database took.", value=read_s
        ),
        *found,
    ]


def _read(tx: Transaction, now: datetime) -> Iterator[Metric]:
    yield GaugeMetricFamily("ftlab_database_size_bytes", "Size of the database.", value=tx.totals.database_bytes())
    yield GaugeMetricFamily(
        "ftlab_scheduler_up", "Whether the scheduler is running: 1 or 0.", value=int(is_scheduling(tx, now))
    )
    yield CounterMetricFamily("ftlab_events", "Events that were recorded, of all jobs.", value=tx.totals.num_events())
    yield from _queue(tx, now)
    yield from _attempts(tx, tx.totals.attempts(now))
    yield from _running_jobs(tx)


def _queue(tx: Transaction, now: datetime) -> Iterator[Metric]:
    by_status = tx.totals.jobs_by_status()
    jobs = {status.value: by_status.get(status, 0) for status in JobStatus}
    yield _labelled("ftlab_jobs", "Jobs on record by status; the queue is `queued`.", "status", jobs)
    oldest = tx.totals.oldest_queued_at()
    yield GaugeMetricFamily(
        "ftlab_queue_oldest_job_age_seconds",
        "Time since the submission of the oldest queued job; 0 without one.",
        value=max(0.0, (now - oldest).total_seconds()) if oldest else 0.0,
    )


def _attempts(tx: Transaction, totals: list[AttemptTotals]) -> Iterator[Metric]:
    yield SummaryMetricFamily(
        "ftlab_job_wait_seconds",
        "Time from the submission of a job to its first attempt.",
        count_value=sum(each.num_waits for each in totals),
        sum_value=sum(each.wait_s for each in totals),
    )
    ended = {reason.value: 0 for reason in ReasonCode}
    ended |= {each.reason.value: each.num_attempts for each in totals if each.reason}
    family = CounterMetricFamily("ftlab_attempts_ended", "Attempts that ended, by reason.", labels=["reason"])
    for reason, number in ended.items():
        family.add_metric([reason], number)
    yield family
    live = sum(each.num_attempts for each in totals if each.reason is None)
    yield GaugeMetricFamily("ftlab_attempts_live", "Attempts that have not ended.", value=live)
    run_s = sum(each.run_s for each in totals)
    yield CounterMetricFamily("ftlab_attempt_run_seconds", "Duration of all attempts until now.", value=run_s)
    family = CounterMetricFamily(
        "ftlab_device_seconds", "Time that attempts held devices: seconds times cores or GPUs.", labels=["device"]
    )
    family.add_metric(["cpu"], sum(each.cpu_s for each in totals))
    family.add_metric(["gpu"], sum(each.gpu_s for each in totals))
    yield family
    cpus, gpus = tx.totals.devices_held()
    held = {"cpu": cpus, "gpu": gpus}
    yield _labelled("ftlab_devices_held", "CPU cores and GPUs that live attempts hold.", "device", held)


def _running_jobs(tx: Transaction) -> Iterator[Metric]:
    for point, (name, text) in NEWEST_POINTS.items():
        yield _labelled(name, text, "job_id", tx.totals.newest_points(point))
    progress = {job.id: min(1.0, job.step / job.total_steps) for job in tx.jobs.live() if job.total_steps}
    text = "Share of the steps that is done, 0 to 1, of each job that has devices."
    yield _labelled("ftlab_job_progress_ratio", text, "job_id", progress)


def _labelled(name: str, text: str, label: str, found: dict[str, float] | dict[str, int]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in found.items():
        family.add_metric([value], number)
    return family
