"""What callers may not do, against a real server with keys: refused in the one shape, and the service lives on.

With `test_bad_input.py`, this is the table of bad requests: here are keys, other users' records, names of files, signed
URLs, links in folders, sockets and floods.
"""

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from ftlab.schemas.accounts import Scope
from ftlab.settings import Settings
from ftlab.status import JobStatus, ReasonCode
from serve.app import create_app
from serve.datasets.signed_urls import UrlSigner
from tests.support.databases import make_database
from tests.support.service_fakes import fake_services, running
from tests.unit.serve.accounts.with_keys import add_key, bearer
from tests.unit.serve.conftest import ROWS
from tests.unit.serve.downloads.test_zip_archive import commit
from tests.unit.serve.jobs.statuses import bring
from tests.unit.serve.refusals import DATASETS, JOBS, SECRET, Server, error_of
from tracking.store import Store
from tracking.store.api_keys import new_key
from tracking.store.records import ModelRecord

REQUESTS_PER_MINUTE = 400
NOW = datetime.now(UTC)


@dataclass
class Guarded(Server):
    """A server with keys, by what they are of, and with records of two users."""

    home: Path = Path()
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    of_bob: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def secrets(self) -> list[str]:
        return [key["authorization"].rpartition("_")[2] for key in self.keys.values() if "_" in key["authorization"]]

    def as_json(self, method: str, path: str, body: Any = None, key: str = "ann", **headers: str) -> Any:
        content = json.dumps(body).encode() if body is not None else None
        status, _, text = self.send(method, path, content, self.keys[key] | headers)
        assert status < 300, text
        return json.loads(text)

    def is_alive(self) -> bool:
        return self.send("GET", "/health")[0] == 200 and self.send("GET", JOBS, headers=self.keys["ann"])[0] == 200


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    settings = Settings(home=tmp_path_factory.mktemp("home"), key_requests_per_minute=REQUESTS_PER_MINUTE)
    make_database(settings.home / "ftlab.db")
    store = Store.open(settings.store_url)
    keys = _keys(store)
    with running(create_app(fake_services(settings, store))) as url:
        server = Guarded(int(url.rsplit(":", 1)[1]), home=settings.home, keys=keys)
        _fill(server, store)
        yield server
    store.close()


def _keys(store: Store) -> dict[str, dict[str, str]]:
    """Keys that are valid, and keys that are not any more."""
    keys = {"ann": add_key(store, "ann", Scope.TRAIN), "reader": add_key(store, "ann", Scope.READ)}
    keys |= {"bob": add_key(store, "bob", Scope.TRAIN), "root": add_key(store, "root", Scope.ADMIN)}
    keys |= {name: add_key(store, "ann", Scope.TRAIN) for name in ("revoked", "expired", "flood")}
    keys["disabled"] = add_key(store, "eve", Scope.ADMIN)
    ids = {name: key["authorization"].split("_")[1] for name, key in keys.items()}
    with store.begin() as tx:
        tx.keys.revoke(ids["revoked"], now=NOW)
        tx.keys.expire(ids["expired"], NOW - timedelta(seconds=1))
        tx.users.set_disabled("eve", NOW)
    return keys | {
        "wrong secret": bearer(new_key(ids["ann"])[1]),
        "unknown": bearer(new_key()[1]),
        "garbage": bearer(SECRET),
        "empty": {"authorization": ""},
        "basic": {"authorization": f"Basic {SECRET}"},
    }


def _fill(server: Guarded, store: Store) -> None:
    for name in ("ann", "bob"):
        key = server.keys[name]
        uploaded = server.send("POST", DATASETS, ROWS, key | {"x-filename": f"{name}.jsonl"})
        dataset = json.loads(uploaded[2])["id"]
        job = server.as_json("POST", JOBS, {"model": "org/m", "dataset": dataset, "name": f"of-{name}"}, name)["id"]
        upload = server.as_json("POST", "/api/uploads", {"filename": "a.jsonl", "size_bytes": 9}, name)["id"]
        if name == "bob":
            server.of_bob = {"dataset": dataset, "job": job, "upload": upload}
        else:
            server.dataset, server.job = dataset, job
    ref = bring(store, server.job, JobStatus.RUNNING)
    folder = server.home / "jobs" / server.job / "model"
    commit(folder, {"adapter_config.json": b"{}", "README.md": b"hi"})
    (folder / "README.md").unlink()
    (folder / "README.md").symlink_to("/etc/passwd")
    model = ModelRecord("mdl-1", "ann", server.job, "tuned", "adapter", "org/m", None, 2, folder, None, NOW)
    with store.begin() as tx:
        tx.models.add(model)
        tx.attempts.end(ref, reason=ReasonCode.OK, message=None, now=NOW)
        tx.jobs.move(ref, JobStatus.COMPLETED, now=NOW, model_id="mdl-1")
    signer = UrlSigner.open(Settings(home=server.home))
    good = signer.sign(server.dataset, NOW + timedelta(days=1))
    middle = len(good) // 3
    altered = good[:middle] + ("A" if good[middle] != "A" else "B") + good[middle + 1 :]
    expired = signer.sign(server.dataset, NOW - timedelta(seconds=1))
    server.tokens = {"good": good, "altered": altered, "expired": expired}


