"""Upload, list, download and delete datasets over HTTP."""

import gzip
import hashlib
import json
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from anyio import CancelScope, sleep_forever

from serve.datasets import intake
from serve.datasets import receive as upload
from tests.support.rows import read_rows
from tests.unit.serve.conftest import ROWS
from tracking.store.datasets import DatasetRepository

DATASETS = "/api/datasets"


def send(client, content=ROWS, filename="chat.jsonl", **params):
    return client.post(DATASETS, content=content, headers={"x-filename": filename}, params=params)


def files(settings):
    """Everything below the buckets and the folder of uploads, by the first part of its path and its name."""
    roots = (settings.home / "buckets", settings.home / "uploads")
    found = (path for root in roots for path in root.rglob("*") if path.is_file())
    return sorted(str(path.relative_to(settings.home)) for path in found)


def test_a_raw_upload_becomes_a_dataset(client, settings):
    reply = send(client)
    assert reply.status_code == 201
    dataset = reply.json()
    assert reply.headers["location"] == f"{DATASETS}/{dataset['id']}"
    assert dataset["sha256"] == hashlib.sha256(ROWS).hexdigest()
    assert (dataset["num_rows"], dataset["size_bytes"]) == (3, len(ROWS))
    assert (dataset["format"], dataset["shape"], dataset["name"]) == ("jsonl", "messages", "chat.jsonl")
    assert (dataset["kind"], dataset["num_skipped"], dataset["column_mapping"]) == ("messages", 0, None)
    assert 0.5 < dataset["confidence"] <= 1
    assert dataset["fields"] == [{"name": "messages", "used_as": "messages", "num_rows": 3}]
    assert "canonical" not in dataset
    bucket = settings.home / "buckets" / "training-files"
    assert (bucket / "blobs" / dataset["sha256"]).read_bytes() == ROWS
    [rows] = (bucket / "canonical").glob(f"{dataset['sha256']}-*.arrow")
    assert len(list(read_rows(rows))) == 3
    assert client.get(f"{DATASETS}/{dataset['id']}").json() == dataset
    assert len(files(settings)) == 2


def test_a_form_upload_becomes_a_dataset(client, settings):
    rows = json.dumps([{"prompt": "a", "completion": "b"}]).encode()
    reply = client.post(
        f"{DATASETS}?bucket=lora-datasets&name=Mine",
        files={"file": ("täst.json", rows)},
    )
    assert reply.status_code == 201, reply.text
    dataset = reply.json()
    assert (dataset["bucket"], dataset["name"], dataset["format"]) == ("lora-datasets", "Mine", "json")
    assert dataset["shape"] == "prompt_completion"
    assert (settings.home / "buckets" / "lora-datasets" / "blobs" / dataset["sha256"]).read_bytes() == rows


@pytest.mark.parametrize(
    ("name", "param"), [("bucket", "bucket"), ("accept_partial", "accept_partial"), ("a b", None), ("", None)]
)
@pytest.mark.parametrize("is_before", [True, False])
def test_options_as_form_fields_are_refused_not_dropped(client, settings, name, param, is_before):
    option = f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\nlora-datasets\r\n'.encode()
    file = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n' + ROWS + b"\r\n"
    parts = option + file if is_before else file + option
    headers = {"content-type": "multipart/form-data; boundary=cut"}
    reply = client.post(DATASETS, content=parts + b"--cut--\r\n", headers=headers)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (422, "unknown_field", param)
    assert (f"give it as a query parameter: ?{param}=..." in error["message"]) == (param is not None)
    assert "lora-datasets" not in error["message"]
    assert files(settings) == []


def test_form_files_keep_their_bytes_however_they_are_cut(client, settings):
    """Boundaries that fall between chunks, and content that looks like a boundary."""
    row = {"prompt": "--cut\r\n--cut--\r\n", "completion": "x" * 50}
    rows = "".join(json.dumps(row) + "\r\n" for _ in range(20)).encode()
    head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
    body = head + rows + b"\r\n--cut--\r\n"
    for size in (1, 7, 64, len(body)):
        pieces = (body[at : at + size] for at in range(0, len(body), size))
        reply = client.post(DATASETS, content=pieces, headers={"content-type": "multipart/form-data; boundary=cut"})
        assert reply.status_code == (201 if size == 1 else 200), reply.text
        assert reply.json()["sha256"] == hashlib.sha256(rows).hexdigest()


