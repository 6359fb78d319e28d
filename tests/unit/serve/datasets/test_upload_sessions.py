"""Uploads in pieces: they go on after a cut or a restart, and end as the dataset that one piece would have made."""

import hashlib
import os
import shutil
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cluster.fakes import FakeEventHub
from ftlab.errors import NotFoundError
from serve.app import create_app
from serve.datasets import intake, upload_sessions
from serve.datasets.upload_sessions import Piece
from serve.streams.subscriptions import EventFeed
from tests.unit.serve.conftest import ROWS
from tests.unit.serve.datasets.test_routes import files
from tests.unit.serve.refusals import code_of
from tests.unit.tracking.samples import at_once

UPLOADS = "/api/uploads"
SHA256 = hashlib.sha256(ROWS).hexdigest()
FILE = {"filename": "chat.jsonl", "size_bytes": len(ROWS)}


def begin(client, **body):
    reply = client.post(UPLOADS, json=FILE | body)
    assert reply.status_code in (200, 201), reply.text
    return reply.json()


def send(client, upload, offset, data):
    return client.patch(f"{UPLOADS}/{upload['id']}", content=data, headers={"upload-offset": str(offset)})


def complete(client, upload, **body):
    return client.post(f"{UPLOADS}/{upload['id']}/complete", json=body)


def age(store, upload, hours):
    """As if nothing had come for so long."""
    with store._database.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE uploads SET updated_at = ? WHERE id = ?",
            ((datetime.now(UTC) - timedelta(hours=hours)).strftime("%Y-%m-%d %H:%M:%S.%f"), upload["id"]),
        )


def test_pieces_become_a_dataset(client, settings):
    reply = client.post(UPLOADS, json=FILE | {"sha256": SHA256, "name": "Mine", "bucket": "lora-datasets"})
    assert reply.status_code == 201
    upload = reply.json()
    assert reply.headers["location"] == f"{UPLOADS}/{upload['id']}"
    assert (upload["received_bytes"], upload["size_bytes"], upload["dataset_id"]) == (0, len(ROWS), None)
    assert [each["id"] for each in client.get(UPLOADS).json()["data"]] == [upload["id"]]
    offset = 0
    for size in (1, 99, len(ROWS) - 100):
        reply = send(client, upload, offset, ROWS[offset : offset + size])
        offset += size
        assert (reply.status_code, reply.content, reply.headers["upload-offset"]) == (204, b"", str(offset))
    head = client.head(f"{UPLOADS}/{upload['id']}")
    assert (head.headers["upload-offset"], head.headers["upload-length"]) == (str(len(ROWS)),) * 2
    assert head.headers["cache-control"] == "no-store"
    reply = complete(client, upload)
    assert reply.status_code == 201, reply.text
    dataset = reply.json()
    assert reply.headers["location"] == f"/api/datasets/{dataset['id']}"
    assert (dataset["sha256"], dataset["name"], dataset["bucket"], dataset["num_rows"]) == (
        SHA256,
        "Mine",
        "lora-datasets",
        3,
    )
    assert client.get(f"/api/datasets/{dataset['id']}/content").content == ROWS
    assert [name.partition("/")[0] for name in files(settings)] == ["buckets"] * 2
    assert client.get(UPLOADS).json()["data"] == []


def test_a_dataset_is_made_once_however_often_it_is_asked_for(client):
    upload = begin(client)
    send(client, upload, 0, ROWS)
    first, again = (complete(client, upload) for _ in range(2))
    assert (again.status_code, again.json()) == (201, first.json())
    assert len(client.get("/api/datasets").json()["data"]) == 1
    assert client.get(f"{UPLOADS}/{upload['id']}").json()["dataset_id"] == first.json()["id"]
    assert code_of(send(client, upload, len(ROWS), b"x")) == (409, "upload_offset_mismatch")


def test_two_that_complete_at_once_get_the_same_dataset(client, monkeypatch):
    """The second waits for the first, as after a cut connection."""
    upload = begin(client)
    send(client, upload, 0, ROWS)
    convert, conversions = intake.convert, []

    def slowly(*args, **options):
        conversions.append(args)
        time.sleep(0.3)
        return convert(*args, **options)

    monkeypatch.setattr(intake, "convert", slowly)
    monkeypatch.setattr("serve.datasets.upload_routes.BUSY_POLL_S", 0.02)
    replies = at_once(3, lambda _: complete(client, upload))
    assert {reply.status_code for reply in replies} == {201}
    assert len({reply.json()["id"] for reply in replies}) == len(conversions) == 1
    assert len(client.get("/api/datasets").json()["data"]) == 1