@dataclass
class Row:
    """One request and the answer it must get. `{}` fields of the path are filled with records."""

    status: int
    code: str
    method: str = "GET"
    path: str = JOBS
    key: str | None = "ann"
    body: Any = None
    message: str = ""
    headers: dict[str, str] = field(default_factory=dict)


CONFIG = {"model": "org/m", "dataset": "{dataset}"}
INVALID = ("wrong secret", "unknown", "garbage", "empty", "basic", "revoked", "expired", "disabled")
OF_BOB = {
    "job": [("GET", ""), ("GET", "/events"), ("GET", "/logs"), ("GET", "/download/model"), ("POST", "/cancel")],
    "dataset": [("GET", ""), ("GET", "/content"), ("DELETE", "")],
    "upload": [("GET", ""), ("DELETE", "")],
}
BASES = {"job": JOBS, "dataset": DATASETS, "upload": "/api/uploads"}

ROWS_OF_TABLE = {
    "no key": Row(401, "missing_api_key", key=None),
    "no key posts": Row(401, "missing_api_key", "POST", key=None, body=CONFIG),
    "no key at /v1": Row(401, "missing_api_key", path="/v1/models", key=None),
    **{f"{name} key": Row(401, "invalid_api_key", key=name) for name in INVALID},
    "read-only key posts": Row(403, "insufficient_scope", "POST", key="reader", body=CONFIG),
    "read-only key deletes": Row(403, "insufficient_scope", "DELETE", f"{JOBS}/{{job}}", "reader"),
    "key that is not of an admin": Row(403, "insufficient_scope", path="/api/audit"),
    "for another user": Row(403, "insufficient_scope", path=f"{JOBS}?owner=bob"),
    "admin for nobody": Row(404, "user_not_found", path=f"{JOBS}?owner=nobody", key="root"),
    **{
        f"{kind} of another user: {method} {rest}": Row(
            404, f"{kind}_not_found", method, f"{BASES[kind]}/{{of_bob[{kind}]}}{rest}"
        )
        for kind, ways in OF_BOB.items()
        for method, rest in ways
    },
    "dataset of another user in a job": Row(
        404, "dataset_not_found", "POST", body=CONFIG | {"dataset": "{of_bob[dataset]}"}
    ),
    "model of another user in a job": Row(404, "model_not_found", "POST", body=CONFIG | {"model": "job:{of_bob[job]}"}),
    "signed url expired": Row(410, "signed_url_expired", path="/api/downloads/{tokens[expired]}", key=None),
    "signed url altered": Row(403, "signed_url_invalid", path="/api/downloads/{tokens[altered]}", key=None),
    "link in a folder of files": Row(404, "files_damaged", path=f"{JOBS}/{{job}}/download/model"),
    "path out of a folder": Row(404, "not_found", path=f"{JOBS}/{{job}}/%2e%2e/%2e%2e/etc/passwd"),
    "cancel of an ended job": Row(409, "job_ended", "POST", f"{JOBS}/{{job}}/cancel", message="completed"),
    "page of another site": Row(
        403, "forbidden_origin", "POST", body=CONFIG, headers={"origin": f"https://{SECRET}.example"}
    ),
}


@pytest.mark.parametrize("name", ROWS_OF_TABLE)
def test_what_a_caller_may_not_do_is_refused(guarded: Guarded, name: str) -> None:
    row = ROWS_OF_TABLE[name]
    key = guarded.keys[row.key] if row.key else {}
    body = None if row.body is None else json.dumps({k: _filled(v, guarded) for k, v in row.body.items()}).encode()
    reply = guarded.send(row.method, _filled(row.path, guarded), body, key | row.headers)
    error = error_of(reply, row.status, row.code, *guarded.secrets)
    assert row.message in error["message"]
    if row.status == 401:
        assert reply[1]["www-authenticate"].startswith("Bearer ")
    assert guarded.is_alive()


def _filled(text: str, server: Guarded) -> str:
    return text.format(dataset=server.dataset, job=server.job, of_bob=server.of_bob, tokens=server.tokens)


@pytest.mark.parametrize(("given", "shown"), [("../../x.jsonl", "x.jsonl"), ("n" * 4000, "n" * 200)])
def test_the_name_of_a_file_is_cleaned_and_never_a_path(guarded: Guarded, given: str, shown: str) -> None:
    dataset = guarded.as_json("GET", f"{DATASETS}/{guarded.dataset}")
    status, _, text = guarded.send("POST", DATASETS, ROWS, guarded.keys["ann"] | {"x-filename": given})
    made = json.loads(text)
    assert (status, made["name"]) == (201, shown)
    assert made["id"].startswith("ds-")
    assert made["id"] != dataset["id"]
    assert not [path for path in guarded.home.rglob("*") if path.name in ("x.jsonl", "n" * 200)]
    assert guarded.is_alive()