def test_the_same_content_is_another_dataset_and_stored_once(client, settings):
    first, second = (send(client, filename=name).json()["id"] for name in ("a.jsonl", "b.jsonl"))
    assert first != second
    assert len(client.get(DATASETS).json()["data"]) == 2
    assert len(files(settings)) == 2
    client.delete(f"{DATASETS}/{first}")
    assert client.get(f"{DATASETS}/{second}/content").content == ROWS
    client.delete(f"{DATASETS}/{second}")
    assert files(settings) == []


def test_the_same_file_under_the_same_name_is_one_dataset(client, settings):
    first = send(client)
    again = send(client)
    assert (first.status_code, first.json()["is_duplicate"]) == (201, False)
    assert (again.status_code, again.json()) == (200, first.json() | {"is_duplicate": True})
    assert len(client.get(DATASETS).json()["data"]) == 1
    assert len(files(settings)) == 2
    for change in ({"name": "other"}, {"bucket": "lora-datasets"}, {"columns": '{"messages": "messages"}'}):
        other = client.post(DATASETS, content=ROWS, params=change, headers={"x-filename": "chat.jsonl"})
        assert other.status_code == 201, other.text
        assert other.json()["id"] != first.json()["id"]
    client.delete(f"{DATASETS}/{first.json()['id']}")
    assert send(client).status_code == 201


def test_uploads_of_the_same_file_at_once_make_one_dataset(client):
    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(lambda _: send(client), range(4)))
    assert sorted(reply.status_code for reply in replies) == [200, 200, 200, 201]
    assert len({reply.json()["id"] for reply in replies}) == 1


@pytest.mark.parametrize("name", ["a\u200bb", "a\u202eb", "\u2066x", "a\x7f", "\ufeffa", "a\u2028b"])
def test_invisible_characters_are_refused_in_names(client, config, name):
    reply = client.post(DATASETS, content=ROWS, params={"name": name}, headers={"x-filename": "chat.jsonl"})
    assert (reply.status_code, reply.json()["error"]["param"]) == (422, "name")
    job = client.post("/api/training/jobs", json=config | {"name": name})
    assert (job.status_code, job.json()["error"]["param"]) == (422, "name")
    assert f"U+{ord(next(char for char in name if not char.isprintable())):04X}" in job.json()["error"]["message"]


def test_a_put_is_an_upload(client):
    reply = client.put(DATASETS, content=ROWS, headers={"x-filename": "chat.jsonl"})
    assert (reply.status_code, reply.json()["num_rows"]) == (201, 3)


def test_columns_and_parts_are_as_the_uploader_says(client):
    rows = b"question,answer\na,b\n,\nc,d\n"
    columns = {"prompt": "question", "completion": "answer"}
    said = {"shape": "prompt_completion", "columns": json.dumps(columns)}
    assert send(client, rows, "rows.csv", **said).status_code == 422
    reply = send(client, rows, "rows.csv", accept_partial="true", **said)
    assert reply.status_code == 201, reply.text
    dataset = reply.json()
    assert dataset["column_mapping"] == {"shape": "prompt_completion", "columns": columns}
    assert (dataset["num_rows"], dataset["num_skipped"], dataset["format"]) == (2, 1, "csv")


@pytest.mark.parametrize(
    ("params", "code", "param"),
    [
        ({"columns": "{"}, "invalid_mapping", "columns"),
        ({"columns": "[" * 5000}, "invalid_mapping", "columns"),
        ({"columns": "[1]"}, "invalid_mapping", "columns"),
        ({"columns": '{"prompt": "\\ud800"}'}, "invalid_mapping", "columns"),
        ({"columns": '{"role.\\udfff": "user"}'}, "invalid_mapping", "columns"),
        ({"columns": '{"prompt": "\\u0000"}'}, "invalid_mapping", "columns"),
        ({"shape": "nonsense"}, "invalid_mapping", "shape"),
        ({"sha256": "x"}, "invalid_parameter", "sha256"),
        ({"sha256": "0" * 64}, "checksum_mismatch", "sha256"),
        ({"bucket": "nowhere"}, "invalid_parameter", "bucket"),
        ({"accept_partial": "perhaps"}, "invalid_parameter", "accept_partial"),
    ],
)
def test_options_that_fit_nothing_are_named(client, settings, params, code, param):
    reply = send(client, **params)
    error = reply.json()["error"]
    assert (reply.status_code, error["code"], error["param"]) == (422, code, param)
    assert files(settings) == []


def test_a_checksum_that_fits_is_accepted(client):
    assert send(client, sha256=hashlib.sha256(ROWS).hexdigest()).status_code == 201


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
    assert [name.partition("/")[0] for name in files(settings)] == ["buckets"] * 2
    assert all(dataset["sha256"] in name for name in files(settings))


