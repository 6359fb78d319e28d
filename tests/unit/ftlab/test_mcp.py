"""The tools for agents, called by the client of the MCP SDK against the real HTTP service."""

import json
import sys
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from zipfile import ZipFile

import pytest

from cluster.data.requests import WorkState, WorkStatus
from cluster.policy import Fleet
from ftlab.cli.mcp import SKILL_NAME
from ftlab.client import AsyncClient, RetryPolicy
from ftlab.mcp.job_settings import GROUPS
from ftlab.mcp.server import INSTRUCTIONS, build_server
from ftlab.mcp.tool import TOOLS, Door, Effect
from ftlab.schemas import SamplePayload
from ftlab.schemas.job_file import read_yaml
from ftlab.status import JobStatus, ReasonCode
from tests.support.agents import Agent, Refused
from tests.support.committed_folders import commit_folder
from tests.support.documents import ROOT
from tests.support.model_folders import write_model
from tests.support.service_fakes import FakeData
from tests.unit.ftlab.check_documents import REPORT
from tests.unit.ftlab.conftest import in_thread
from tests.unit.serve.jobs.statuses import NOW, bring
from tests.unit.tracking.samples import checkpoint
from tests.unit.train.failures.reports import reported
from tracking.store.records import MetricRecord, ModelRecord, NewEvent
from train.data.tokens.row_lengths import RowLengths

ROW = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello" * 500}]}
QUICK = RetryPolicy(budget_s=10.0, first_delay_s=0.001, max_delay_s=0.01)
CHANGES = {tool.name for tool in TOOLS if tool.effect is not Effect.READS}


@pytest.fixture
def data() -> FakeData:
    data = FakeData()
    data.lengths = [RowLengths(3, 3, 300, 100, {50: 3}, is_exact=True)]
    return data


@pytest.fixture
def world(tmp_path, data):
    with in_thread(tmp_path / "home", data=data) as world:
        yield world


@pytest.fixture
def address(world) -> str:
    return str(world.url(""))


@pytest.fixture(scope="module")
def shared_address(tmp_path_factory):
    """A service for the tests that leave nothing behind which another one could see."""
    with in_thread(tmp_path_factory.mktemp("shared") / "home") as world:
        yield str(world.url(""))


@pytest.fixture
def shared(shared_address) -> Agent:
    return agent_of(shared_address)


def agent_of(address: str, door: Door = Door.STDIO, *, readonly: bool = False, **options) -> Agent:
    """An agent whose server calls the service at this address."""

    @asynccontextmanager
    async def opened(_):
        async with AsyncClient(address, "", retry=QUICK, owner="") as client:
            yield client

    return Agent(lambda: build_server(opened, door, readonly=readonly), **options)


@pytest.fixture
def agent(address) -> Agent:
    return agent_of(address)


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(f"{json.dumps(ROW)}\n" * 3)
    return file


