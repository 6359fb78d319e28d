"""Users and keys over HTTP: the first key, scopes, rotation, revocation, and what is refused."""

from datetime import UTC, datetime

import pytest

from ftlab.schemas.accounts import Scope
from tests.unit.serve.accounts.with_keys import add_key, bearer
from tests.unit.serve.refusals import code_of

KEYS, USERS, JOBS = "/api/keys", "/api/users", "/api/training/jobs"
CHAT = "/v1/chat/completions"
ALL = {"scopes": ["admin"]}


def key_id_of(headers):
    return headers["authorization"].split("_")[1]


@pytest.fixture
def admin(store):
    return add_key(store, "root", Scope.ADMIN)


def test_a_service_without_keys_asks_for_none_until_the_first_is_created(client, store):
    assert client.get(JOBS).status_code == 200
    assert code_of(client.post(KEYS, json={"scopes": ["read", "train"]})) == (409, "last_admin_key")

    created = client.post(KEYS, json={"scopes": ["admin"], "name": "first"})

    assert created.status_code == 201
    assert (created.json()["record"]["owner"], created.json()["record"]["is_valid"]) == ("local", True)
    assert code_of(client.get(JOBS)) == (401, "missing_api_key")
    assert client.get(JOBS, headers=bearer(created.json()["key"])).status_code == 200


def test_another_process_notices_the_first_key_within_a_second(client, services, store):
    assert client.get(JOBS).status_code == 200
    add_key(store, "root", Scope.ADMIN)
    services.gate._looked_at -= 1.0
    assert code_of(client.get(JOBS)) == (401, "missing_api_key")


def test_a_key_says_what_it_allows_and_is_not_shown_again(client, admin):
    client.post(USERS, json={"name": "ann"}, headers=admin)
    created = client.post(
        KEYS, params={"owner": "ann"}, json={"scopes": ["train"], "expires_in_days": 90}, headers=admin
    ).json()
    ann = bearer(created["key"])

    shown = client.get(KEYS, headers=ann).json()["data"]

    assert [key["id"] for key in shown] == [created["record"]["id"]]
    assert shown[0]["scopes"] == ["train"]
    assert 89 < (datetime.fromisoformat(shown[0]["expires_at"]) - datetime.now(UTC)).total_seconds() / 86400 < 91
    assert created["key"].split("_")[2] not in client.get(KEYS, params={"owner": "ann"}, headers=admin).text
    session = client.get("/api/session", headers=ann).json()
    assert (session["user"], session["scopes"], session["requires_keys"]) == ("ann", ["read", "train"], True)


def test_a_rotated_key_stays_valid_for_its_grace_time(client, admin):
    rotated = client.post(f"{KEYS}/{key_id_of(admin)}/rotate", headers=admin).json()
    assert client.get(JOBS, headers=bearer(rotated["key"])).status_code == 200
    assert client.get(JOBS, headers=admin).status_code == 200

    new = bearer(rotated["key"])
    again = client.post(f"{KEYS}/{key_id_of(new)}/rotate", json={"grace_hours": 0}, headers=new).json()
    assert code_of(client.get(JOBS, headers=new)) == (401, "invalid_api_key")
    assert code_of(client.post(f"{KEYS}/{key_id_of(new)}/rotate", headers=bearer(again["key"]))) == (409, "key_ended")


def test_a_revoked_key_and_a_disabled_user_are_refused_at_once(client, store, admin):
    ann, second = add_key(store, "ann", Scope.TRAIN), add_key(store, "ann", Scope.READ)
    assert client.delete(f"{KEYS}/{key_id_of(ann)}", headers=admin).json()["is_valid"] is False
    assert code_of(client.get(JOBS, headers=ann)) == (401, "invalid_api_key")
    assert client.get(JOBS, headers=second).status_code == 200

    assert client.patch(f"{USERS}/ann", json={"is_disabled": True}, headers=admin).json()["is_disabled"] is True
    assert code_of(client.get(JOBS, headers=second)) == (401, "invalid_api_key")
    client.patch(f"{USERS}/ann", json={"is_disabled": False}, headers=admin)
    assert client.get(JOBS, headers=second).status_code == 200


def test_the_last_key_of_an_admin_stays(client, store, admin):
    revoke = f"{KEYS}/{key_id_of(admin)}"
    assert code_of(client.delete(revoke, headers=admin)) == (409, "last_admin_key")
    assert code_of(client.patch(f"{USERS}/root", json={"is_disabled": True}, headers=admin)) == (409, "last_admin_key")
    assert client.get(USERS, headers=admin).status_code == 200
    add_key(store, "other", Scope.ADMIN)
    assert client.delete(revoke, headers=admin).status_code == 200


