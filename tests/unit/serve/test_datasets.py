"""Upload, list, download and delete datasets over HTTP."""

import hashlib
import json
import os
import shutil
import time
from urllib.parse import quote

import pytest

from serve import upload
from tests.unit.serve.conftest import ROWS
from tracking.store.datasets import DatasetRepository

DATASETS = "/api/datasets"


def send(client, content=ROWS, filename="chat.jsonl", **params):
    return client.post(DATASETS, content=content, headers={"x-filename": filename}, params=params)


def leftovers(settings):
    """Everything below the buckets that belongs to no dataset."""
    return [path for path in settings.home.glob("buckets/*/*") if not path.name.startswith("ds-")]


def test_a_raw_upload_becomes_a_dataset(client, settings):
    reply = send(client)
    assert reply.status_code == 201
    dataset = reply.json()
    assert reply.headers["location"] == f"{DATASETS}/{dataset['id']}"
    assert dataset["sha256"] == hashlib.sha256(ROWS).hexdigest()
    assert (dataset["num_rows"], dataset["size_bytes"]) == (3, len(ROWS))
    assert (dataset["format"], dataset["shape"], dataset["name"]) == ("jsonl", "messages", "chat.jsonl")
    folder = settings.home / "buckets" / "training-files" / dataset["id"]
    assert (folder / "source").read_bytes() == ROWS
    assert len((folder / "rows.jsonl").read_text().splitlines()) == 3
    assert client.get(f"{DATASETS}/{dataset['id']}").json() == dataset
    assert leftovers(settings) == []


def test_a_form_upload_becomes_a_dataset(client, settings):
    rows = json.dumps([{"prompt": "a", "completion": "b"}]).encode()
    reply = client.post(
        f"{DATASETS}?bucket=lora-datasets&name=Mine",
        files={"file": ("täst.json", rows)},
        data={"comment": "read over", "other": "x" * 5000},
    )
    assert reply.status_code == 201, reply.text
    dataset = reply.json()
    assert (dataset["bucket"], dataset["name"], dataset["format"]) == ("lora-datasets", "Mine", "json")
    assert dataset["shape"] == "prompt_completion"
    assert (settings.home / "buckets" / "lora-datasets" / dataset["id"] / "source").read_bytes() == rows


def test_form_files_keep_their_bytes_however_they_are_cut(client, settings):
    """Boundaries that fall between chunks, and content that looks like a boundary."""
    row = {"prompt": "--cut\r\n--cut--\r\n", "completion": "x" * 50}
    rows = "".join(json.dumps(row) + "\r\n" for _ in range(20)).encode()
    head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    body = head + rows + b"\r\n--cut--\r\n"
    for size in (1, 7, 64, len(body)):
        pieces = (body[at : at + size] for at in range(0, len(body), size))
        reply = client.post(DATASETS, content=pieces, headers={"content-type": "multipart/form-data; boundary=cut"})
        assert reply.status_code == 201, reply.text
        assert reply.json()["sha256"] == hashlib.sha256(rows).hexdigest()


def test_the_same_content_may_be_uploaded_twice(client):
    assert send(client).json()["id"] != send(client).json()["id"]
    assert len(client.get(DATASETS).json()["data"]) == 2


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../x.jsonl", "x.jsonl"),
        ("C:\\Users\\me\\x.jsonl", "x.jsonl"),
        (quote("naïve.jsonl"), "naïve.jsonl"),
        (quote("a\0b\r\nc\u202e.jsonl"), "abc.jsonl"),
        ("..", "dataset"),
        ("n" * 4000, "n" * 200),
    ],
)
def test_file_names_are_for_display_only(client, settings, given, shown):
    dataset = send(client, filename=given).json()
    assert dataset["name"] == shown
    assert [path.name for path in settings.home.glob("buckets/*/*")] == [dataset["id"]]


def test_the_content_comes_back_with_a_safe_name(client):
    dataset = send(client, filename=quote('we"ird;\r\n näme.jsonl')).json()
    reply = client.get(f"{DATASETS}/{dataset['id']}/content")
    assert reply.content == ROWS
    assert reply.headers["content-disposition"] == f"attachment; filename*=utf-8''{quote(dataset['name'])}"
    assert reply.headers["x-content-type-options"] == "nosniff"
    part = client.get(f"{DATASETS}/{dataset['id']}/content", headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, ROWS[:10])


def test_a_bad_range_is_answered_in_the_one_shape(client, dataset):
    reply = client.get(f"{DATASETS}/{dataset['id']}/content", headers={"range": "bytes=99999-"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (416, "range_not_satisfiable")
    assert reply.headers["content-range"] == f"bytes */{len(ROWS)}"


def test_content_that_is_gone_is_said_to_be(client, dataset, settings):
    shutil.rmtree(settings.home / "buckets" / "training-files" / dataset["id"])
    reply = client.get(f"{DATASETS}/{dataset['id']}/content")
    assert (reply.status_code, reply.json()["error"]["code"]) == (404, "dataset_content_missing")


def test_a_dataset_in_use_stays(client, config, settings):
    job = client.post("/api/training/jobs", json=config).json()["id"]
    path = f"{DATASETS}/{config['dataset']}"
    reply = client.delete(path)
    assert (reply.status_code, reply.json()["error"]["code"]) == (409, "dataset_in_use")
    client.post(f"/api/training/jobs/{job}/cancel")
    reply = client.delete(path)
    assert (reply.status_code, reply.content) == (204, b"")
    assert client.get(path).status_code == 404
    assert list(settings.home.glob("buckets/*/*")) == []


def test_lists_page(client):
    ids = [send(client).json()["id"] for _ in range(3)]
    first = client.get(DATASETS, params={"limit": 2}).json()
    second = client.get(DATASETS, params={"limit": 2, "after": first["next_cursor"]}).json()
    assert [item["id"] for item in first["data"] + second["data"]] == ids[::-1]
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)


def test_nothing_stays_of_a_refused_upload(client, settings):
    assert send(client, b'{"messages": "x"}\n').status_code == 422
    assert send(client, b"x" * 1_048_577).status_code == 413
    assert client.post(DATASETS, files={"other": b"x"}).status_code == 422
    assert leftovers(settings) == []
    assert client.get(DATASETS).json()["data"] == []


def test_nothing_stays_when_the_record_cannot_be_written(client, settings, monkeypatch):
    def fail(self, record):
        raise OSError("no luck")

    monkeypatch.setattr(DatasetRepository, "add", fail)
    reply = send(client)
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal_error")
    assert "luck" not in reply.text
    assert list(settings.home.glob("buckets/*/*")) == []


def test_uploads_of_a_killed_process_are_swept_a_day_later(client, settings):
    bucket = settings.home / "buckets" / "training-files"
    for name, age_s in (("old", 2 * 24 * 3600), ("new", 3600)):
        folder = bucket / f".incoming-{name}"
        folder.mkdir(parents=True)
        (folder / "source").write_text("half")
        for path in (folder / "source", folder):
            os.utime(path, (time.time() - age_s,) * 2)
    send(client)
    assert [path.name for path in leftovers(settings)] == [".incoming-new"]


def test_a_full_disk_is_named_before_anything_is_written(client, settings, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(upload.shutil, "disk_usage", lambda path: usage)
    reply = send(client)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "disk_full")
    assert "1000 bytes are free" in reply.json()["error"]["message"]
    assert list(settings.home.glob("buckets/*/*")) == []


def test_a_disk_that_fills_up_while_writing_is_named(client, settings, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(upload.os, "fsync", full)
    reply = send(client)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "disk_full")
    assert list(settings.home.glob("buckets/*/*")) == []
