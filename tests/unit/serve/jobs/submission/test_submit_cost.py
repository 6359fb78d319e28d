"""What a submit and a list cost the database, and when others hear of a change."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

JOBS = "/api/training/jobs"


@pytest.fixture(autouse=True)
def _no_check_for_a_first_key(services, monkeypatch):
    """Once a second, a request has the gate look for the first key as well."""
    monkeypatch.setattr(services.gate, "_looked_at", float("inf"))


@contextmanager
def statements() -> Iterator[list[str]]:
    """Every statement that any database connection carries out meanwhile, and `BEGIN` for each transaction."""
    seen: list[str] = []

    def note(_connection, _cursor, statement, *_):
        seen.append(statement)

    def note_begin(_connection):
        seen.append("BEGIN")

    event.listen(Engine, "before_cursor_execute", note)
    event.listen(Engine, "begin", note_begin)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)
        event.remove(Engine, "begin", note_begin)


@pytest.mark.parametrize(("headers", "most"), [({}, 9), ({"idempotency-key": "one"}, 10)])
def test_a_submit_is_one_transaction_of_few_statements(client, config, headers, most):
    client.post(JOBS, json=config)
    with statements() as seen:
        assert client.post(JOBS, json=config, headers=headers).status_code == 201
    assert len(seen) <= most, "\n".join(seen)
    assert seen.count("BEGIN") == 1


def test_a_notice_about_a_new_job_costs_no_statement(client, config, huggingface):
    writes = []
    for answers in ({}, {config["model"]: None}):
        huggingface.answers = answers
        with statements() as seen:
            job = client.post(JOBS, json=config).json()
        writes.append([statement for statement in seen if statement.startswith(("INSERT", "UPDATE"))])
    assert writes[0] == writes[1]
    events = client.get(f"{JOBS}/{job['id']}/events").json()["data"]
    assert [(event["seq"], event["kind"]) for event in events] == [(1, "status"), (2, "notice")]
    assert job["last_seq"] == 2


def test_a_list_costs_the_same_whatever_its_length(client, config):
    counts = []
    for _ in range(2):
        client.post(JOBS, json=config)
        with statements() as seen:
            client.get(JOBS)
        counts.append(len(seen))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("path", [JOBS, "/api/training/start"])
def test_the_coordinator_hears_of_a_job_after_its_caller(app, config, hub, coordinator, path):
    order = []
    coordinator.wake = lambda: order.append("coordinator")
    hub.publish = lambda _: order.append("hub")
    body = json.dumps(config).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
    }

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        if not message.get("more_body"):
            order.append(message.get("status", "body"))

    asyncio.run(app(scope, receive, send))
    # Nobody can follow the job yet, but its owner's jobs.
    assert order == [201, "body", "hub", "coordinator"]