def test_without_admin_a_key_manages_itself_only(client, store, admin):
    ann, second = add_key(store, "ann", Scope.TRAIN), add_key(store, "ann", Scope.READ)
    assert code_of(client.post(KEYS, json=ALL, headers=ann)) == (403, "insufficient_scope")
    assert code_of(client.post(f"{KEYS}/{key_id_of(second)}/rotate", headers=ann)) == (403, "insufficient_scope")
    assert code_of(client.delete(f"{KEYS}/{key_id_of(admin)}", headers=ann)) == (404, "key_not_found")
    rotated = client.post(f"{KEYS}/{key_id_of(ann)}/rotate", headers=ann)
    assert rotated.json()["record"]["scopes"] == ["train"]
    assert client.delete(f"{KEYS}/{key_id_of(second)}", headers=second).status_code == 200


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, (422, "invalid_body")),
        ({"scopes": []}, (422, "invalid_body")),
        ({"scopes": ["root"]}, (422, "invalid_body")),
        ({"scopes": ["read", "read"]}, (422, "invalid_body")),
        ({"scopes": ["read"], "expires_in_days": 0}, (422, "invalid_body")),
        ({"scopes": ["read"], "expires_in_days": 1e9}, (422, "invalid_body")),
        ({"scopes": ["read"], "owner": "ann"}, (422, "unknown_field")),
        ({"scopes": ["read"], "name": "a\nb"}, (422, "invalid_body")),
    ],
)
def test_a_bad_key_is_not_created(client, admin, body, expected):
    assert code_of(client.post(KEYS, json=body, headers=admin)) == expected


def test_a_key_is_for_a_user_who_exists(client, admin):
    assert code_of(client.post(KEYS, params={"owner": "bob"}, json=ALL, headers=admin)) == (404, "user_not_found")
    assert code_of(client.post(USERS, json={"name": "Bob Smith"}, headers=admin)) == (422, "invalid_body")
    assert client.post(USERS, json={"name": "bob"}, headers=admin).status_code == 201
    assert code_of(client.post(USERS, json={"name": "bob"}, headers=admin)) == (409, "user_exists")
    assert [(user["name"], user["num_keys"]) for user in client.get(USERS, headers=admin).json()["data"]] == [
        ("bob", 0),
        ("root", 1),
    ]


def test_the_use_of_a_key_is_noted(client, services, store, admin):
    client.get(JOBS, headers=admin)
    services.trail.flush()
    first = client.get(KEYS, headers=admin).json()["data"][0]["last_used_at"]
    assert (datetime.now(UTC) - datetime.fromisoformat(first)).total_seconds() < 60
    client.get(JOBS, headers=admin)
    services.trail.flush()
    assert client.get(KEYS, headers=admin).json()["data"][0]["last_used_at"] == first


def test_the_audit_log_says_who_did_what_for_whom(client, services, store, admin):
    ann = add_key(store, "ann", Scope.READ)
    client.put("/api/quota", params={"owner": "ann"}, json={"weight": 2.0}, headers=admin)
    client.post(JOBS, json={}, headers=ann)
    for key in (admin, ann):  # an answer changes nothing; only that somebody may not ask for one is of interest
        client.post(CHAT, json={}, headers=key)
    services.trail.flush()

    entries = client.get("/api/audit", headers=admin).json()["data"]

    seen = [(each["user"], each["owner"], each["action"], each["path"], each["status"]) for each in entries]
    assert seen == [
        ("ann", "ann", f"POST {CHAT}", CHAT, 403),
        ("ann", "ann", f"POST {JOBS}", JOBS, 403),
        ("root", "ann", "PUT /api/quota", "/api/quota", 200),
    ]
    assert entries[0]["key_id"] == key_id_of(ann)
    assert entries[0]["request_id"].startswith("req-")
    assert [each["user"] for each in client.get("/api/audit?user=root", headers=admin).json()["data"]] == ["root"]


def test_entries_wait_for_a_database_that_is_away(client, services, store, admin, monkeypatch):
    client.put("/api/quota", json={"weight": 2.0}, headers=admin)
    with monkeypatch.context() as patch:
        from ftlab.errors import ServiceUnavailableError

        def away():
            raise ServiceUnavailableError("away")

        patch.setattr(store, "begin", away)
        services.trail.flush()
    services.trail.flush()
    services.trail.flush()
    assert len(client.get("/api/audit", headers=admin).json()["data"]) == 1
