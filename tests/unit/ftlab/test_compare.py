"""Comparison of jobs in the SDK and the CLI, against the real HTTP service."""

import pytest

from ftlab import errors
from ftlab.status import JobStatus, ReasonCode
from tests.unit.tracking.samples import NOW, add_job, later, start
from tracking.store.records import MetricRecord


@pytest.fixture
def address(world) -> str:
    return str(world.url(""))


@pytest.fixture
def jobs(world) -> list[str]:
    """Two jobs with their loss, an hour each."""
    ids = []
    for name, value in (("plain", 1.5), ("=better", 0.5)):
        ref = start(world.store, add_job(world.store, name=name).id)
        with world.store.begin() as tx:
            tx.metrics.add([MetricRecord(ref.id, "loss", step, value, NOW, 1) for step in range(1, 41)])
            tx.metrics.add([MetricRecord(ref.id, "eval_loss", 40, value, NOW, 1)])
            tx.attempts.end(ref, reason=ReasonCode.OK, message="", now=later(3600))
            tx.jobs.move(ref, JobStatus.COMPLETED, now=later(3600))
        ids.append(ref.id)
    return ids


def test_jobs_are_compared_in_the_sdk(client, jobs):
    found = client.jobs.compare(["plain", jobs[1]])
    assert [(run.name, run.last, run.best.value) for run in found.runs] == [("plain", 1.5, 1.5), ("=better", 0.5, 0.5)]
    with pytest.raises(errors.InvalidRequestError, match="named twice"):
        client.jobs.compare(["plain", jobs[0]])


def test_jobs_are_compared_on_the_command_line(cli, jobs, tmp_path):
    page = tmp_path / "report.html"
    run = cli("compare", *jobs, "--html", str(page))
    assert run.lines[:3] == [
        "JOB\tSTATUS\tSTEP\tLAST\tBEFORE\tBEST EVAL\tGROUP\tTOKENS/S\tTIME\tCOST",
        "plain\t✓ completed\t0\t1.5\t\t1.5 at step 40\t\t\t1:00:00\t",
        "=better\t✓ completed\t0\t0.5\t\t0.5 at step 40\t\t\t1:00:00\t",
    ]
    assert "No setting differs." in run.err
    assert run.lines[4].split("\t")[-2:] == ["plain", "=better"]
    assert "<svg" in page.read_text("utf-8")
    assert cli("compare", jobs[0]).code == 2
    assert cli("compare", jobs[0], "job-none").code == 3
    assert [each["name"] for each in cli("compare", *jobs, "--json").json["runs"]] == ["plain", "=better"]