def test_a_whole_life(agent, world, data, rows, tmp_path):
    uploaded = agent("upload_dataset", path=str(rows))
    assert (uploaded["name"], uploaded["num_rows"], uploaded["shape"]) == ("rows.jsonl", 3, "messages")
    assert agent("upload_dataset", path=str(rows))["is_duplicate"]
    [listed] = agent("list_datasets")["datasets"]
    assert listed["id"] == agent("show_dataset", dataset="rows.jsonl")["id"] == uploaded["id"]
    [row] = agent("preview_dataset", dataset=uploaded["id"], rows=1)["rows"]
    assert row["row"]["messages"][1]["content"].endswith("Hello... (cut here)")

    model = str(write_model(tmp_path / "home" / "models" / "org--tiny"))
    assert agent("check_model", model=model)["architecture"] == "LlamaForCausalLM"
    with pytest.raises(Refused, match="still running") as slow:
        agent("check_dataset", dataset=uploaded["id"], model=model, wait_s=0)
    assert slow.value.error["code"] == "wait_timeout"
    data.state = WorkState(WorkStatus.DONE, 3, 3, result=REPORT)
    report = agent("check_dataset", dataset=uploaded["id"], model=model)
    assert (report["has_errors"], report["counts"]["truncated_row"]) == (True, 2)
    assert report["lengths_in_tokens"] == {"mean": 12.5, "p50": 10, "p90": 20, "p99": 30, "longest": 31}

    assert "Rank" in json.dumps(agent("describe_settings", group="lora")["properties"]["r"])
    assert "basic" in [template["name"] for template in agent("list_templates")["templates"]]
    assert "lora_alpha: 32" in agent("show_template", template="basic")["text"]
    config = {"name": "first", "model": model, "dataset": uploaded["id"], "training": {"num_train_epochs": 2}}
    world.coordinator.fleet = Fleet.of_one(4)
    estimate = agent("estimate_job", config=config)
    assert estimate["rows"]["tokens_per_epoch"] == 300
    assert estimate["steps"] >= 1
    tried = agent("submit_job", config=config, dry_run=True)
    assert (tried["submitted"], tried["settings"]["training"]) == (False, {"num_train_epochs": 2.0})
    assert tried["estimate"] == estimate
    assert agent("list_jobs")["jobs"] == []

    submitted = agent("submit_job", config=config, idempotency_key="once")
    assert (submitted["submitted"], submitted["status"], submitted["queue_position"]) == (True, "queued", 1)
    again = agent("submit_job", config=json.dumps(config), idempotency_key="once")
    assert (again["submitted"], again["id"]) == (False, submitted["id"])
    job = submitted["id"]
    assert [found["id"] for found in agent("list_jobs", status=["queued"])["jobs"]] == [job]
    queue = agent("show_queue")
    assert (queue["queued"][0]["job_id"], queue["devices"][0]["free"]) == (job, 4)
    shown = agent("get_job", job="first")
    assert (shown["id"], shown["config"]["dataset"]) == (job, uploaded["id"])
    assert agent("wait_for_job", job=job, wait_s=0)["has_ended"] is False
    assert agent("pause_job", job=job)["status"] == "paused"
    assert agent("wait_for_job", job=job)["status"] == "paused"
    assert agent("resume_job", job=job, config_adjustments={"lora.r": 8})["adjustments"] == ["lora.r 16 -> 8"]

    ref, failure = bring(world.store, job, JobStatus.RUNNING), reported("gpu_memory_evaluation")
    metrics = [MetricRecord(job, "loss", step, 3.0 / step, NOW, ref.attempt) for step in range(1, 101)]
    with world.store.begin() as tx:
        tx.metrics.add(metrics)
        tx.checkpoints.add(ref, checkpoint(job, 100, ref.attempt))
        tx.attempts.end(ref, reason=failure.reason, message=failure.message, now=NOW, failure=failure.to_details())
        tx.jobs.move(ref, JobStatus.FAILED, now=NOW, reason=failure.reason, message=failure.message)
    why = agent("why_job_failed", job=job)
    change = why["suggestions"][0]["changes"][0]
    assert (why["cause"], change["from"], change["to"]) == ("gpu_memory_evaluation", 4, 2)
    series = agent("job_metrics", job=job, max_points=10)["metrics"]["loss"]
    assert (len(series["steps"]), series["values"][-1]) == (10, 0.03)
    assert agent("job_metrics", job=job, names=["los"]) == {
        "metrics": {},
        "other_names": ["loss"],
        "missing_names": ["los"],
    }
    assert any("failed" in line or "memory" in line for line in agent("job_logs", job=job)["lines"])
    assert agent("list_checkpoints", job=job)["checkpoints"][0]["step"] == 100
    assert agent("analyze_job", job=job)["convergence"]["metric"] == "loss"

    second = agent("submit_job", config=config | {"name": "second"}, template="basic")["id"]
    running = bring(world.store, second, JobStatus.RUNNING)
    answers = [NewEvent(SamplePayload(step=1, number=1, prompt="Hi?", text="x" * 5000), datetime.now(UTC))]
    with world.store.begin() as tx:
        tx.events.append(running, answers)
    compared = agent("compare_jobs", jobs=[job, "second"])
    assert [run["name"] for run in compared["runs"]] == ["first", "second"]
    assert len(compared["samples"][0]["answers"][0]["text"]) < 700
    folder = world.settings.home / "jobs" / second / "model"
    commit_folder(folder, {"adapter_model.safetensors": b"weights"})
    with world.store.begin() as tx:
        now = datetime.now(UTC)
        tx.models.add(ModelRecord("mdl-1", "local", second, "tuned", "adapter", "org/tiny", None, 3, folder, None, now))
    assert [model["id"] for model in agent("list_models")["models"]] == ["mdl-1"]
    saved = agent("download_model", job="second", folder=str(tmp_path))
    with ZipFile(saved["path"]) as archive:
        assert archive.read("adapter_model.safetensors") == b"weights"
    with pytest.raises(Refused, match="exists already"):
        agent("download_model", job="second", folder=str(tmp_path))

    assert agent("cancel_job", job="second")["status"] == "cancelling"
    with world.store.begin() as tx:
        tx.attempts.end(running, reason=ReasonCode.OK, message=None, now=NOW)
        tx.jobs.move(running, JobStatus.CANCELLED, now=NOW)
    assert agent("wait_for_job", job=second)["has_ended"]
    with pytest.raises(Refused) as unfinished:
        agent("delete_dataset", dataset=agent("submit_job", config=config | {"name": "third"})["id"])
    assert unfinished.value.error["type"] == "invalid_request_error"
    agent("cancel_job", job="third")
    assert agent("delete_job", job="third")["deleted"].startswith("job-")
    assert agent("delete_dataset", dataset="rows.jsonl") == {"deleted": uploaded["id"]}
    assert agent.called == {tool.name for tool in TOOLS if tool.door in (None, Door.STDIO)}


