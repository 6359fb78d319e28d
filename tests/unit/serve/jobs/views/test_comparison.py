"""Comparison of jobs over HTTP: what may be compared, and what differs."""

from datetime import timedelta

import pytest

from ftlab.schemas.events import SamplePayload
from ftlab.status import JobStatus, ReasonCode
from tests.support.lab import rows
from tests.unit.serve.jobs.statuses import NOW, bring
from tracking.store.records import MetricRecord, NewEvent

JOBS = "/api/training/jobs"
COMPARE = "/api/training/compare"


@pytest.fixture
def train(client, store, config):
    """Submits a job, trains it in the record, and completes it; gives its id."""

    def trained(evaluations: dict[int, float], answer: str = "", **values) -> str:
        job_id = client.post(JOBS, json=config | values).json()["id"]
        ref = bring(store, job_id, JobStatus.RUNNING)
        with store.begin() as tx:
            for name, points in (("eval_loss", evaluations), ("loss", dict.fromkeys(range(1, 101), 2.0))):
                tx.metrics.add([MetricRecord(job_id, name, step, value, NOW, 1) for step, value in points.items()])
            if answer:
                samples = [
                    SamplePayload(step=0, prompt="Hi?", text="?"),
                    SamplePayload(step=100, prompt="Hi?", text=answer),
                ]
                tx.events.append(ref, [NewEvent(sample, NOW) for sample in samples])
            tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW + timedelta(seconds=90))
            tx.jobs.move(ref, JobStatus.COMPLETED, now=NOW + timedelta(seconds=90))
        return job_id

    return trained


def compared(client, *jobs: str) -> dict:
    reply = client.get(COMPARE, params={"job": jobs})
    assert reply.status_code == 200, reply.text
    return reply.json()


def test_the_best_is_named_among_those_that_were_evaluated_alike(client, train):
    one = train({0: 3.0, 50: 1.5, 100: 1.2}, eval_split=0.5, name="one")
    two = train({0: 3.0, 100: 1.1}, eval_split=0.5, name="two", training={"learning_rate": 0.01})
    other = train({0: 3.0, 100: 0.5}, eval_split=0.4, name="other")
    found = compared(client, one, "two", other)
    assert [(run["job_id"], run["evaluation_group"], run["is_best"]) for run in found["runs"]] == [
        (one, 1, False),
        (two, 1, True),
        (other, 2, False),
    ]
    assert [(run["best"]["value"], run["best"]["before_training"], run["last"]) for run in found["runs"]] == [
        (1.2, 3.0, 2.0),
        (1.1, 3.0, 2.0),
        (0.5, 3.0, 2.0),
    ]
    assert [note for note in found["notes"] if "only within a group" in note]
    settings = {each["field"]: each["values"] for each in found["settings"]}
    assert settings == {"training.learning_rate": [0.0002, 0.01, 0.0002], "eval_split": [0.5, 0.5, 0.4]}
    curves = {(curve["name"], curve["job_id"]): curve for curve in found["curves"]}
    assert curves["eval_loss", one]["steps"] == [0, 50, 100]
    assert len(curves["loss", two]["steps"]) == 100


def test_jobs_alike_have_no_notes_and_both_are_best(client, train):
    found = compared(client, train({100: 1.0}, eval_split=0.5), train({100: 1.0}, eval_split=0.5))
    assert ([run["is_best"] for run in found["runs"]], found["notes"], found["settings"]) == ([True, True], [], [])


def test_data_and_answers_side_by_side(client, train):
    first, again, held_out = (
        client.post(
            f"/api/datasets?name={name}", content=rows(count).encode(), headers={"x-filename": "x.jsonl"}
        ).json()
        for name, count in (("first", 7), ("again", 7), ("held", 3))
    )
    one = train({100: 1.0}, "Hello.", dataset=first["id"], eval_dataset=held_out["id"])
    two = train({100: 1.0}, "Good day.", dataset=again["id"], eval_dataset=held_out["id"])
    found = compared(client, one, two)
    by_id = {each["dataset_id"]: each for each in found["datasets"]}
    assert (by_id[first["id"]]["trained_by"], by_id[first["id"]]["same_as"]) == ([one], None)
    assert (by_id[again["id"]]["trained_by"], by_id[again["id"]]["same_as"]) == ([two], first["id"])
    assert by_id[held_out["id"]] | {"evaluated_by": [one, two], "num_rows": 3} == by_id[held_out["id"]]
    [prompt] = found["samples"]
    assert [(answer["job_id"], answer["step"], answer["text"]) for answer in prompt["answers"]] == [
        (one, 100, "Hello."),
        (two, 100, "Good day."),
    ]


def test_a_queued_job_can_be_compared(client, train, config):
    queued = client.post(JOBS, json=config | {"name": "waits"}).json()["id"]
    found = compared(client, train({100: 1.0}), queued)
    assert (found["runs"][1]["best"], found["runs"][1]["step"]) == (None, 0)
    assert "Not finished: waits." in found["notes"]


@pytest.mark.parametrize(
    ("jobs", "status", "code"),
    [
        (["{one}"], 422, "invalid_parameter"),
        (["{one}", "{one}"], 422, "invalid_parameter"),
        (["{one}", "job-none"], 404, "job_not_found"),
        ([], 422, "invalid_parameter"),
        (["{one}"] * 11, 422, "invalid_parameter"),
    ],
)
def test_what_cannot_be_compared(client, train, jobs, status, code):
    one = train({100: 1.0})
    reply = client.get(COMPARE, params={"job": [each.format(one=one) for each in jobs]})
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)


def test_the_report_is_one_file_that_loads_nothing(client, train):
    one = train({100: 1.0}, "<script>alert(1)</script>", name="<img src=x onerror=alert(1)>")
    two = train({0: 2.0, 100: 0.5}, "Hello.")
    reply = client.get(COMPARE, params={"job": [one, two], "format": "html"})
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "&lt;script&gt;" in reply.text
    for forbidden in ("<script", "<img", "http://", "https://", 'style="'):
        assert forbidden not in reply.text
