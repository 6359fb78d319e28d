"""Artifacts are uploaded to a stand-in for the hub over real connections, with the hub's own client."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import huggingface_hub.utils._http
import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from ftlab.client import Client
from ftlab.errors import ConflictError, NotFoundError, PermissionDeniedError
from ftlab.schemas.hub import HubPush, PushProgress
from serve.app import create_app
from serve.context import Services
from serve.jobs.exports import push_routes
from serve.jobs.exports.hub_upload import UploadStopped, open_repository, upload
from tests.support.export_artifacts import CARD, add_export, write_artifact
from tests.support.huggingface_server import HubServer, Repository
from tests.support.service_fakes import running

TOKEN = "hf_canaryofapush00000000000000000"
WEIGHTS = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()
REPO = "me/sums"
PUSH = {"repo": REPO, "token": TOKEN}
ADDRESS = "/api/training/jobs/job-export/exports/gguf-q8_0/push"


@pytest.fixture
def model_hub(tmp_path: Path) -> Iterator[HubServer]:
    hub = HubServer()
    hub.uploads.folder = tmp_path / "hub"
    hub.uploads.owners[TOKEN] = {"me"}
    with running(hub.app) as url:
        hub.url = url
        yield hub


@pytest.fixture
def services(services: Services, model_hub: HubServer) -> Services:
    return replace(services, hub_endpoint=model_hub.url)


@pytest.fixture
def artifact(services: Services) -> Path:
    """The artifact of an export."""
    add_export(services.store, "job-export")
    return write_artifact(services.settings.home, "job-export", files={"model.gguf": WEIGHTS, "Modelfile": b"FROM x"})


@pytest.fixture
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's client waits seconds between its retries."""
    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda _: None)


def push(client: TestClient, **changes: Any) -> list[dict[str, Any]]:
    """The messages of an upload."""
    reply = client.post(ADDRESS, json=PUSH | changes)
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line.removeprefix("data: ")) for line in reply.text.splitlines() if line.startswith("data: ")]


def refusal(reply: Any, status: int) -> tuple[str, str, str]:
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    return error["code"], error["param"], error["message"]


def test_an_artifact_is_one_commit_of_the_hub(client: TestClient, artifact: Path, model_hub: HubServer):
    done = push(client)[-1]
    assert done["type"] == "done"
    repository = model_hub.repositories[REPO]
    assert done["result"] == {
        "repo": REPO,
        "url": f"{model_hub.url}/{REPO}",
        "commit": repository.sha,
        "is_new": True,
        "num_files": 4,
        "size_bytes": sum((artifact / name).stat().st_size for name in sent_files(artifact)),
    }
    assert repository.is_private
    assert {path.name for path in repository.files()} == {".gitattributes", *sent_files(artifact)}
    assert (repository.folder / "model.gguf").read_bytes() == WEIGHTS
    assert (repository.folder / "README.md").read_text() == CARD
    assert model_hub.uploads.messages == ["gguf-q8_0 of job-export-name, exported by FineTune Lab in job job-export"]


def test_only_who_asks_for_it_publishes(client: TestClient, artifact: Path, model_hub: HubServer):
    assert push(client, private=False)[-1]["type"] == "done"
    assert not model_hub.repositories[REPO].is_private


def sent_files(artifact: Path) -> set[str]:
    return {path.name for path in artifact.iterdir()} - {"manifest.json"}


def test_a_second_upload_sends_nothing_again(client: TestClient, artifact: Path, model_hub: HubServer):
    first = push(client)[-1]["result"]
    second = push(client)[-1]["result"]
    assert (first["is_new"], second["is_new"], second["commit"]) == (True, False, first["commit"])
    assert model_hub.uploads.received == [SHA256]
    assert len(model_hub.uploads.messages) == 1


def test_an_upload_that_failed_is_told_and_continued(
    client: TestClient, artifact: Path, model_hub: HubServer, no_sleep: None
):
    model_hub.uploads.fails_with = {"put": [503, 502], "commit": [500]}
    failed = push(client)[-1]
    assert (failed["type"], failed["status"], failed["error"]["code"]) == ("failed", 503, "hub_away")
    assert "HTTP status 500" in failed["error"]["message"]
    assert model_hub.uploads.received == [SHA256]  # after two retries
    assert [path.name for path in model_hub.repositories[REPO].files()] == [".gitattributes"]
    assert push(client)[-1]["type"] == "done"
    assert model_hub.uploads.received == [SHA256]


def test_a_refusal_is_one_sentence(client: TestClient, artifact: Path, model_hub: HubServer):
    for status, ours, code in (
        (401, 403, "hub_access_denied"),
        (403, 403, "hub_access_denied"),
        (404, 404, "hub_not_found"),
        (413, 422, "hub_refused"),
        (422, 422, "hub_refused"),
        (429, 429, "hub_rate_limited"),
        (500, 503, "hub_away"),
    ):
        model_hub.uploads.fails_with["create"] = [status]
        found, _, message = refusal(client.post(ADDRESS, json=PUSH), ours)
        assert (found, message[-1]) == (code, "."), status
        assert TOKEN not in message
    model_hub.uploads.fails_with["create"] = [422]
    assert "A limit of the hub" in refusal(client.post(ADDRESS, json=PUSH), 422)[2]


def test_a_token_of_somebody_else_is_refused(client: TestClient, artifact: Path):
    for changes in ({"token": "hf_wrong"}, {"repo": "other/sums"}):
        assert refusal(client.post(ADDRESS, json=PUSH | changes), 403)[0] == "hub_access_denied"


