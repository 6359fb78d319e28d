"""Every route of the API with no key, a wrong key, too small a scope, and the records of another user.

A new route fails here until it has a rule in `serve/access/rules.py` and, with an id in its path, a record in
`all_routes.py`.
"""

import re
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from ftlab.schemas.accounts import Scope
from ftlab.settings import Settings
from serve.access import gate, wrong_keys
from serve.access.rules import DOCUMENTED_RULES, check_rules
from tests.unit.serve.accounts.with_keys import add_key
from tests.unit.serve.all_routes import BY_NAME, CANARY, Route, call, records_of_bob, routes_of
from tests.unit.serve.conftest import ROWS
from tests.unit.tracking.samples import NOW
from tracking.store.api_keys import new_key

SOCKETS = "ws://127.0.0.1:8000"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """More wrong keys are sent here than an address may send, and none of them has to wait."""
    return settings.model_copy(update={"wrong_keys_per_minute": 1_000_000})


@pytest.fixture(autouse=True)
def undelayed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wrong_keys, "DELAY_STEP_S", 0.0)


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


@pytest.fixture
def routes(document: dict[str, Any]) -> list[Route]:
    return routes_of(document)


@pytest.fixture
def bob(client: TestClient, store) -> dict[str, str]:
    return records_of_bob(client, store)


def code(reply: Any) -> tuple[int, str | None]:
    return reply.status_code, reply.json()["error"]["code"] if reply.content else None


def test_no_route_answers_without_a_key_or_with_a_wrong_one(client, routes, bob):
    for route in routes:
        without = call(client, route, {}, bob)
        if route.scope is None:
            assert without.status_code != 401, route
            continue
        expected = "missing_api_key" if route.method != "HEAD" else None
        assert code(without) == (401, expected), route
        assert without.headers["www-authenticate"].startswith("Bearer "), route
        assert CANARY not in without.text
        for wrong in (f"Bearer {new_key(bob['key_id'])[1]}", f"Bearer {new_key()[1]}", "Bearer x", "Basic YTpi", ""):
            refused = call(client, route, {"authorization": wrong}, bob)
            assert (refused.status_code, CANARY in refused.text) == (401, False), (route, wrong)


def test_no_route_answers_to_too_small_a_scope(client, store, routes, bob):
    smaller = {Scope.TRAIN: Scope.READ, Scope.ADMIN: Scope.TRAIN}
    keys = {scope: add_key(store, "ann", scope) for scope in smaller.values()}
    for route in routes:
        if route.scope in smaller:
            refused = call(client, route, keys[smaller[route.scope]], bob)
            assert code(refused) == (403, "insufficient_scope"), route
            assert refused.headers["www-authenticate"].endswith('error="insufficient_scope"')


def test_the_records_of_another_user_are_not_found(client, store, routes, bob):
    """In the same words as records that do not exist."""
    ann = add_key(store, "ann", Scope.TRAIN)
    nothing = {name: re.sub("[0-9a-z]{4}$", "zzzz", value) for name, value in bob.items()}
    num_checked = 0
    for route in routes:
        if "{" not in route.path or route.scope in (None, Scope.ADMIN) or route.text in BY_NAME:
            continue
        other, missing = call(client, route, ann, bob), call(client, route, ann, nothing)
        assert (other.status_code, missing.status_code) == (404, 404), (route, other.text, missing.text)
        assert _without_ids(other, bob) == _without_ids(missing, nothing), route
        num_checked += 1
    assert num_checked > 40


def test_no_list_shows_anything_of_another_user(client, store, routes, bob):
    ann, admin = add_key(store, "ann", Scope.TRAIN), add_key(store, "root", Scope.ADMIN)
    shown = []
    for route in routes:
        if route.method != "GET" or "{" in route.path or route.path.endswith("/stream"):
            continue
        if route.scope in (None, Scope.ADMIN):
            continue
        for reply in (call(client, route, ann, bob), call(client, route, admin, bob)):
            assert reply.status_code in (200, 422, 503), route
            assert not [value for value in (CANARY, bob["job_id"], bob["key_id"]) if value in reply.text], route
        if CANARY in call(client, route, admin, bob, owner="bob").text:
            shown.append(route.path)
        # Routes that are about nobody refuse or ignore the parameter, as they do any other.
        refused = call(client, route, ann, bob, owner="bob")
        assert refused.status_code == (200 if route.path in ("/metrics", "/api/info") else 403), route
    expected = {"/api/training/jobs", "/api/training/queue", "/api/datasets", "/api/models", "/api/templates"}
    assert expected | {"/api/uploads", "/api/notifications", "/api/notifications/channels"} <= set(shown)


