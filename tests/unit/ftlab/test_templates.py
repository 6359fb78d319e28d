"""Templates: the built-in ones, the commands and the SDK, on the real service."""

import asyncio
import re
import sys
from io import StringIO

import pytest

from ftlab import JobConfig, LoraConfig, errors
from ftlab.client import AsyncClient, Client
from ftlab.schemas.job_file import parse_job_config, read_yaml
from ftlab.schemas.templates import (
    BUILT_IN,
    MAX_CHARS,
    STAND_INS,
    built_in_template,
    check_template,
    check_template_name,
    description_of,
    merged,
)
from tests.unit.ftlab.cli_runs import Cli
from tests.unit.ftlab.conftest import QUICK

ROWS = '{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}\n' * 3
TEXT = "# For support.\ntraining:   # short\n  max_steps: 30\n"


@pytest.fixture
def real(world, monkeypatch, capsys) -> Cli:
    return Cli(world.url(""), monkeypatch, capsys)


@pytest.fixture
def client(world):
    with Client(world.url(""), retry=QUICK) as client:
        yield client


@pytest.fixture
def rows(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text(ROWS)
    return file


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_template_is_valid_and_commented(name):
    template = built_in_template(name)
    check_template(template.text, name)
    assert parse_job_config(STAND_INS | template.config)
    assert 40 < len(template.description) < 120
    assert not template.config.keys() & {"name", "model", "dataset", "eval_dataset"}
    comments = re.findall(r"(?m)^\s*(?:# )?\w+: \S.*?\s# \w", template.text)
    assert len(comments) >= 6, "the settings are explained"


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_setting_that_is_off_in_a_built_in_template_is_one(name):
    text = re.sub(r"(?m)^( *)# (\w+: \d)", r"\1\2", built_in_template(name).text)
    check_template(text, name)


def test_efficient_is_qlora_that_clips_gradients():
    config = parse_job_config(STAND_INS | built_in_template("efficient").config)
    assert config.load_in_4bit
    assert config.training.gradient_checkpointing
    assert 0 < config.training.max_grad_norm < 1
    assert config.training.per_device_train_batch_size == 1


def test_settings_are_merged_by_group():
    base = {"lora": {"r": 8, "lora_alpha": 16}, "dataset": ["a"], "method": {"type": "sft", "packing": True}}
    changes = {"lora": {"r": 4}, "dataset": "b", "method": {"packing": False}}
    assert merged(base, changes) == {
        "lora": {"r": 4, "lora_alpha": 16},
        "dataset": "b",
        "method": {"type": "sft", "packing": False},
    }
    assert merged(base, {"method": {"type": "other"}})["method"] == {"type": "other"}
    assert merged({"lora": None}, {"lora": {"r": 4}}) == {"lora": {"r": 4}}
    assert base["lora"] == {"r": 8, "lora_alpha": 16}


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("# One.\n# Two.\na: 1", "One."),
        ("\ufeff\n#\n  ##  One  \na: 1", "One"),
        ("a: 1\n# later", ""),
        ("", ""),
        ("#" + "x" * 300, "x" * 200),
    ],
)
def test_the_first_comment_describes_a_template(text, description):
    assert description_of(text) == description


@pytest.mark.parametrize(
    "text", ["a: &x [1]\nb: *x", "a: !!set {b}", "- a", "# only", "[" * 3000, "x" * (MAX_CHARS + 1)]
)
def test_text_that_is_refused_before_it_is_sent(text):
    with pytest.raises(errors.InvalidRequestError):
        check_template(text, "mine.yaml")


def test_names_are_checked_before_they_are_sent(client):
    check_template_name("a-1_b.c")
    with pytest.raises(errors.InvalidRequestError, match="lowercase letters"):
        client.templates.save("a/b", TEXT)


def test_ls_show_save_and_rm(real, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(TEXT)
    saved = real("templates", "save", "mine", file)
    assert (saved.code, saved.out) == (0, "")
    assert "ftlab submit --template mine" in saved.err
    listed = [line.split("\t") for line in real("templates", "ls").lines]
    assert listed[0] == ["NAME", "OWNER", "DESCRIPTION"]
    assert [row[0] for row in listed[1:]] == [*BUILT_IN, "mine"]
    assert listed[1][1:] == ["built in", built_in_template("basic").description]
    assert listed[-1][1:] == ["local", "For support."]
    assert [found["name"] for found in real("templates", "ls", "--json").json] == [*BUILT_IN, "mine"]
    assert real("templates", "show", "mine").out == TEXT
    assert real("templates", "show", "qa").out == built_in_template("qa").text
    assert real("templates", "show", "mine", "--json").json["config"] == {"training": {"max_steps": 30}}
    assert "--yes" in real("templates", "rm", "mine").err
    assert real("templates", "rm", "mine", "--yes").code == 0
    assert real("templates", "show", "mine").code == 3
    assert real("templates", "rm", "qa").code == 1


def test_a_text_from_standard_input(real, client, monkeypatch):
    monkeypatch.setattr(sys, "stdin", StringIO(TEXT))
    assert real("templates", "save", "mine", "-").code == 0
    assert client.templates.get("mine").text == TEXT


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine"], "Give a file or --job ID"),
        (["mine", "rows.jsonl", "--job", "x"], "Give a file or --job ID"),
        (["mine", "missing.yaml"], "There is no file"),
        (["Mine", "bad.yaml"], "lowercase letters"),
        (["mine", "bad.yaml"], "training.max_stps is not a known setting. Did you mean 'max_steps'?"),
    ],
)
def test_a_template_that_cannot_be_saved(real, tmp_path, rows, arguments, message):
    (tmp_path / "bad.yaml").write_text("training: {max_stps: 3}")
    run = real("templates", "save", *arguments)
    assert run.code == 2
    assert message in run.err


