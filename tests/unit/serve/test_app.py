"""What holds for every request: ids, headers, hosts, the one shape of errors, the API page."""

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from ftlab.errors import ServiceUnavailableError
from ftlab.schemas.accounts import Scope
from serve.app import create_app
from serve.jobs.submission import submit
from serve.jobs.views import job_view
from tests.unit.serve.accounts.with_keys import add_key
from tracking.store import Store


def shape(reply):
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    return error


def test_every_reply_has_a_request_id(client):
    given = client.get("/health", headers={"x-request-id": "my-id_1"})
    assert given.headers["x-request-id"] == "my-id_1"
    for bad in ("", "two words", "x" * 65, "a/b"):
        made = client.get("/nowhere", headers={"x-request-id": bad})
        assert made.headers["x-request-id"] != bad
        assert shape(made)["request_id"] == made.headers["x-request-id"]


def test_the_request_id_is_left_to_a_server_in_front_that_adds_it(services):
    with TestClient(create_app(services, sends_request_id=False), base_url="http://127.0.0.1") as client:
        reply = client.get("/nowhere", headers={"x-request-id": "from-serve"})
    assert "x-request-id" not in reply.headers
    assert shape(reply)["request_id"] == "from-serve"


def test_every_reply_has_security_headers(client):
    for path in ("/health", "/nowhere", "/api/training/jobs", "/docs"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert ("unsafe-inline" in headers["content-security-policy"]) == (path == "/docs")


def test_unknown_routes_and_wrong_methods(client):
    assert shape(client.get("/nowhere"))["code"] == "not_found"
    assert client.get("/health/").status_code == 404
    for method, path, allowed in (
        ("PUT", "/api/training/jobs", {"GET", "POST"}),
        ("POST", "/health", {"GET"}),
        ("PATCH", "/api/datasets/ds-1", {"GET", "DELETE"}),
        ("POST", "/static-offline-docs/swagger-ui.css", None),
    ):
        reply = client.request(method, path)
        assert (reply.status_code, shape(reply)["code"]) == (405, "method_not_allowed")
        if allowed:
            assert set(reply.headers["allow"].split(", ")) == allowed


@pytest.mark.parametrize(
    "host",
    [
        "[1.2.3.4]:80",
        "[::]",
        "[",
        "evil.example",
        "127.0.0.1.evil.example",
        "user@127.0.0.1",
        "127.0.0.1:x",
        "",
        "127.0.0.1 ",
    ],
)
def test_foreign_hosts_are_refused(client, host):
    reply = client.get("/health", headers={"host": host})
    assert (reply.status_code, shape(reply)["code"]) == (400, "invalid_host")
    assert "evil" not in reply.text


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:1234", "LOCALHOST.", "[::1]:8000", "box.lan:80"])
def test_own_hosts_are_answered(services, host):
    settings = services.settings.model_copy(update={"host": "Box.lan"})
    app = create_app(replace(services, settings=settings))
    with TestClient(app, base_url="http://127.0.0.1") as client:
        assert client.get("/health", headers={"host": host}).status_code == 200


def test_a_service_on_a_network_is_reached_by_its_addresses_and_names(services, store):
    settings = services.settings.model_copy(update={"host": "0.0.0.0", "allowed_hosts": ("lab.example.org",)})
    app = create_app(replace(services, settings=settings))
    with TestClient(app, raise_server_exceptions=False) as client:
        for host in ("192.168.1.20:8000", "[fd00::1]:8000", "lab.example.org", "127.0.0.1:8000"):
            assert client.get("/health", headers={"host": host}).status_code == 200
        for host in ("evil.example", "192.168.1.20.evil.example", "lab.example.org.evil.example"):
            assert client.get("/health", headers={"host": host}).status_code == 400
        # It requires a key, even before there is one.
        lan = {"host": "192.168.1.20:8000"}
        assert client.get("/api/training/jobs", headers=lan).json()["error"]["code"] == "missing_api_key"
        key = add_key(store, "ann", Scope.TRAIN)
        own = client.post("/api/training/jobs", json={}, headers=lan | key | {"origin": "http://192.168.1.20:8000"})
        assert own.status_code == 422
        other = client.post("/api/training/jobs", json={}, headers=lan | key | {"origin": "http://192.168.1.66:8000"})
        assert other.json()["error"]["code"] == "forbidden_origin"


def test_foreign_hosts_reach_no_socket(client):
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("ws://evil.example/ws/training/job-1"),
    ):
        pass


