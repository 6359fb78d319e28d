"""Datasets in buckets of each kind, as a client meets them: local and S3."""

import os
import urllib.request
from datetime import UTC, datetime, timedelta

import pytest

from ftlab.settings import Settings
from serve.datasets.signed_urls import KEY_FILE, UrlSigner
from tests.support.moto_server import SECRET, moto_address, s3_url
from tests.unit.serve.conftest import ROWS
from tests.unit.serve.datasets.test_routes import DATASETS, files, send
from tests.unit.serve.refusals import code_of

__all__ = ["moto_address", "s3_url"]


@pytest.fixture(params=["folder", "s3"])
def url(request):
    return request.getfixturevalue("s3_url") if request.param == "s3" else ""


@pytest.fixture
def settings(tmp_path, url):
    return Settings(home=tmp_path / "home", max_upload_bytes=1024 * 1024, buckets={"mine": url})


@pytest.fixture
def mine(client):
    reply = send(client, bucket="mine")
    assert reply.status_code == 201, reply.text
    return reply.json()


def path_of(dataset, *parts):
    return "/".join([DATASETS, dataset["id"], *parts])


def test_a_dataset_lives_in_its_bucket(client, settings, services, mine, url):
    assert mine["bucket"] == "mine"
    storage = services.buckets.storage("mine")
    assert storage.size_of(f"blobs/{mine['sha256']}") == len(ROWS)
    assert len(storage.keys(f"canonical/{mine['sha256']}-")) == 1
    assert len(files(settings)) == (0 if url else 2)
    assert client.get(path_of(mine, "content")).content == ROWS
    assert client.delete(path_of(mine)).status_code == 204
    assert storage.keys("blobs/") == storage.keys("canonical/") == []


def test_a_download_goes_on_where_it_was_cut(client, mine):
    whole = client.get(path_of(mine, "content"))
    assert whole.headers["content-length"] == str(len(ROWS))
    etag = whole.headers["etag"]
    assert etag == f'"{mine["sha256"]}"'
    for asked, part in (("bytes=10-", ROWS[10:]), ("bytes=0-9", ROWS[:10]), ("bytes=-5", ROWS[-5:])):
        reply = client.get(path_of(mine, "content"), headers={"range": asked, "if-range": etag})
        assert (reply.status_code, reply.content) == (206, part)
    other = client.get(path_of(mine, "content"), headers={"range": "bytes=10-", "if-range": '"other"'})
    assert (other.status_code, other.content) == (200, ROWS)
    head = client.head(path_of(mine, "content"))
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(ROWS)))


def test_a_dataset_moves_and_keeps_its_id(client, services, mine):
    reply = client.post(path_of(mine, "move"), json={"bucket": "lora-datasets"})
    assert (reply.status_code, reply.json()) == (200, mine | {"bucket": "lora-datasets"})
    assert services.buckets.storage("mine").keys("blobs/") == []
    assert client.get(path_of(mine, "content")).content == ROWS
    again = client.post(path_of(mine, "move"), json={"bucket": "lora-datasets"})
    assert again.status_code == 200
    assert client.post(path_of(mine, "move"), json={"bucket": "mine"}).json() == mine
    assert client.get(path_of(mine, "content")).content == ROWS


def test_a_move_that_cannot_be_is_refused(client, mine):
    for body, answer in (
        ({"bucket": "nowhere"}, (422, "invalid_parameter")),
        ({}, (422, "invalid_body")),
        ({"bucket": "mine", "x": 1}, (422, "unknown_field")),
    ):
        assert code_of(client.post(path_of(mine, "move"), json=body)) == answer
    assert code_of(client.post(f"{DATASETS}/ds-none/move", json={"bucket": "mine"})) == (404, "dataset_not_found")
    job = client.post("/api/training/jobs", json={"model": "org/tiny-model", "dataset": mine["id"]}).json()
    assert code_of(client.post(path_of(mine, "move"), json={"bucket": "lora-datasets"})) == (409, "dataset_in_use")
    assert code_of(client.delete(path_of(mine))) == (409, "dataset_in_use")
    client.post(f"/api/training/jobs/{job['id']}/cancel")
    assert client.post(path_of(mine, "move"), json={"bucket": "lora-datasets"}).status_code == 200