def test_a_good_signed_url_works(guarded: Guarded) -> None:
    assert guarded.send("GET", f"/api/downloads/{guarded.tokens['good']}")[2] == ROWS


def test_a_second_cancel_is_accepted_while_the_job_is_cancelling(guarded: Guarded) -> None:
    job = guarded.as_json("POST", JOBS, {"model": "org/m", "dataset": guarded.dataset, "name": "twice"})["id"]
    store = Store.open(Settings(home=guarded.home).store_url)
    bring(store, job, JobStatus.RUNNING)
    store.close()
    for _ in range(2):
        status, _, text = guarded.send("POST", f"{JOBS}/{job}/cancel", headers=guarded.keys["ann"])
        assert (status, json.loads(text)["status"]) == (202, "cancelling")


SOCKET = "/ws/training/{job}"
SOCKETS: dict[str, tuple[str, str | None, str | bytes | None, int, str]] = {
    "no ticket": (SOCKET, None, None, 4401, "missing_api_key"),
    "wrong ticket": (SOCKET, "unknown", None, 4401, "invalid_api_key"),
    "job of another user": ("/ws/training/{of_bob[job]}", "ann", None, 4404, "job_not_found"),
    "for another user": (f"{SOCKET}?owner=bob", "ann", None, 4403, "insufficient_scope"),
    "number from the future": (f"{SOCKET}?after=999999", "ann", None, 4400, "seq_in_future"),
    "number that is none": (f"{SOCKET}?after={SECRET}", "ann", None, 4400, "invalid_after"),
    "frame of 1 MB": ("/ws/training", "ann", SECRET * 50_000, 4400, "invalid_frame"),
    "garbage": ("/ws/training", "ann", SECRET, 4400, "invalid_frame"),
    "bytes": ("/ws/training", "ann", b"\xff\x00", 4400, "invalid_frame"),
}


@pytest.mark.parametrize("name", SOCKETS)
def test_a_bad_socket_is_closed_with_a_code_and_an_error(guarded: Guarded, name: str) -> None:
    path, key, frame, close_code, code = SOCKETS[name]
    url = f"ws://127.0.0.1:{guarded.port}{_filled(path, guarded)}"
    headers = guarded.keys[key] if key else {}
    with connect(url, additional_headers=headers, open_timeout=30, close_timeout=5) as socket:
        if frame is not None:
            socket.send(frame)
        frames = []
        with suppress(ConnectionClosed):
            while True:
                frames.append(json.loads(socket.recv(timeout=30)))
        assert (socket.close_code, frames[-1]["type"]) == (close_code, "error")
    error = frames[-1]["error"]
    assert set(error) == {"message", "type", "param", "code", "request_id"}
    assert error["code"] == code
    for leak in (SECRET, "Traceback", *guarded.secrets):
        assert leak not in json.dumps(frames)
    assert guarded.is_alive()


def test_a_socket_of_another_site_is_refused(guarded: Guarded) -> None:
    url = f"ws://127.0.0.1:{guarded.port}{_filled(SOCKET, guarded)}"
    with pytest.raises(InvalidStatus) as refused:
        connect(url, additional_headers=guarded.keys["ann"], origin="https://evil.example", open_timeout=30)
    assert refused.value.response.status_code == 403
    assert guarded.is_alive()


def test_a_thousand_requests_of_one_key_are_limited_and_other_keys_are_served(guarded: Guarded) -> None:
    def send(count: int) -> list[tuple[int, str | None, bytes]]:
        connection = http.client.HTTPConnection("127.0.0.1", guarded.port, timeout=60)
        seen = []
        for _ in range(count):
            connection.request("GET", "/api/session", headers=guarded.keys["flood"])
            reply = connection.getresponse()
            seen.append((reply.status, reply.getheader("retry-after"), reply.read()))
        connection.close()
        return seen

    with ThreadPoolExecutor(4) as pool:
        seen = [reply for replies in pool.map(send, [250] * 4) for reply in replies]
    refused = [(retry_after, text) for status, retry_after, text in seen if status == 429]
    # A new minute may begin meanwhile.
    assert 1000 - 2 * REQUESTS_PER_MINUTE <= len(refused) <= 1000 - REQUESTS_PER_MINUTE
    for retry_after, text in refused:
        assert 1 <= int(retry_after or 0) <= 60
        assert json.loads(text)["error"]["code"] == "rate_limited"
        assert not [leak for leak in guarded.secrets if leak in text.decode()]
    assert {status for status, *_ in seen} == {200, 429}
    assert guarded.is_alive()