def test_an_upload_goes_on_after_a_restart_of_the_service(client, services):
    upload = begin(client, sha256=SHA256)
    send(client, upload, 0, ROWS[:100])
    again = replace(services, feed=EventFeed(FakeEventHub()))
    with TestClient(create_app(again), base_url="http://127.0.0.1:8000") as other:
        reply = other.post(UPLOADS, json=FILE | {"sha256": SHA256})
        assert (reply.status_code, reply.json()["id"], reply.json()["received_bytes"]) == (200, upload["id"], 100)
        assert send(other, upload, 100, ROWS[100:]).status_code == 204
        assert complete(other, upload).json()["sha256"] == SHA256


def test_without_a_hash_or_with_another_file_an_upload_is_a_new_one(client):
    ids = {begin(client)["id"], begin(client)["id"], begin(client, sha256=SHA256)["id"]}
    ids |= {begin(client, sha256="0" * 64)["id"], begin(client, sha256=SHA256, bucket="lora-datasets")["id"]}
    assert len(ids) == 5


@pytest.mark.parametrize("offset", [0, 50, 101])
def test_a_piece_at_another_place_is_refused_with_the_right_one(client, offset):
    upload = begin(client)
    send(client, upload, 0, ROWS[:100])
    reply = send(client, upload, offset, ROWS[100:])
    assert code_of(reply) == (409, "upload_offset_mismatch")
    assert reply.headers["upload-offset"] == "100"
    assert "byte 100" in reply.json()["error"]["message"]


def test_of_two_that_send_the_same_piece_one_writes(services, client):
    """A client that was cut off comes back while the service still reads its first request."""
    upload = begin(client)
    pieces = [Piece(services, "local", upload["id"], 0) for _ in range(2)]
    pieces[0].write(ROWS[:100])
    with pytest.raises(upload_sessions.OffsetError) as caught:
        pieces[1].write(b"x" * 50)
    assert caught.value.offset == 100
    pieces[0].write(ROWS[100:])
    assert complete(client, upload).json()["sha256"] == SHA256


def test_what_came_before_a_cut_is_kept(client, app, services, monkeypatch):
    upload = begin(client)
    monkeypatch.setattr("serve.datasets.upload_routes.PIECE_BYTES", 64)
    messages = iter(
        [
            {"type": "http.request", "body": ROWS[:70], "more_body": True},
            {"type": "http.request", "body": ROWS[70:80], "more_body": True},
            {"type": "http.disconnect"},
        ]
    )

    async def receive():
        return next(messages)

    async def send_nowhere(message):
        raise AssertionError("nobody is there to be answered")

    scope = {
        "type": "http",
        "method": "PATCH",
        "path": f"{UPLOADS}/{upload['id']}",
        "raw_path": b"",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1"), (b"upload-offset", b"0")],
        "app": app,
    }
    client.portal.call(app, scope, receive, send_nowhere)
    assert client.get(f"{UPLOADS}/{upload['id']}").json()["received_bytes"] == 80
    send(client, upload, 80, ROWS[80:])
    assert complete(client, upload).json()["sha256"] == SHA256


def test_more_bytes_than_announced_are_refused_and_the_rest_stays(client):
    upload = begin(client)
    assert code_of(send(client, upload, 0, ROWS + b"x")) == (413, "payload_too_large")
    assert send(client, upload, 0, ROWS).status_code == 204
    assert complete(client, upload).status_code == 201


def test_an_upload_with_bytes_missing_is_not_completed(client):
    upload = begin(client)
    send(client, upload, 0, ROWS[:-1])
    reply = complete(client, upload)
    assert code_of(reply) == (409, "upload_incomplete")
    assert f"{len(ROWS) - 1} of {len(ROWS)} bytes" in reply.json()["error"]["message"]


def test_other_bytes_than_the_hash_names_end_the_upload(client, settings):
    upload = begin(client, sha256="0" * 64)
    send(client, upload, 0, ROWS)
    assert code_of(complete(client, upload)) == (422, "checksum_mismatch")
    assert client.get(f"{UPLOADS}/{upload['id']}").status_code == 404
    assert files(settings) == []