def test_whoever_has_a_signed_url_may_download(client, mine, url):
    reply = client.post(path_of(mine, "url"))
    assert reply.status_code == 200, reply.text
    signed = reply.json()
    expires_in = datetime.fromisoformat(signed["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < expires_in <= timedelta(hours=24)
    if url:
        assert SECRET not in signed["url"]
        with urllib.request.urlopen(signed["url"]) as found:
            assert found.read() == ROWS
        return
    found = client.get(signed["url"])
    assert (found.status_code, found.content) == (200, ROWS)
    assert found.headers["content-disposition"] == 'attachment; filename="chat.jsonl"'
    part = client.get(signed["url"], headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, ROWS[:10])


@pytest.mark.parametrize("url", [""])
def test_a_signed_url_expires_and_cannot_be_forged(client, settings, mine):
    signer = UrlSigner.open(settings)
    now = datetime.now(UTC)
    expired = signer.sign(mine["id"], now - timedelta(seconds=1))
    assert code_of(client.get(f"/api/downloads/{expired}")) == (410, "signed_url_expired")
    good = signer.sign(mine["id"], now + timedelta(hours=1))
    forged = [
        good[:-2] + ("aa" if good[-2:] != "aa" else "bb"),
        f"x{good}",
        good.rpartition(".")[0],
        "x",
        UrlSigner(b"another key").sign(mine["id"], now + timedelta(hours=1)),
    ]
    for token in forged:
        assert code_of(client.get(f"/api/downloads/{token}")) == (403, "signed_url_invalid")
    client.delete(path_of(mine))
    assert code_of(client.get(f"/api/downloads/{good}")) == (404, "dataset_not_found")


@pytest.mark.parametrize("url", [""])
def test_what_is_signed_for_another_use_is_of_no_use(client, settings, mine, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("serve.datasets.signed_urls.DATASET_CONTENT", "ftlab.another-use")
        other = UrlSigner.open(settings).sign(mine["id"], datetime.now(UTC) + timedelta(hours=1))
    assert code_of(client.get(f"/api/downloads/{other}")) == (403, "signed_url_invalid")


@pytest.mark.parametrize("url", [""])
def test_the_key_is_for_its_owner_alone_and_stays(client, settings, mine):
    token = UrlSigner.open(settings).sign(mine["id"], datetime.now(UTC) + timedelta(hours=1))
    assert (settings.home / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert client.get(f"/api/downloads/{token}").status_code == 200
    assert [name for name in os.listdir(settings.home) if KEY_FILE in name] == [KEY_FILE]


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({"expires_s": 0}, (422, "invalid_body")),
        ({"expires_s": 7 * 24 * 3600 + 1}, (422, "invalid_body")),
        ({"expires_s": True}, (422, "invalid_body")),
        ({"expires": 5}, (422, "unknown_field")),
    ],
)
@pytest.mark.parametrize("url", [""])
def test_a_bad_time_is_refused(client, mine, body, answer):
    assert code_of(client.post(path_of(mine, "url"), json=body)) == answer


def test_a_bucket_that_is_away_is_said_to_be_and_nothing_stays(client, settings, mine, monkeypatch, services, url):
    if not url:
        pytest.skip("a folder is always there")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("tracking.buckets.remote.OPTIONS", {"s3": {"config_kwargs": {"retries": {"max_attempts": 0}}}})
    for name in ("buckets", "dataset_files"):
        vars(services).pop(name)
    for reply in (send(client, bucket="mine"), client.get(path_of(mine, "content"))):
        assert code_of(reply) == (503, "bucket_unavailable")
        assert reply.headers["retry-after"]
        assert "127.0.0.1:9" not in reply.text
    assert files(settings) == []
    assert client.get(path_of(mine)).json() == mine
