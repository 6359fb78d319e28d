"""What the hub is asked and what its answers mean, against a server that speaks the hub's API."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ftlab.errors import FineTuneLabError
from serve.models import huggingface_lookup
from serve.models.huggingface_lookup import HubModel, ask_hub
from tests.support.huggingface_server import TOKEN, HubServer, Repository
from tests.support.model_folders import write_model
from tests.support.service_fakes import running
from train.model.files import ModelFacts
from train.model.hub_errors import HubAwayError, HubOfflineError


@pytest.fixture
def server() -> HubServer:
    return HubServer()


@pytest.fixture
def endpoint(server: HubServer) -> Iterator[str]:
    with running(server.app) as url:
        yield url


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the variable nor a login of whoever runs the tests."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))


@pytest.fixture
def repository(server: HubServer, tmp_path: Path) -> Repository:
    server.repositories["org/name"] = Repository(write_model(tmp_path / "repository"))
    return server.repositories["org/name"]


def refusal(endpoint: str, repo: str = "org/name", revision: str | None = None) -> tuple[int, str]:
    with pytest.raises(FineTuneLabError) as caught:
        ask_hub(repo, revision, endpoint)
    assert caught.value.param == "model"
    assert endpoint not in caught.value.message
    return caught.value.status, caught.value.code


def test_a_model_is_described_from_its_listing_and_small_files(endpoint, server, repository):
    size = sum(path.stat().st_size for path in repository.files() if path.name != "README.md")
    facts = ModelFacts("LlamaForCausalLM", 8, size, has_chat_template=True, licence="apache-2.0")
    assert ask_hub("org/name", None, endpoint) == HubModel(repository.sha, facts)
    assert ask_hub("org/name", repository.sha, endpoint).revision == repository.sha
    assert server.gets("model.safetensors") == server.gets("README") == 0


def test_headers_are_read_where_the_hub_has_not_counted(endpoint, server, tmp_path):
    folder = write_model(tmp_path / "sharded", num_shards=3)
    server.repositories["org/sharded"] = Repository(folder, num_parameters=None, licence=None)
    found = ask_hub("org/sharded", None, endpoint)
    assert (found.facts.parameters, found.facts.licence) == (24, None)
    (folder / "model-00002-of-00003.safetensors").write_bytes(b"torn")
    assert refusal(endpoint, "org/sharded") == (422, "model_invalid")
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert refusal(endpoint, "org/sharded") == (422, "model_invalid")


def test_what_is_not_there(endpoint, repository, monkeypatch):
    assert refusal(endpoint, "org/none") == (404, "model_not_found")
    assert refusal(endpoint, "org/name", "v9") == (404, "model_not_found")
    assert refusal(endpoint, "org/na--me") == (422, "invalid_model_id")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert refusal(endpoint, "org/none") == (404, "model_not_found")


@pytest.mark.parametrize("gated", ["auto", "manual"])
def test_a_gated_model_needs_a_token_that_was_let_in(endpoint, server, repository, monkeypatch, gated):
    repository.gated = gated
    assert refusal(endpoint) == (403, "model_access_denied")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert refusal(endpoint) == (403, "model_access_denied")
    repository.allowed_tokens = {TOKEN}
    assert ask_hub("org/name", None, endpoint).revision == repository.sha
    assert server.requests[-1][2] == TOKEN


def test_a_private_model_is_as_if_it_were_not_there(endpoint, repository, monkeypatch):
    repository.is_private, repository.allowed_tokens = True, {TOKEN}
    assert refusal(endpoint) == (404, "model_not_found")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert ask_hub("org/name", None, endpoint).revision == repository.sha


@pytest.mark.parametrize(
    ("status", "message"), [(403, "Forbidden"), (401, "Invalid credentials in Authorization header")]
)
def test_a_token_that_the_hub_refuses(endpoint, server, status, message):
    server.answers_with, server.says = status, message
    assert refusal(endpoint) == (403, "model_access_denied")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_outage_is_no_answer(endpoint, server, repository, status):
    server.answers_with = status
    with pytest.raises(HubAwayError):
        ask_hub("org/name", None, endpoint)


def test_a_hub_that_does_not_answer_in_time(endpoint, server, repository, monkeypatch):
    monkeypatch.setattr(huggingface_lookup, "REQUEST_TIMEOUT_S", 0.2)
    server.delay_s = 2.0
    with pytest.raises(HubAwayError):
        ask_hub("org/name", None, endpoint)


def test_nothing_at_the_address(monkeypatch):
    with pytest.raises(HubAwayError, match="ConnectError"):
        ask_hub("org/name", None, "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(HubOfflineError):
        ask_hub("org/name", None, "http://127.0.0.1:9")


def test_an_outage_between_two_requests_is_none_of_the_models_fault(endpoint, server, repository, monkeypatch):
    (repository.folder / "config.json").write_bytes((repository.folder / "config.json").read_bytes() + b" " * 10)
    read = huggingface_lookup._HubFiles.read

    def cut(files, name, limit):
        content = read(files, name, limit)
        server.answers_with = 500
        return content

    monkeypatch.setattr(huggingface_lookup._HubFiles, "read", cut)
    with pytest.raises(HubAwayError):
        ask_hub("org/name", None, endpoint)
