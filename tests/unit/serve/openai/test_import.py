"""`ftlab import openai`, from a stub of OpenAI into a service without Ray."""

import json
import shutil
from collections.abc import Iterator

import pytest

from ftlab.errors import AuthenticationError, UnreachableError
from ftlab.openai.drafts import draft_of
from ftlab.openai.fetch import MAX_TRIES, OpenAiAccount
from ftlab.schemas.job_file import parse_job_config, read_yaml
from tests.support.openai_stub import KEY, OpenAiStub
from tests.support.service_fakes import running
from tests.unit.ftlab.cli_runs import Cli
from tests.unit.serve.openai.conftest import BASE, jsonl

PAIR = {
    "input": {"messages": [{"role": "user", "content": "Hi"}]},
    "preferred_output": [{"role": "assistant", "content": "Hello"}],
    "non_preferred_output": [{"role": "assistant", "content": "What?"}],
}
DPO = {"type": "dpo", "dpo": {"hyperparameters": {"n_epochs": 1, "batch_size": "auto", "beta": 0.3}}}


@pytest.fixture
def stub() -> OpenAiStub:
    stub = OpenAiStub()
    stub.add_file("file-train", jsonl(12), "train.jsonl")
    stub.add_file("file-held", jsonl(3, "Bye"), "held.jsonl")
    stub.add_file("file-dpo", (json.dumps(PAIR) + "\n").encode() * 4, "pairs.jsonl")
    stub.add_file("file-other", b"x", "notes.pdf", "assistants")
    stub.add_results("file-results", "step,train_loss\n1,0.5\n")
    stub.add_job("ftjob-sft", training_file="file-train", validation_file="file-held", user_provided_suffix="tone")
    stub.add_job("ftjob-dpo", training_file="file-dpo", method=DPO)
    stub.add_job("ftjob-lost", training_file="file-gone")
    stub.add_job("ftjob-rft", training_file="file-train", method={"type": "reinforcement"})
    return stub


@pytest.fixture
def source(stub: OpenAiStub) -> Iterator[str]:
    with running(stub.app) as url:
        yield f"{url}/v1"


@pytest.fixture
def cli(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    return Cli(url.removesuffix("/v1"), monkeypatch, capsys)


def test_an_organisation_is_imported_and_its_jobs_can_be_submitted(cli: Cli, stub: OpenAiStub, source: str, tmp_path):
    folder = tmp_path / "from-openai"
    command = ("import", "openai", folder, "--url", source, "--model", f"gpt-4o-mini-2024-07-18={BASE}")
    run = cli(*command, "--json")
    assert run.code == 0, run.err
    datasets = run.json["datasets"]
    assert set(datasets) == {"file-train", "file-held", "file-dpo"}
    assert (folder / "file-train.jsonl").read_bytes() == jsonl(12)
    assert (folder / "file-results.csv").read_text() == "step,train_loss\n1,0.5\n"
    assert not (folder / "file-other.json").exists()
    assert "ftjob-lost has no job file: its training file file-gone is not among the files." in run.err
    assert "ftjob-rft has no job file" in run.err

    draft = folder / "drafts" / "ftjob-sft.yaml"
    config = parse_job_config(read_yaml(draft.read_text(), "draft"))
    assert (config.name, config.model, config.dataset) == ("tone", BASE, datasets["file-train"])
    assert config.eval_dataset == datasets["file-held"]
    training = config.training
    assert (training.num_train_epochs, training.learning_rate, training.seed) == (3.0, 1e-4, 7)
    assert (training.per_device_train_batch_size, training.gradient_accumulation_steps) == (6, 2)
    submitted = cli("submit", draft, "--json")
    assert submitted.code == 0, submitted.err
    assert submitted.json["name"] == "tone"
    dpo = parse_job_config(read_yaml((folder / "drafts" / "ftjob-dpo.yaml").read_text(), "draft"))
    assert (dpo.method.type, dpo.method.beta) == ("dpo", 0.3)

    draft.write_text("model: mine\n")
    asked = dict(stub.asked)
    again = cli(*command, "--json")
    assert again.json["datasets"] == datasets
    assert draft.read_text() == "model: mine\n"
    assert {path for path in stub.asked if path.endswith("/content")} == {
        path for path in asked if path.endswith("/content") and stub.asked[path] == 1
    }


def test_a_folder_of_files_alone_is_enough(cli: Cli, tmp_path):
    folder = tmp_path / "saved"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "train.jsonl").write_bytes(jsonl(12))
    (folder / "file-held.jsonl").write_bytes(jsonl(3, "Bye"))
    (folder / "broken.jsonl").write_bytes(b'{"messages": []}\n')
    (folder / "broken.json").write_text("{")
    file = {"id": "file-train", "object": "file", "filename": "train.jsonl", "purpose": "fine-tune"}
    job = {"id": "ftjob-a", "object": "fine_tuning.job", "model": "gpt-4o", "training_file": "file-train"}
    job |= {
        "validation_file": "file-held",
        "hyperparameters": {"n_epochs": "auto"},
        "fine_tuned_model": "ft:a:b:tone:c",
    }
    (folder / "files.json").write_text(json.dumps({"object": "list", "data": [file]}))
    (folder / "job.json").write_text(json.dumps(job))
    run = cli("import", "openai", folder, "--offline")
    assert run.code == 1
    assert "broken.jsonl (broken.jsonl) cannot be used: " in run.err
    assert "line 1" in run.err
    config = parse_job_config(read_yaml((folder / "drafts" / "ftjob-a.yaml").read_text(), "draft"))
    assert (config.name, config.model, config.training.num_train_epochs) == ("tone", "gpt-4o", "auto")
    refused = cli("submit", folder / "drafts" / "ftjob-a.yaml")
    assert refused.code != 0
    assert "model must be a hub id" in refused.err
    assert cli("import", "openai", tmp_path / "nothing", "--offline").code == 2


