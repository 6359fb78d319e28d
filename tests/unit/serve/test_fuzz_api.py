"""Every route of the API with whatever its description allows and forbids, with keys of each scope and with none.

The requests are made by schemathesis from the application's own OpenAPI document, against a real store with records in
it; half of them name a record that is there. Every reply is one that the document describes, never a 500, and none
gives a caller more than their key allows. `make fuzz` asks for many more.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import schemathesis
from httpx2 import InvalidURL
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from cluster.fakes import FakeEventHub
from cluster.policy import Fleet, Node
from ftlab.schemas.accounts import LOCAL_USER, Scope
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode
from serve.access import wrong_keys
from serve.access.rules import DOCUMENTED_RULES
from serve.app import create_app
from serve.http.query import OWNER
from serve.jobs.changes import deletion
from serve.streams.subscriptions import EventFeed
from tests.support.model_folders import write_model
from tests.support.service_fakes import FakeCoordinator, FakeTelemetry, fake_services
from tests.unit.serve.accounts.with_keys import add_key
from tests.unit.serve.conftest import ROWS
from tests.unit.serve.jobs.statuses import NOW, bring
from tracking.store import Store
from tracking.store.records import CheckpointRecord, MetricRecord, ModelRecord

NUM_REQUESTS, NUM_REQUESTS_LONG = 3, 100
"""Of each route, each of those that its description allows and of those that it forbids."""
ERROR_FIELDS = {"message", "type", "param", "code", "request_id"}
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CALLERS = ("admin", "admin", "admin", "train", "read", "nobody")
"""The scopes of the keys that callers have, the most powerful most often."""

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
PATHS = [path for path in DOCUMENTED_RULES if not path.startswith("/ws/")]


@dataclass
class Fuzzed:
    """A service, and the ids of records in it by the name of the parameter that takes them."""

    client: TestClient
    ids: dict[str, list[str]] = field(default_factory=dict)
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    """Headers with a key, by its scope."""

    def send(self, case: Case, caller: str) -> None:
        """Send the request and look at the answer."""
        request = requests.Request(**case.as_transport_kwargs(base_url="http://127.0.0.1:8000"))
        note(f"{request.method} {request.url} by {caller}")
        request.headers.pop("authorization", None)
        request.headers.update(self.keys[caller])
        try:
            made = request.prepare()
            reply = self.client.request(
                str(made.method), str(made.url), headers=made.headers, content=made.body, follow_redirects=False
            )
        except (UnicodeEncodeError, InvalidURL, requests.RequestException):
            assume(False)  # what no client can send
        assert reply.status_code < 500, reply.text
        assert reply.headers["x-request-id"]
        has_error = reply.status_code >= 400 and case.method.upper() != "HEAD"
        if has_error:
            assert reply.headers["content-type"] == "application/json"
            assert reply.json().keys() == {"error"}
            assert reply.json()["error"].keys() == ERROR_FIELDS
        _check_access(case, caller, reply.status_code, reply.json()["error"]["code"] if has_error else "")
        case.validate_response(reply, checks=CHECKS)


def _check_access(case: Case, caller: str, status: int, code: str) -> None:
    """A key allows what its scope includes, and nothing else."""
    rule = DOCUMENTED_RULES[case.path].scope_of(case.method.upper())
    if rule is None:
        return
    allowed = frozenset() if caller == "nobody" else Scope(caller).includes
    if rule not in allowed:
        # A request that cannot be read, or whose path leads nowhere, is refused before its caller is asked.
        assert status >= 400, (case.path, caller, status)
    elif OWNER in (case.query or {}) and caller != "admin":  # another owner's records are for admins only
        assert status != 401, (case.path, caller, status)
    elif not case.path.startswith("/api/keys/"):  # the scope of these depends on whose key it is
        assert (status == 401, code == "insufficient_scope") == (False, False), (case.path, caller, status)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    configured = Settings(
        home=tmp_path_factory.mktemp("home"), max_upload_bytes=1024 * 1024, key_requests_per_minute=None
    )
    store = Store.open(configured.store_url)
    store.migrate()
    hub = FakeEventHub()
    feed = EventFeed(hub)
    feed.stopping = True  # a stream would never end otherwise
    coordinator = FakeCoordinator()
    coordinator.fleet = Fleet((Node("a", 4, 0, 8 * 1024**3),))
    services = fake_services(configured, store, hub, feed=feed, coordinator=coordinator, telemetry=FakeTelemetry())
    app = create_app(services)
    with (
        pytest.MonkeyPatch.context() as patch,
        TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False) as client,
    ):
        patch.setattr(deletion, "RELEASE_TIMEOUT_S", 0.0)  # nothing here ever records a job
        patch.setattr(wrong_keys, "DELAY_STEP_S", 0.0)
        fuzzed = Fuzzed(client)
        _fill(fuzzed, store, configured.home)
        fuzzed.keys = {scope.value: add_key(store, LOCAL_USER, scope) for scope in Scope} | {"nobody": {}}
        fuzzed.ids["key_id"] = [add_key(store, "ann", Scope.READ)["authorization"].split("_")[1] for _ in range(2)]
        services.gate.expect_keys()
        yield fuzzed
    store.close()


def _fill(fuzzed: Fuzzed, store: Store, home: Path) -> None:
    """A dataset, an upload that has begun, jobs of several statuses, a checkpoint, a model and a template."""
    client = fuzzed.client
    datasets = [
        client.post("/api/datasets", content=ROWS * size, headers={"x-filename": "chat.jsonl"}).json()["id"]
        for size in (1, 2)
    ]
    jobs = [
        client.post("/api/training/jobs", json={"model": "org/name", "dataset": datasets[0], "name": name}).json()["id"]
        for name in ("queued", "paused", "running", "completed")
    ]
    client.post(f"/api/training/jobs/{jobs[1]}/pause")
    model = write_model(home / "jobs" / jobs[3] / "model")
    for job in jobs[2:]:
        ref = bring(store, job, JobStatus.RUNNING)
        with store.begin() as tx:
            tx.metrics.add([MetricRecord(job, "loss", step, 1.0 / step, NOW, 1) for step in (1, 2)])
            tx.checkpoints.add(ref, CheckpointRecord(job, 2, 1, "step-00000002", 10, "00", NOW))
    with store.begin() as tx:
        tx.models.add(ModelRecord("mdl-1", "local", jobs[3], "tuned", "full", "org/x", None, 2, model, None, NOW))
        tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW)
        tx.jobs.move(ref, JobStatus.COMPLETED, now=NOW, model_id="mdl-1")
    upload = client.post("/api/uploads", json={"filename": "a.jsonl", "size_bytes": 100}).json()["id"]
    client.put("/api/templates/mine", json={"text": "tuning: lora"})
    url = client.post(f"/api/datasets/{datasets[0]}/url", json={}).json()["url"]
    fuzzed.ids = {
        "job_id": [*jobs, "queued", "completed"],
        "dataset_id": datasets,
        "model_id": ["mdl-1"],
        "upload_id": [upload],
        "name": ["mine", "basic"],
        "text": ["tuning: lora", "training: {max_steps: 3}", "a: &x [1]\nb: *x", 'name: "\\uD800"'],
        "token": [url.rsplit("/", 1)[1].partition("?")[0]],
        "model": ["org/name", "job:" + jobs[3], f"job:{jobs[3]}/step-2", "model:mdl-1", str(model)],
        "dataset": datasets,
        "eval_dataset": datasets,
    } | _of_openai(client, jobs, datasets)


def _of_openai(client: TestClient, jobs: list[str], datasets: list[str]) -> dict[str, list[str]]:
    """The same records by the ids of the OpenAI-compatible API, and an endpoint."""
    part = {"bytes": 9, "filename": "a.jsonl", "mime_type": "", "purpose": "fine-tune"}
    hook = {"name": "n", "url": "https://example.com", "event_types": ["fine_tuning.job.failed"]}
    files = [dataset.replace("ds-", "file-") for dataset in datasets]
    return {
        "file_id": [*files, f"file-result-{jobs[3][4:]}"],
        "fine_tune": [job.replace("job-", "ftjob-") for job in jobs],
        "training_file": files,
        "validation_file": files,
        "upload": [client.post("/v1/uploads", json=part).json()["id"]],
        "endpoint": [client.post("/v1/webhook_endpoints", json=hook).json()["id"]],
    }


@cache
def _operations() -> dict[str, list[Any]]:
    """What the description has for each path. It takes seconds to make: not for processes that only collect tests."""
    described: Any = SimpleNamespace(settings=Settings(home=Path("unused")))
    schema = schemathesis.openapi.from_dict(deepcopy(create_app(described).openapi()))
    operations: dict[str, list[Any]] = {}
    for found in schema.get_all_operations():
        operations.setdefault(found.ok().path, []).append(found.ok())
    return operations


def _modes(operation: Any) -> list[GenerationMode]:
    """Requests that the description allows, and those that it forbids: a path alone may be any text."""
    is_forbidding = operation.body or any(len(list(where)) for where in (operation.query, operation.headers))
    return [GenerationMode.POSITIVE, GenerationMode.NEGATIVE] if is_forbidding else [GenerationMode.POSITIVE]


@pytest.mark.parametrize("path", PATHS)
def test_every_request_is_answered_and_none_with_a_500(fuzzed: Fuzzed, path: str) -> None:
    _fuzz(fuzzed, path, max_examples=NUM_REQUESTS, derandomize=True, database=None)


@pytest.mark.fuzz
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("path", PATHS)
def test_many_more_requests(fuzzed: Fuzzed, path: str) -> None:
    _fuzz(fuzzed, path, max_examples=NUM_REQUESTS_LONG)


def _fuzz(fuzzed: Fuzzed, path: str, **profile: Any) -> None:
    for operation in _operations()[path]:
        for mode in _modes(operation):

            @settings(deadline=None, suppress_health_check=list(HealthCheck), **profile)
            @given(case=operation.as_strategy(generation_mode=mode), data=st.data())
            def ask(case: Case, data: st.DataObject) -> None:
                _name_records(fuzzed.ids, case.path_parameters, data)
                _name_records(fuzzed.ids, case.body, data)
                fuzzed.send(case, data.draw(st.sampled_from(CALLERS)))

            ask()


def _name_records(ids: dict[str, list[str]], fields: Any, data: st.DataObject) -> None:
    """Let about half of what takes an id name a record that is there."""
    if isinstance(fields, dict):
        for name in fields.keys() & ids.keys():
            if data.draw(st.booleans()):
                fields[name] = data.draw(st.sampled_from(ids[name]))