def test_a_nul_reaches_no_look_up_through_a_socket(client, monkeypatch):
    monkeypatch.setattr("serve.streams.websocket.find_job", lambda *args: pytest.fail("it was looked up"))
    with (
        pytest.raises(WebSocketDisconnect),
        client.websocket_connect("ws://127.0.0.1/ws/training/job-%00"),
    ):
        pass


def test_pages_of_another_origin_change_nothing(client):
    for origin in ("https://evil.example", "null", "file://", "http://127.0.0.1@evil.example"):
        reply = client.post("/api/training/jobs", json={}, headers={"origin": origin})
        assert (reply.status_code, shape(reply)["code"]) == (403, "forbidden_origin")
        assert client.get("/health", headers={"origin": origin}).status_code == 200
    own = client.post("/api/training/jobs", json={}, headers={"origin": "http://localhost:5173"})
    assert own.status_code == 422


def test_a_fault_of_ours_is_logged_and_not_told(client, config, monkeypatch, caplog):
    def fail(*args):
        raise RuntimeError("secret detail")

    monkeypatch.setattr(submit, "add_once", fail)
    with caplog.at_level(logging.ERROR):
        reply = client.post("/api/training/jobs", json=config, headers={"x-request-id": "trace-me"})
    assert (reply.status_code, shape(reply)["code"]) == (500, "internal_error")
    assert "secret" not in reply.text
    assert "Traceback" not in reply.text
    assert "trace-me" in caplog.text
    assert "secret detail" in caplog.text


def test_a_database_that_is_away_is_said_to_be(client, monkeypatch):
    def away(*args):
        raise ServiceUnavailableError("The database does not answer.")

    monkeypatch.setattr(job_view, "list_jobs", away)
    reply = client.get("/api/training/jobs")
    assert (reply.status_code, shape(reply)["code"]) == (503, "service_unavailable")
    assert int(reply.headers["retry-after"]) > 0


def test_health_and_readiness(client, store, monkeypatch):
    assert client.get("/health").json() == {"status": "ok"}
    reply = client.get("/ready")
    assert (reply.status_code, shape(reply)["code"]) == (503, "not_ready")
    assert reply.json()["parts"]["database"]["ok"] is True
    assert reply.json()["parts"]["coordinator"]["ok"] is False

    now = datetime.now(UTC)
    with store.begin() as tx:
        tx.leases.acquire("coordinator", "test", ttl_s=60, now=now)
    reply = client.get("/ready")
    assert (reply.status_code, reply.json()["status"]) == (200, "ready")

    with store.begin() as tx:
        tx.leases.acquire("coordinator", "test", ttl_s=1, now=now - timedelta(minutes=1))
    assert client.get("/ready").status_code == 503


def test_readiness_without_a_database(services, tmp_path):
    (tmp_path / "folder.db").mkdir()
    broken = replace(services, store=Store.open(f"sqlite:///{tmp_path / 'folder.db'}"))
    with TestClient(create_app(broken), base_url="http://127.0.0.1") as client:
        reply = client.get("/ready")
        assert reply.status_code == 503
        assert reply.json()["parts"]["database"]["ok"] is False
        assert client.get("/health").status_code == 200
        assert client.get("/api/training/jobs").status_code == 503


def test_the_api_page_needs_no_other_server(client):
    page = client.get("/docs").text
    assert "https://" not in page
    for asset in ("/static-offline-docs/swagger-ui-bundle.js", "/static-offline-docs/swagger-ui.css"):
        assert asset in page
        assert client.get(asset).status_code == 200


def test_the_description_holds_the_bodies_read_by_hand(client):
    document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    body = document["paths"]["/api/training/jobs"]["post"]["requestBody"]["content"]["application/json"]
    assert body["schema"]["anyOf"] == [
        {"$ref": f"#/components/schemas/{config}"} for config in ("JobConfig", "EvaluationConfig", "ExportConfig")
    ]
    assert schemas["JobConfig"]["properties"]["training"]["$ref"] == "#/components/schemas/TrainingConfig"
    assert schemas["TrainingConfig"]["properties"]["learning_rate"]
    text = client.get("/openapi.json").text
    for reference in set(text.split('"#/components/schemas/')[1:]):
        assert reference.split('"')[0] in schemas
    assert "HTTPValidationError" not in text