def test_a_record_of_the_same_name_is_each_users_own(client, store, bob):
    ann = add_key(store, "ann", Scope.TRAIN)
    path = f"/api/templates/{CANARY}"
    assert client.put(path, json={"text": "training: {num_train_epochs: 2}"}, headers=ann).status_code == 200
    admin = add_key(store, "root", Scope.ADMIN)
    assert client.get(path, params={"owner": "bob"}, headers=admin).json()["text"] == "training: {}"
    assert client.delete(path, headers=ann).status_code == 204
    assert client.get(path, headers=ann).status_code == 404
    assert client.get(path, params={"owner": "bob"}, headers=admin).status_code == 200


def test_a_job_cannot_use_what_another_user_has(client, store, bob):
    ann = add_key(store, "ann", Scope.TRAIN)
    own = client.post("/api/datasets", content=ROWS, headers=ann | {"x-filename": "a.jsonl"}).json()["id"]
    for config in (
        {"model": "org/m", "dataset": bob["dataset_id"]},
        {"model": "org/m", "dataset": own, "eval_dataset": bob["dataset_id"]},
        {"model": f"job:{bob['job_id']}", "dataset": own},
        {"model": f"model:{bob['model_id']}", "dataset": own},
    ):
        refused = client.post("/api/training/jobs", json=config, headers=ann)
        assert refused.status_code == 404, (config, refused.text)
        assert CANARY not in refused.text
    assert client.get("/api/training/metrics", params={"job": bob["job_id"]}, headers=ann).json() == {"data": []}


@pytest.mark.parametrize("path", ["/ws/training/{job_id}", "/ws/training"])
def test_a_websocket_is_refused_in_words(client, store, bob, path):
    ann = add_key(store, "ann", Scope.TRAIN)
    url = path.format(**bob)
    assert _first_frame(client, url, {}) == (4401, "missing_api_key")
    assert _first_frame(client, url, {"authorization": f"Bearer {new_key()[1]}"}) == (4401, "invalid_api_key")
    assert _first_frame(client, f"{url}?owner=bob", ann) == (4403, "insufficient_scope")
    if "{" in path:
        assert _first_frame(client, url, ann) == (4404, "job_not_found")
    assert _first_kind(client, f"{url}?owner=bob", add_key(store, "root", Scope.ADMIN)) in ("open", "events")


def test_a_cookie_opens_a_websocket_of_this_page_only(client, store, bob):
    key = add_key(store, "ann", Scope.READ)["authorization"].removeprefix("Bearer ")
    client.post("/api/session", json={"key": key}, headers={"origin": "http://127.0.0.1:8000"})
    assert _first_frame(client, "/ws/training", {"origin": "http://127.0.0.1:9000"}) == (4403, "forbidden_origin")
    assert _first_kind(client, "/ws/training", {"origin": "http://127.0.0.1:8000"}) == "open"


def test_every_route_shows_its_scope_in_the_description(document):
    assert set(document["components"]["securitySchemes"]) == {"key", "session"}
    assert document["paths"]["/health"]["get"]["security"] == []
    assert document["paths"]["/api/training/jobs"]["post"]["security"][0] == {"key": ["train"]}


def test_a_route_without_a_rule_keeps_the_service_from_starting(document):
    with pytest.raises(LookupError, match="/api/new has no access rule"):
        check_rules(["/api/new"])
    assert set(DOCUMENTED_RULES) == set(document["paths"])


def _without_ids(reply: Any, values: dict[str, str]) -> str:
    text = re.sub(r'"request_id":"[^"]*"', "", reply.text)
    for name, value in values.items():
        text = text.replace(value, name)
    return text


def _first_frame(client: TestClient, url: str, headers: dict[str, str]) -> tuple[int, str]:
    with client.websocket_connect(SOCKETS + url, headers=headers) as socket:
        frame = socket.receive_json()
        assert CANARY not in str(frame)
        return socket.receive()["code"], frame["error"]["code"]


def _first_kind(client: TestClient, url: str, headers: dict[str, str]) -> str:
    kind = ""
    # The stream is still running when the test's client leaves.
    with suppress(CancelledError), client.websocket_connect(SOCKETS + url, headers=headers) as socket:
        kind = socket.receive_json()["type"]
    return kind


def test_a_stream_ends_with_its_key(client, store, monkeypatch):
    monkeypatch.setattr(gate, "RECHECK_INTERVAL_S", 0.05)
    key = add_key(store, "ann", Scope.READ)
    with client.websocket_connect(f"{SOCKETS}/ws/training", headers=key) as socket:
        assert socket.receive_json()["type"] == "open"
        with store.begin() as tx:
            tx.keys.revoke(key["authorization"].split("_")[1], now=NOW)
        assert socket.receive()["code"] == 4401