def test_a_repository_that_cannot_take_the_artifact_is_refused(
    client: TestClient, artifact: Path, model_hub: HubServer, tmp_path: Path
):
    folder = tmp_path / "public"
    folder.mkdir()
    model_hub.repositories[REPO] = Repository(folder)
    code, param, message = refusal(client.post(ADDRESS, json=PUSH), 409)
    assert (code, param) == ("hub_conflict", "private")
    assert message.startswith("The repository exists and is public. Set 'private' to false (--public)")
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"older")
    code, param, message = refusal(client.post(ADDRESS, json=PUSH | {"private": False}), 409)
    assert (code, param) == ("hub_conflict", "repo")
    assert "has other weights, model-00001-of-00002.safetensors," in message
    (folder / "model-00001-of-00002.safetensors").unlink()
    model_hub.uploads.ignored = {"model.gguf"}
    failed = push(client, private=False)[-1]
    assert (failed["status"], failed["error"]["code"]) == (409, "hub_conflict")
    assert "model.gguf is not in the repository" in failed["error"]["message"]


def test_a_commit_in_between_is_told(services: Services, artifact: Path, model_hub: HubServer):
    target = open_repository(HubPush(repo=REPO, token=SecretStr(TOKEN)), artifact, services.hub_endpoint)
    (model_hub.repositories[REPO].folder / "notes.txt").write_text("theirs")
    with pytest.raises(ConflictError, match="changed by somebody else"):
        upload(target, artifact, "sums", lambda _: None)


def test_files_that_changed_on_the_disk_are_not_uploaded(client: TestClient, artifact: Path, model_hub: HubServer):
    (artifact / "model.gguf").write_bytes(WEIGHTS[:-1] + b"!")
    failed = push(client)[-1]
    assert (failed["status"], failed["error"]["code"]) == (409, "artifact_changed")
    assert model_hub.uploads.received == []


def test_an_upload_ends_when_its_caller_has_gone(services: Services, artifact: Path, model_hub: HubServer):
    seen: list[PushProgress] = []

    def leave(progress: PushProgress) -> None:
        seen.append(progress)
        if progress.phase == "uploading" and progress.done_bytes > 0:
            raise UploadStopped

    target = open_repository(HubPush(repo=REPO, token=SecretStr(TOKEN)), artifact, services.hub_endpoint)
    assert TOKEN not in repr(target)
    with pytest.raises(UploadStopped):
        upload(target, artifact, "sums", leave)
    assert [progress.phase for progress in seen].count("uploading") < 5
    assert seen[-1].done_bytes < seen[-1].total_bytes
    assert (model_hub.uploads.received, model_hub.uploads.messages) == ([], [])


def test_an_upload_ends_with_its_connection(services: Services, artifact: Path, monkeypatch: pytest.MonkeyPatch):
    has_ended = threading.Event()

    def endless(*parts: Any) -> None:
        try:
            while True:
                parts[-1](PushProgress(phase="uploading", done_bytes=1, total_bytes=2))
                time.sleep(0.001)
        except UploadStopped:
            has_ended.set()
            raise

    monkeypatch.setattr(push_routes, "INTERVAL_S", 0.01)
    monkeypatch.setattr(push_routes, "upload", endless)
    with running(create_app(services)) as url:
        with httpx2.stream("POST", f"{url}{ADDRESS}", json=PUSH) as reply:
            assert next(reply.iter_lines()) == "event: progress"
        assert has_ended.wait(10)


def test_what_is_no_upload_is_refused(client: TestClient, artifact: Path):
    for changes, param in (
        ({"repo": "sums"}, "repo"),
        ({"repo": "../../x/y"}, "repo"),
        ({"token": ""}, "token"),
        ({"token": "hf_a\nb"}, "token"),
        ({"token": "hf_é"}, "token"),
        ({"token": None}, "token"),
        ({"visibility": "x"}, "visibility"),
    ):
        _, found, message = refusal(client.post(ADDRESS, json=PUSH | changes), 422)
        assert found == param
        assert "hf_" not in message
    missing = ADDRESS.replace("gguf-q8_0", "merged")
    assert refusal(client.post(missing, json=PUSH), 404)[0] == "artifact_not_found"


def test_more_uploads_than_threads_are_refused(client: TestClient, services: Services, artifact: Path):
    services.hub_uploads.total_tokens = 0
    assert refusal(client.post(ADDRESS, json=PUSH), 503)[0] == "hub_away"


def test_the_client_uploads_and_reports_progress(services: Services, artifact: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(push_routes, "INTERVAL_S", 0.001)
    seen: list[tuple[int, int | None]] = []
    with running(create_app(services)) as url, Client(url, "") as sdk:
        done = sdk.exports.push(
            "job-export", "gguf-q8_0", REPO, token=TOKEN, on_progress=lambda *progress: seen.append(progress)
        )
        assert (done.repo, done.num_files, done.is_new) == (REPO, 4, True)
        with pytest.raises(PermissionDeniedError) as caught:
            sdk.exports.push("job-export", "gguf-q8_0", REPO, token="hf_wrong")
        assert caught.value.code == "hub_access_denied"
        (artifact / "model.gguf").unlink()
        with pytest.raises(NotFoundError, match="no longer exists"):
            sdk.exports.push("job-export", "gguf-q8_0", REPO, token=TOKEN)
    assert seen == sorted(seen, key=lambda each: each[0])