def test_a_file_as_text_for_an_agent_without_files(shared_address):
    agent = agent_of(shared_address, Door.HTTP)
    uploaded = agent("upload_dataset", name="../../a b.jsonl", content=f"{json.dumps(ROW)}\n")
    assert (uploaded["name"], uploaded["num_rows"]) == ("../../a b.jsonl", 1)
    with pytest.raises(Refused, match="line 2") as caught:
        agent("upload_dataset", name="bad.jsonl", content=f"{json.dumps(ROW)}\nnonsense")
    assert caught.value.error["code"] == "dataset_invalid"
    with pytest.raises(Refused, match="not valid Unicode"):
        agent("upload_dataset", name="bad.jsonl", content="\ud800")
    with pytest.raises(Refused, match="There is no tool 'download_model'"):
        agent("download_model", job="x", folder="/")
    assert "path" not in agent.tools()["upload_dataset"].input_schema["properties"]


def test_what_a_model_reads_of_a_tool(shared):
    tools = shared.tools()
    assert set(tools) == {tool.name for tool in TOOLS if tool.door in (None, Door.STDIO)}
    for tool in TOOLS:
        listed = tools.get(tool.name)
        if listed is None or tool.door is Door.HTTP:
            continue
        hints = listed.annotations
        assert (hints.read_only_hint, hints.destructive_hint) == (
            tool.effect is Effect.READS,
            tool.effect is Effect.DESTROYS,
        )
        assert 20 < len(listed.description) < 600
        assert listed.input_schema["type"] == "object"
        assert listed.input_schema["additionalProperties"] is False
        for name, field in listed.input_schema["properties"].items():
            assert field.get("description"), f"{tool.name}: {name}"
    config = tools["submit_job"].input_schema["properties"]["config"]["properties"]
    assert {"model", "dataset", "method", "training", "lora", "resources"} <= set(config)
    assert "learning_rate" in config["training"]["description"]
    assert len(json.dumps([tool.input_schema for tool in tools.values()])) < 40_000
    for name in (name for name in INSTRUCTIONS.replace(",", " ").replace(";", " ").split() if "_" in name):
        assert name.rstrip(".:") in tools


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_of_settings_is_described(shared, group):
    found = shared("describe_settings", group=group)
    assert all("description" in field or name == "type" for name, field in found["properties"].items())


def test_only_what_changes_nothing(shared_address):
    agent = agent_of(shared_address, readonly=True)
    assert set(agent.tools()) == {tool.name for tool in TOOLS if tool.door in (None, Door.STDIO)} - CHANGES
    with pytest.raises(Refused, match="There is no tool 'submit_job'"):
        agent("submit_job", config={})