def test_a_copy_that_was_cut_continues(stub: OpenAiStub, source: str, tmp_path):
    pauses: list[float] = []
    said: list[str] = []
    account = OpenAiAccount(source, KEY, pauses.append)
    stub.failures = {"files/file-held/content": [500] * MAX_TRIES, "files": [429]}
    with pytest.raises(UnreachableError, match="HTTP status 500"):
        account.copy(tmp_path / "copy", said.append)
    assert len(pauses) == MAX_TRIES
    there = {path.name for path in (tmp_path / "copy").glob("*.jsonl")}
    assert there == {"file-dpo.jsonl"}
    stub.failures = {"files/file-held/content": [400]}
    assert account.copy(tmp_path / "copy", said.append) > 0
    assert "file-held (held.jsonl) cannot be downloaded: The server had an error." in said
    assert stub.asked["files/file-dpo/content"] == 1
    account.copy(tmp_path / "copy", said.append)
    assert (tmp_path / "copy" / "file-held.jsonl").read_bytes() == jsonl(3, "Bye")
    account.close()
    shutil.rmtree(tmp_path / "copy")


def test_a_wrong_key_and_a_missing_one_are_reported(cli: Cli, source: str, tmp_path, monkeypatch):
    with pytest.raises(AuthenticationError, match="Incorrect API key"):
        OpenAiAccount(source, "wrong").copy(tmp_path, print)
    run = cli("import", "openai", tmp_path / "a", "--url", source, "--api-key", "wrong")
    assert (run.code, "OpenAI does not accept the key" in run.err) == (4, True)
    monkeypatch.delenv("OPENAI_API_KEY")
    run = cli("import", "openai", tmp_path / "a")
    assert (run.code, "OpenAI needs a key" in run.err) == (2, True)
    for model in ("x", "", "=b", "a="):
        assert cli("import", "openai", tmp_path, "--offline", "--model", model).code == 2


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({}, "its training file is not among the files"),
        ({"training_file": "file-a", "hyperparameters": {"n_epochs": 5000}}, "training.num_train_epochs"),
    ],
)
def test_a_job_that_cannot_be_a_draft_says_why(fields, problem):
    draft = draft_of({"id": "ftjob-a", "model": "m"} | fields, {"file-a": "ds-a"}, {})
    assert draft.text is None
    assert problem in (draft.problem or "")
