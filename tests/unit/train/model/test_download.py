"""Base models that come from the hub, fetched from a server that speaks the hub's API."""

import errno
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from ftlab.errors import FineTuneLabError, ServiceUnavailableError
from ftlab.schemas import JobConfig
from ftlab.status import ReasonCode
from tests.support.huggingface_server import HubServer, Repository
from tests.support.model_folders import write_adapter, write_model
from train.failures.classify import classify
from train.failures.errors import DiskFullError
from train.model import download
from train.model.base_model import BaseModel, find_model, fingerprint
from train.model.download import fetch, fetched
from train.model.folder import facts_of
from train.model.load import load_model
from train.model.tokenizer import load_tokenizer


@pytest.fixture
def repository(server: HubServer) -> Repository:
    return server.repositories["org/name"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_training_reads_is_fetched_and_nothing_else(server, repository):
    for name in ("pytorch_model.bin", "consolidated.safetensors", "modeling.py", "photo.png"):
        (repository.folder / name).write_bytes(b"x")
    folder = fetch("org/name", None)
    wanted = contents(repository.folder)
    for name in ("pytorch_model.bin", "consolidated.safetensors", "modeling.py", "photo.png", "README.md"):
        del wanted[name]
    assert contents(folder) == wanted
    assert folder.name == repository.sha
    assert fetched("org/name", None) == fetched("org/name", repository.sha) == folder


def test_a_commit_that_is_here_asks_nobody(server, repository):
    folder = fetch("org/name", repository.sha)
    server.requests.clear()
    assert fetch("org/name", repository.sha) == folder
    assert server.requests == []


def test_what_was_fetched_stands_in_for_a_hub_that_is_away(server):
    folder = fetch("org/name", None)
    server.answers_with = 503
    assert fetch("org/name", None) == folder
    with pytest.raises(ServiceUnavailableError, match="HfHubHTTPError") as caught:
        fetch("org/other", None)
    assert classify(caught.value, Path("/")).reason is ReasonCode.MODEL_NOT_FOUND


def test_a_download_that_was_cut_off_is_finished(server, repository):
    folder = fetch("org/name", None)
    (folder / "model-00002-of-00002.safetensors").unlink()
    assert fetched("org/name", None) is None
    assert fetch("org/name", repository.sha) == folder
    assert fetched("org/name", None) == folder


def test_a_model_that_does_not_fit_is_not_fetched(server, repository, monkeypatch):
    size = sum(path.stat().st_size for path in repository.files() if path.name != "README.md")
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, size - 1))
    with pytest.raises(DiskFullError, match=f"org/name takes {size:,} bytes.* has {size - 1:,} bytes free") as caught:
        fetch("org/name", None)
    assert classify(caught.value, Path("/")).reason is ReasonCode.DISK_FULL
    assert server.gets("/resolve/") == 0
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, size))
    folder = fetch("org/name", None)
    (folder / "config.json").unlink()
    # What is here already takes no more space.
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 1000))
    assert fetch("org/name", None) == folder


@pytest.mark.parametrize(
    ("name", "revision", "code", "reason"),
    [
        ("org/none", None, "model_not_found", ReasonCode.MODEL_NOT_FOUND),
        ("org/name", "v9", "model_not_found", ReasonCode.MODEL_NOT_FOUND),
        ("org/gated", None, "model_access_denied", ReasonCode.MODEL_ACCESS_DENIED),
        ("org/vision", None, "unsupported_model", ReasonCode.CONFIG_INVALID),
    ],
)
def test_refusals_reach_the_job_before_anything_is_loaded(server, repository, tmp_path, name, revision, code, reason):
    server.repositories["org/gated"] = Repository(repository.folder, gated="manual")
    vision = write_model(tmp_path / "vision", config={"model_type": "vit"})
    server.repositories["org/vision"] = Repository(vision)
    with pytest.raises(FineTuneLabError) as caught:
        fetch(name, revision)
    assert caught.value.code == code
    assert classify(caught.value, tmp_path).reason is reason


def test_a_disk_that_fills_up_meanwhile_is_told_as_what_it_is(server, monkeypatch, tmp_path):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/cache")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(OSError, match="No space") as caught:
        fetch("org/name", None)
    assert classify(caught.value, tmp_path).reason is ReasonCode.DISK_FULL


def test_the_revision_of_the_submit_is_the_one_that_is_trained(server, repository, tmp_path):
    first = repository.sha
    assert find_model("org/name", tmp_path, pinned=first).revision == first
    (repository.folder / "config.json").write_text('{"model_type": "llama", "changed": true}')
    assert repository.sha != first
    assert find_model("org/name", tmp_path, pinned=first).revision == first
    assert find_model("org/name@main", tmp_path).revision == repository.sha
    # Also when somebody puts the model into the models folder meanwhile.
    local = write_model(tmp_path / "org--name")
    assert find_model("org/name", tmp_path, pinned=first).revision == first
    assert find_model("org/name", tmp_path) == BaseModel("org/name", local, fingerprint(local))
    assert find_model("org/name@main", tmp_path).revision == repository.sha


def test_the_listing_waits_only_so_long(server, monkeypatch):
    folder = fetch("org/name", None)
    monkeypatch.setattr(download, "LISTING_TIMEOUT_S", 0.2)
    server.delay_s = 2.0
    assert fetch("org/name", None) == folder


def test_what_was_fetched_can_be_loaded(server, models, tmp_path):
    server.repositories["org/far"] = Repository(models / "org--tiny", num_parameters=None)
    base = find_model("org/far", tmp_path)
    assert base.folder.parent.parent == tmp_path / "cache" / "models--org--far"
    config = JobConfig(model="org/far", dataset="ds-1")
    assert load_model(base, config, use_cuda=False).num_parameters() == facts_of(base.folder).parameters
    assert load_tokenizer(base).chat_template


def test_an_adapter_of_the_hub_is_fetched_with_its_base(server, repository, tmp_path):
    adapter = Repository(write_adapter(tmp_path / "adapter", "org/name", revision=repository.sha))
    server.repositories["org/adapter"] = adapter
    (adapter.folder / "adapter_model.bin").write_bytes(b"x")
    found = find_model(f"org/adapter@{adapter.sha}", tmp_path, pinned=repository.sha)
    assert (found.name, found.revision, found.adapter.name) == ("org/name", repository.sha, adapter.sha)
    assert set(contents(found.adapter)) == {"adapter_config.json", "adapter_model.safetensors"}
    server.answers_with = 503
    assert find_model(f"org/adapter@{adapter.sha}", tmp_path, pinned=repository.sha) == found
    # The base may be in the models folder, whose revision is then the pinned one.
    server.answers_with = None
    local = write_model(tmp_path / "org--local")
    other = server.repositories["org/other"] = Repository(write_adapter(tmp_path / "other", "org/local"))
    found = find_model(f"org/other@{other.sha}", tmp_path, pinned=fingerprint(local))
    assert (found.folder, found.revision) == (local, fingerprint(local))


def test_an_adapter_that_the_submit_could_not_check_is_refused(server, tmp_path):
    server.repositories["org/adapter"] = Repository(write_adapter(tmp_path / "adapter", "org/name"))
    with pytest.raises(ServiceUnavailableError, match="Submit the job again"):
        find_model("org/adapter", tmp_path)
    moved = server.repositories["org/moved"] = Repository(write_adapter(tmp_path / "moved", "/etc"))
    with pytest.raises(FineTuneLabError, match="not on the hub"):
        find_model(f"org/moved@{moved.sha}", tmp_path)