def test_the_content_comes_back_with_a_safe_name(client):
    dataset = send(client, filename=quote('we"ird;\r\n näme.jsonl')).json()
    reply = client.get(f"{DATASETS}/{dataset['id']}/content")
    assert reply.content == ROWS
    assert reply.headers["content-disposition"].endswith(f"; filename*=UTF-8''{quote(dataset['name'], safe='')}")
    assert reply.headers["x-content-type-options"] == "nosniff"
    part = client.get(f"{DATASETS}/{dataset['id']}/content", headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, ROWS[:10])


def test_a_bad_range_is_answered_in_the_one_shape(client, dataset):
    reply = client.get(f"{DATASETS}/{dataset['id']}/content", headers={"range": "bytes=99999-"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (416, "range_not_satisfiable")
    assert reply.headers["content-range"] == f"bytes */{len(ROWS)}"


def test_content_that_is_gone_is_said_to_be(client, dataset, settings):
    shutil.rmtree(settings.home / "buckets" / "training-files")
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
    assert files(settings) == []


def test_lists_page(client):
    ids = [send(client, filename=f"{number}.jsonl").json()["id"] for number in range(3)]
    first = client.get(DATASETS, params={"limit": 2}).json()
    second = client.get(DATASETS, params={"limit": 2, "after": first["next_cursor"]}).json()
    assert [item["id"] for item in first["data"] + second["data"]] == ids[::-1]
    assert (first["has_more"], second["has_more"], second["next_cursor"]) == (True, False, None)


def test_nothing_stays_of_a_refused_upload(client, settings):
    assert send(client, b'{"messages": "x"}\n').status_code == 422
    assert send(client, b"x" * 1_048_577).status_code == 413
    assert client.post(DATASETS, files={"other": b"x"}).status_code == 422
    assert files(settings) == []
    assert list((settings.home / "uploads").iterdir()) == []
    assert client.get(DATASETS).json()["data"] == []


def test_nothing_stays_when_the_record_cannot_be_written(client, settings, monkeypatch):
    def fail(self, record):
        raise OSError("no luck")

    monkeypatch.setattr(DatasetRepository, "add", fail)
    reply = send(client)
    assert (reply.status_code, reply.json()["error"]["code"]) == (500, "internal_error")
    assert "luck" not in reply.text
    assert files(settings) == []


def test_a_download_has_the_ending_of_what_the_file_is(client):
    for content, filename, name, saved in (
        (ROWS, "chat.jsonl", "support", "support.jsonl"),
        (ROWS, "chat.ndjson", None, "chat.ndjson"),
        (gzip.compress(ROWS), "chat.jsonl.gz", "support v1.2", "support v1.2.jsonl.gz"),
        (gzip.compress(ROWS), "chat.jsonl.gzip", None, "chat.jsonl.gzip"),
    ):
        dataset = send(client, content, filename, **({"name": name} if name else {})).json()["id"]
        reply = client.get(f"{DATASETS}/{dataset}/content")
        named = (f'attachment; filename="{saved}"', f"; filename*=UTF-8''{quote(saved)}")
        assert reply.headers["content-disposition"].endswith(named)


def test_a_full_disk_is_named_before_anything_is_written(client, settings, monkeypatch):
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    reply = send(client)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "disk_full")
    assert "1000 bytes are free" in reply.json()["error"]["message"]
    assert files(settings) == []


def test_a_disk_that_fills_up_while_writing_is_named(client, settings, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(upload.os, "fsync", full)
    reply = send(client)
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "disk_full")
    assert files(settings) == []


def test_the_file_is_removed_beside_the_event_loop(client, monkeypatch):
    loop, removers = client.portal.call(threading.get_ident), []
    monkeypatch.setattr(intake, "discard", lambda folder: removers.append(threading.get_ident()))
    assert send(client).status_code == 201
    assert len(removers) == 1
    assert loop not in removers


def test_nothing_stays_of_an_upload_that_is_cancelled(client, app, settings):
    async def main():
        with CancelScope() as scope:

            async def receive():
                scope.cancel()
                await sleep_forever()

            headers = [(b"host", b"127.0.0.1"), (b"x-filename", b"a.jsonl")]
            request = {"type": "http", "method": "POST", "path": DATASETS, "query_string": b"", "headers": headers}
            await app(request | {"raw_path": b"", "app": app}, receive, receive)
        return scope.cancelled_caught

    assert client.portal.call(main)
    assert list((settings.home / "uploads").iterdir()) == []