def test_bad_rows_can_be_completed_otherwise_without_sending_them_again(client, settings):
    rows = ROWS + b"{broken\n"
    upload = begin(client, size_bytes=len(rows), sha256=hashlib.sha256(rows).hexdigest())
    send(client, upload, 0, rows)
    reply = complete(client, upload)
    assert code_of(reply) == (422, "dataset_invalid")
    assert "line 4" in reply.json()["error"]["message"]
    dataset = complete(client, upload, accept_partial=True).json()
    assert (dataset["num_rows"], dataset["num_skipped"]) == (3, 1)


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"size_bytes": 0}, (422, "invalid_body")),
        ({"size_bytes": -1}, (422, "invalid_body")),
        ({"size_bytes": "9"}, (422, "invalid_body")),
        ({"size_bytes": 1024 * 1024 + 1}, (413, "payload_too_large")),
        ({"sha256": "ABC"}, (422, "invalid_body")),
        ({"filename": ""}, (422, "invalid_body")),
        ({"filename": "photo.png"}, (422, "dataset_invalid")),
        ({"bucket": "nowhere"}, (422, "invalid_parameter")),
        ({"shape": "nonsense"}, (422, "invalid_mapping")),
        ({"columns": {"a": 1}}, (422, "invalid_body")),
        ({"collumns": {}}, (422, "unknown_field")),
    ],
)
def test_a_bad_beginning_is_refused_and_leaves_nothing(client, body, answer):
    assert code_of(client.post(UPLOADS, json=FILE | body)) == answer
    assert client.get(UPLOADS).json()["data"] == []


@pytest.mark.parametrize("offset", [None, "x", "-1", "1.5", str(2**60)])
def test_a_piece_needs_its_offset(client, offset):
    upload = begin(client)
    headers = {} if offset is None else {"upload-offset": offset}
    reply = client.patch(f"{UPLOADS}/{upload['id']}", content=ROWS, headers=headers)
    assert code_of(reply) == (422, "invalid_parameter")


def test_an_upload_that_is_not_there_is_not_found(client):
    upload = {"id": "up-none"}
    calls = (
        lambda: client.get(f"{UPLOADS}/up-none"),
        lambda: send(client, upload, 0, b"x"),
        lambda: complete(client, upload),
        lambda: client.delete(f"{UPLOADS}/up-none"),
    )
    for call in calls:
        assert code_of(call()) == (404, "upload_not_found")


def test_an_upload_whose_file_is_gone_begins_anew(client, settings):
    upload = begin(client, sha256=SHA256)
    send(client, upload, 0, ROWS[:10])
    shutil.rmtree(settings.home / "uploads" / upload["id"])
    assert code_of(send(client, upload, 10, ROWS[10:])) == (404, "upload_not_found")
    other = begin(client)
    send(client, other, 0, ROWS)
    shutil.rmtree(settings.home / "uploads" / other["id"])
    assert code_of(complete(client, other)) == (404, "upload_not_found")
    assert client.get(f"{UPLOADS}/{other['id']}").status_code == 404


def test_an_upload_can_be_given_up(client, settings):
    upload = begin(client)
    send(client, upload, 0, ROWS[:10])
    assert files(settings) == [f"uploads/{upload['id']}/source"]
    assert client.delete(f"{UPLOADS}/{upload['id']}").status_code == 204
    assert files(settings) == []
    assert code_of(send(client, upload, 10, ROWS[10:])) == (404, "upload_not_found")


def test_what_nobody_came_back_for_is_swept_after_a_day(client, settings, store):
    old, new, done = begin(client), begin(client), begin(client)
    for upload in (old, new, done):
        send(client, upload, 0, ROWS)
    complete(client, done)
    killed = settings.home / "uploads" / "up-killed"
    killed.mkdir()
    (killed / "source").write_bytes(b"half")
    for path in (killed / "source", killed):
        os.utime(path, (time.time() - 25 * 3600,) * 2)
    for upload in (old, done):
        age(store, upload, 25)
    age(store, new, 23)
    begin(client)
    assert sorted(name for name in files(settings) if name.startswith("uploads")) == [f"uploads/{new['id']}/source"]
    assert client.get(f"{UPLOADS}/{old['id']}").status_code == 404
    assert client.get(f"{UPLOADS}/{done['id']}").status_code == 404
    assert len(client.get("/api/datasets").json()["data"]) == 1


def test_an_upload_that_was_begun_again_lately_is_kept_however_old_its_file_is(client, settings):
    upload = begin(client, sha256=SHA256)
    send(client, upload, 0, ROWS[:100])
    folder = settings.home / "uploads" / upload["id"]
    for path in (folder / "source", folder):
        os.utime(path, (time.time() - 25 * 3600,) * 2)
    assert begin(client, sha256=SHA256)["received_bytes"] == 100
    assert send(client, upload, 100, ROWS[100:]).status_code == 204
    assert complete(client, upload).status_code == 201