def test_a_template_from_a_job(real, client, rows):
    dataset = client.datasets.upload(rows).id
    config = {"model": "org/x", "dataset": dataset, "eval_dataset": dataset, "name": "first", "lora": {"r": 4}}
    job = client.jobs.create(config | {"method": {"packing": True}})
    assert real("templates", "save", "again", "--job", "first").code == 0
    text = real("templates", "show", "again").out
    assert text.startswith(f"# Settings of job first ({job.id}).\n")
    assert read_yaml(text, "again") == {
        "model": "org/x",
        "method": {"type": "sft", "packing": True},
        "lora": {"r": 4},
    }


def test_submit_with_a_template(real, client, rows, tmp_path):
    run = real("submit", "-t", "qa", "--model", "org/x", "--dataset", "rows.jsonl", "--set", "lora.r=4", "-q")
    config = client.jobs.get(run.out.strip()).config
    assert (config["model"], config["method"]["packing"], config["lora"]["r"]) == ("org/x", True, 4)
    assert config["lora"]["lora_alpha"] == built_in_template("qa").config["lora"]["lora_alpha"]
    assert config["dataset"] == next(iter(client.datasets.list())).id
    client.templates.save("mine", TEXT + "model: org/y\n")
    run = real("submit", "--template", "mine", "--dataset", config["dataset"], "--eval-dataset", "rows.jsonl", "-q")
    config = client.jobs.get(run.out.strip()).config
    assert (config["model"], config["training"]["max_steps"]) == ("org/y", 30)
    assert config["eval_dataset"] == config["dataset"]


def test_a_file_takes_precedence_over_its_template_and_options_over_the_file(
    monkeypatch, capsys, unanswered, tmp_path, rows
):
    cli = Cli(unanswered, monkeypatch, capsys)
    folder = tmp_path / "jobs"
    folder.mkdir()
    (folder / "job.yaml").write_text("model: org/x\ndataset: ds-1\nlora: {r: 4}\nname: from-file\n")
    command = ("submit", "jobs/job.yaml", "-t", "chat-personality", "--dry-run", "--json")
    shown = cli(*command).json["config"]
    assert (shown["lora"]["r"], shown["lora"]["lora_dropout"], shown["name"]) == (4, 0.1, "from-file")
    more = ("--model", "org/y", "--dataset", "rows.jsonl", "--dataset", "ds-2", "--set", "model=org/z")
    shown = cli(*command, *more).json["config"]
    assert shown["model"] == "org/z"
    assert shown["dataset"] == [str(rows), "ds-2"]


def test_a_dry_run_with_a_built_in_template_needs_no_service(monkeypatch, capsys, unanswered):
    cli = Cli(unanswered, monkeypatch, capsys)
    run = cli("submit", "-t", "efficient", "--model", "org/x", "--dataset", "ds-1", "--dry-run")
    assert run.code == 0
    assert read_yaml(run.out, "out")["load_in_4bit"] is True


def test_a_dry_run_is_refused_as_the_submission_would_be(real):
    command = ("submit", "-t", "qa", "--model", "job:gone", "--dataset", "ds-1")
    refused, dry = real(*command), real(*command, "--dry-run")
    assert refused.code == dry.code != 0
    assert refused.err == dry.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Give a job file, or --template NAME."),
        (["-t", "qa"], 2, "Template 'qa' leaves out model and dataset; add --model and --dataset."),
        (["-t", "qa", "--set", "model=org/x"], 2, "leaves out dataset; add --dataset."),
        (["-t", "qua", "--model", "org/x"], 3, "There is no template 'qua'."),
        (["-t", "qa", "--model", "org/x", "--dataset", "ds", "--set", "lora.rank=3"], 2, "Template 'qa': lora.rank is"),
        (["-t", "qa", "--model", "org/x", "--dataset", "./no.jsonl"], 2, "Template 'qa': there is no dataset file"),
        (["-t", "qa", "--model", "org/x", "--dataset", "no.jsonl"], 2, "there is no dataset file 'no.jsonl'"),
    ],
)
def test_what_is_missing_or_wrong_is_named(real, client, arguments, code, message):
    run = real("submit", *arguments)
    assert run.code == code
    assert message in run.err
    assert list(client.jobs.list()) == []


async def _create_async(url: str, dataset: str):
    async with AsyncClient(url, retry=QUICK) as client:
        await client.templates.save("mine", TEXT)
        names = [found.name for found in await client.templates.list()]
        job = await client.jobs.create({"model": "org/x", "dataset": dataset}, template="mine")
        await client.templates.delete("mine")
        return names, job


def test_the_sdk_makes_jobs_from_templates(world, client, rows):
    dataset = client.datasets.upload(rows).id
    job = client.jobs.create({"model": "org/x", "dataset": dataset, "lora": {"r": 4}}, template="domain-expert")
    assert (job.config["lora"]["r"], job.config["lora"]["use_rslora"]) == (4, True)
    typed = JobConfig(model="org/x", dataset=dataset, lora=LoraConfig(r=4))
    assert client.jobs.create(typed, template="domain-expert").config == job.config
    names, job = asyncio.run(_create_async(world.url(""), dataset))
    assert names[-1] == "mine"
    assert job.config["training"]["max_steps"] == 30
    with pytest.raises(errors.NotFoundError):
        client.jobs.create({"model": "org/x", "dataset": dataset}, template="mine")
    with pytest.raises(errors.ConflictError):
        client.templates.save("qa", TEXT)
