"""Browsers: signing in with a key, the cookie, pages of other sites, and signing out."""

import pytest

from ftlab.schemas.accounts import Scope
from tests.unit.serve.accounts.with_keys import add_key

SESSION, JOBS = "/api/session", "/api/training/jobs"
HERE = {"origin": "http://127.0.0.1:8000"}


@pytest.fixture
def key(store):
    return add_key(store, "ann", Scope.ADMIN)["authorization"].removeprefix("Bearer ")


def sign_in(client, key, **headers):
    return client.post(SESSION, json={"key": key}, headers=HERE | headers)


def test_a_browser_signs_in_and_out(client, key):
    assert client.get(SESSION).status_code == 401
    signed_in = sign_in(client, key)
    assert signed_in.json()["user"] == "ann"
    cookie = signed_in.headers["set-cookie"].lower()
    assert cookie.startswith("ftlab_session_8000=")
    assert {"httponly", "samesite=strict", "path=/"} <= {part.strip() for part in cookie.split(";")}
    assert "secure" not in cookie
    assert key not in cookie

    assert client.get(JOBS).status_code == 200
    token = client.cookies["ftlab_session_8000"]
    assert client.delete(SESSION, headers=HERE).status_code == 204
    assert not client.cookies
    client.cookies.set("ftlab_session_8000", token)
    assert client.get(JOBS).json()["error"]["code"] == "invalid_api_key"


def test_behind_tls_the_cookie_travels_encrypted_only(client, key):
    assert "secure" in sign_in(client, key, origin="https://127.0.0.1:8000").headers["set-cookie"].lower()


def test_a_wrong_key_opens_no_session(client, key):
    refused = sign_in(client, key[:-1] + ("a" if key[-1] != "a" else "b"))
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "set-cookie" not in refused.headers


def test_a_session_ends_with_its_key(client, store, key):
    sign_in(client, key)
    add_key(store, "root", Scope.ADMIN)
    revoked = client.delete(f"/api/keys/{key.split('_')[1]}", headers=HERE)
    assert revoked.status_code == 200, revoked.text
    assert client.get(JOBS).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (HERE, 200),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://localhost:9999"}, 403),
        ({"origin": "http://127.0.0.1:8000.evil.example"}, 403),
        ({"origin": "http://evil.example", "sec-fetch-site": "same-site"}, 403),
    ],
)
def test_only_a_page_of_the_service_changes_something_with_the_cookie(client, key, headers, status):
    sign_in(client, key)
    reply = client.put("/api/quota", json={"weight": 2.0}, headers=headers)
    assert reply.status_code == status
    if status == 403:
        assert reply.json()["error"]["code"] == "forbidden_origin"


def test_a_key_in_the_header_needs_no_origin_and_counts_before_the_cookie(client, store, key):
    sign_in(client, key)
    bob = add_key(store, "bob", Scope.ADMIN)
    assert client.get(SESSION, headers=bob).json()["user"] == "bob"
    assert client.put("/api/quota", json={"weight": 2.0}, headers=bob).status_code == 200
    assert client.get(SESSION, headers={"authorization": "Basic YTpi"}).status_code == 401


def test_a_service_without_keys_signs_everyone_in(client):
    reply = sign_in(client, "anything")
    assert (reply.status_code, reply.json()["user"], reply.json()["requires_keys"]) == (200, "local", False)
    assert "set-cookie" not in reply.headers