@pytest.mark.parametrize(
    ("name", "arguments", "code", "words"),
    [
        ("get_jb", {}, "invalid_parameter", "There is no tool 'get_jb'. Did you mean 'get_job'?"),
        ("get_job", {"id": "x"}, "invalid_parameter", "id is not a known setting"),
        ("get_job", {"job": "job-none"}, "job_not_found", "job-none"),
        ("list_jobs", {"limit": 1000}, "invalid_parameter", "limit must be at most 100"),
        ("job_logs", {"job": "x", "tail": "ten"}, "invalid_parameter", "tail must be a whole number"),
        ("submit_job", {"config": {"model": "a/b", "dataset": "x", "lr": 1}}, "invalid_config", "learning_rate"),
        ("submit_job", {"config": "model: [x"}, "invalid_yaml", "config, line 1"),
        ("submit_job", {"config": "- x"}, "invalid_parameter", "config must be"),
        ("estimate_job", {"config": {}, "template": "none"}, "template_not_found", "none"),
        ("upload_dataset", {"path": "/etc/passwd"}, "invalid_parameter", "'passwd' is not the name of a dataset"),
        ("upload_dataset", {"path": "rows.jsonl"}, "invalid_parameter", "not an absolute path"),
        ("upload_dataset", {"path": "~nobody-of-this-name/rows.jsonl"}, "invalid_parameter", "not an absolute path"),
        ("download_model", {"job": "x", "folder": "."}, "invalid_parameter", "'.' is not an absolute path"),
        ("upload_dataset", {"path": "/nowhere/rows.jsonl"}, "file_not_found", "/nowhere/rows.jsonl"),
        ("describe_settings", {"group": "trainig"}, "invalid_parameter", "Did you mean 'training'?"),
    ],
)
def test_errors_are_sentences(shared, name, arguments, code, words):
    with pytest.raises(Refused) as caught:
        shared(name, **arguments)
    assert caught.value.error["code"] == code
    assert words in str(caught.value)


def test_our_own_mistake_shows_no_traceback(shared, monkeypatch, caplog):
    broken = next(tool for tool in TOOLS if tool.name == "list_jobs")
    monkeypatch.setitem(broken.__dict__, "run", None)
    with pytest.raises(Refused, match="unexpected error") as caught:
        shared("list_jobs")
    assert (caught.value.error["code"], "NoneType" in str(caught.value)) == ("internal_error", False)
    assert "NoneType" in caplog.text


def test_clients_that_begin_with_a_handshake(shared_address):
    agent = agent_of(shared_address, mode="legacy")
    assert agent("list_jobs") == {"jobs": [], "has_more": False}


# The command


def environment(address: str) -> dict[str, str]:
    return {"FTLAB_SERVER": address, "PYTHONPATH": str(ROOT)}


def test_the_command_serves_over_its_streams(shared_address, rows):
    agent = Agent.over_stdio(sys.executable, "-m", "ftlab.cli.main", "mcp", env=environment(shared_address))

    async def life(client):
        names = [tool.name for tool in (await client.list_tools()).tools]
        result = await client.call_tool("upload_dataset", {"path": str(rows)})
        return client.server_info, names, result.structured_content

    info, names, uploaded = agent.run(life)
    assert (info.name, "submit_job" in names, uploaded["num_rows"]) == ("ftlab", True, 3)


def test_the_command_says_at_once_what_is_wrong(cli, monkeypatch, unused_port):
    monkeypatch.setattr("ftlab.cli.mcp.CALL_BUDGET_S", 0.0)
    run = cli("mcp", "--server", f"http://127.0.0.1:{unused_port}")
    assert (run.code, run.out) == (8, "")
    assert run.err.startswith("ftlab: ")
    monkeypatch.delitem(sys.modules, "ftlab.mcp.stdio")
    monkeypatch.delattr("ftlab.mcp.stdio")
    monkeypatch.setitem(sys.modules, "mcp.server.stdio", None)
    run = cli("mcp")
    assert (run.code, "pip install 'ftlab[mcp]'" in run.err) == (2, True)


def test_the_skill(cli, tmp_path):
    text = cli("skill").out
    assert cli("skill", "--json").json == {"name": SKILL_NAME, "text": text}
    _, front, body = text.split("---\n", 2)
    found = read_yaml(front, "SKILL.md")
    assert found["name"] == SKILL_NAME
    assert 50 < len(found["description"]) <= 1024
    assert body.strip().startswith("# ")
    assert cli("skill", "--install", tmp_path).code == 0
    assert (tmp_path / SKILL_NAME / "SKILL.md").read_text() == text