def test_an_upload_whose_file_is_gone_ends_so_that_it_can_begin_anew(client, settings):
    upload = begin(client, sha256=SHA256)
    send(client, upload, 0, ROWS[:100])
    shutil.rmtree(settings.home / "uploads" / upload["id"])
    assert code_of(send(client, upload, 100, ROWS[100:])) == (404, "upload_not_found")
    anew = begin(client, sha256=SHA256)
    assert (anew["id"] != upload["id"], anew["received_bytes"]) == (True, 0)
    assert files(settings) == []


def test_an_upload_given_up_while_a_piece_comes_in_is_said_to_be(client, services):
    upload = begin(client)
    piece = Piece(services, "local", upload["id"], 0)
    client.delete(f"{UPLOADS}/{upload['id']}")
    with pytest.raises(NotFoundError) as caught:
        piece.write(ROWS)
    assert caught.value.code == "upload_not_found"


def test_what_goes_while_it_is_swept_is_passed_over(services, settings, monkeypatch):
    left = settings.home / "uploads" / "up-left"
    left.mkdir(parents=True)
    (left / "source").write_bytes(b"half")
    for path in (left / "source", left):
        os.utime(path, (0, 0))
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda folder, pattern: [folder / "up-gone", *glob(folder, pattern)])
    monkeypatch.setattr(Path, "exists", lambda path: True)
    intake.sweep(services)
    assert left.is_dir(), "something in it went at this moment: it waits for the next sweep"
    monkeypatch.setattr(Path, "glob", glob)
    intake.sweep(services)
    assert not left.is_dir()


def test_a_sweep_that_fails_fails_no_upload(client, services, monkeypatch, caplog):
    def fail():
        raise OSError("the disk is away for a moment")

    monkeypatch.setattr(services.dataset_files, "sweep", fail)
    assert complete(client, _sent(client)).status_code == 201
    assert client.post("/api/datasets", content=ROWS, headers={"x-filename": "a.jsonl"}).status_code == 201
    assert "the disk is away for a moment" in caplog.text


def _sent(client):
    upload = begin(client)
    send(client, upload, 0, ROWS)
    return upload


def test_it_is_swept_though_nobody_uploads(app, monkeypatch):
    swept = threading.Semaphore(0)

    def sweep(_):
        swept.release()
        raise OSError("the disk is away for a moment")

    monkeypatch.setattr(intake, "SWEEP_INTERVAL_S", 0.01)
    monkeypatch.setattr(intake, "sweep", sweep)
    with TestClient(app):
        assert swept.acquire(timeout=10)
        assert swept.acquire(timeout=10)


def test_what_has_begun_to_come_counts_for_the_quota(client):
    client.put("/api/quota", json={"max_upload_bytes": 2 * len(ROWS)})
    first, second = (begin(client, name=name) for name in ("first", "second"))
    assert code_of(client.post(UPLOADS, json=FILE)) == (429, "quota_exceeded")
    for upload in (first, second):
        send(client, upload, 0, ROWS)
        assert complete(client, upload).status_code == 201
    assert code_of(client.post("/api/datasets", content=ROWS, headers={"x-filename": "a.jsonl"})) == (
        429,
        "quota_exceeded",
    )


def test_one_owner_begins_only_so_many(client, monkeypatch):
    monkeypatch.setattr(upload_sessions, "MAX_OPEN", 2)
    for _ in range(2):
        begin(client)
    assert code_of(client.post(UPLOADS, json=FILE)) == (429, "quota_exceeded")


def test_an_upload_given_up_while_its_dataset_is_made_leaves_nothing(client, settings, monkeypatch):
    upload = begin(client)
    send(client, upload, 0, ROWS)
    convert, converting, go_on = intake.convert, threading.Event(), threading.Event()

    def wait(*args, **options):
        converting.set()
        go_on.wait(10)
        return convert(*args, **options)

    monkeypatch.setattr(intake, "convert", wait)

    def work(number):
        if number == 0:
            return complete(client, upload)
        converting.wait(10)
        try:
            return client.delete(f"{UPLOADS}/{upload['id']}")
        finally:
            go_on.set()

    completed, deleted = at_once(2, work)
    assert deleted.status_code == 204
    assert code_of(completed) == (404, "upload_not_found")
    assert client.get("/api/datasets").json()["data"] == []
    assert files(settings) == []
