"""`ftlab init` and the completion of a shell."""

import re

import pytest

from ftlab.cli.watch import complete_job
from ftlab.schemas import JobConfig
from ftlab.schemas.job_file import parse_any_config, parse_job_config, read_yaml, read_yaml_documents
from ftlab.schemas.sweep_rules import check_sweep, parse_sweep
from ftlab.schemas.sweeps import SweepConfig
from tests.support.repository import CLI


def test_init_writes_a_job_file_that_can_be_submitted(cli, fake, tmp_path):
    file = tmp_path / "job.yaml"
    run = cli("init", file, "--model", "org/name", "--dataset", "ds-1")
    assert (run.code, run.out) == (0, "")
    assert f"ftlab submit {file}" in run.err
    assert cli("submit", file).out == "job-001\n"
    config = fake.jobs["job-001"].config
    assert (config["model"], config["dataset"], config["name"]) == ("org/name", "ds-1", "my-first-job")


def test_init_keeps_an_existing_file(cli, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("mine")
    run = cli("init", file)
    assert run.code != 0
    assert "--force" in run.err
    assert file.read_text() == "mine"
    assert cli("init", file, "--force").code == 0


def test_init_writes_a_chain_that_can_be_submitted(cli, fake, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = cli("init", "--kind", "chain", "--model", "org/name", "--dataset", "ds-1")
    assert (run.code, run.out) == (0, "")
    assert "ftlab submit chain.yaml --follow" in run.err
    chain = [parse_any_config(each) for each in read_yaml_documents((tmp_path / "chain.yaml").read_text(), "chain")]
    assert [(each.kind, each.name) for each in chain] == [
        ("training", "my-first-stage"),
        ("evaluation", "my-first-evaluation"),
        ("export", "my-first-export"),
    ]


def test_the_comments_of_a_chain_show_the_defaults(cli, tmp_path):
    file = tmp_path / "chain.yaml"
    cli("init", file, "--kind", "chain")
    text = file.read_text("utf-8")
    jobs, second_stage = text.split("# A second stage")
    shown = read_yaml_documents(re.sub(r"(?m)^# ( *(?:- )?\w+:)(?= |$)", r"\1", jobs), "chain.yaml")
    for document, name, value in ((shown[1], "metrics", ["perplexity"]), (shown[2], "formats", ["merged"])):
        config = parse_any_config(document)
        bare = parse_any_config({key: each for key, each in document.items() if key != name})
        assert (document[name], getattr(config, name)) == (value, getattr(bare, name))
    [second] = read_yaml_documents(re.sub(r"(?m)^# ?", "", second_stage.partition("\n")[2]), "chain.yaml")
    assert parse_any_config(second).method.type == "dpo"


def test_the_comments_of_a_sweep_show_the_defaults(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "ftlab sweep sweep.yaml --wait" in cli("init", "--kind", "sweep").err
    text = re.sub(r"(?m)^# ( *\w+:)(?= |$)", r"\1", (tmp_path / "sweep.yaml").read_text("utf-8"))
    assert "\nobjective:\n  metric: eval_loss" in text, "the comments were read"
    sweep = parse_sweep(read_yaml(text, "sweep.yaml"))
    check_sweep(sweep)
    chosen = {"name", "job", "parameters"}
    defaults = SweepConfig(job=sweep.job, parameters=sweep.parameters).model_dump(exclude=chosen)
    assert sweep.model_dump(exclude=chosen) == defaults


@pytest.mark.parametrize("name", ['say "hi": #1', "Grüße {x}", "back\\slash"])
def test_any_name_is_written_as_it_is(cli, tmp_path, name: str):
    file = tmp_path / "job.yaml"
    assert cli("init", file, "--dataset", name).code == 0
    assert read_yaml(file.read_text("utf-8"), "job.yaml")["dataset"] == name


def test_the_comments_show_the_defaults(cli, tmp_path):
    file = tmp_path / "job.yaml"
    cli("init", file)
    text = re.sub(r"(?m)^( *)# ( *\w+:)(?= |$)", r"\1\2", file.read_text("utf-8"))
    config = parse_job_config(read_yaml(text, "job.yaml"))
    assert config.eval_dataset is not None, "the comments were read"
    chosen = {"name", "model", "dataset", "eval_dataset"}
    defaults = JobConfig(model="org/name", dataset="ds-1").model_dump(exclude=chosen)
    assert config.model_dump(exclude=chosen) == defaults


def test_every_command_that_takes_a_job_completes_it():
    metavars = {"ID", "ID...", "ID ID...", "[ID]", "[JOB...]", "JOB", "EXPORT"}
    others = ("datasets", "models", "keys", "notify")
    arguments = {
        (name, argument.metavar): argument
        for name, command in CLI.items()
        for argument in command.params
        if argument.param_type_name == "argument" and argument.metavar in metavars and name.split()[1] not in others
    }
    assert len(arguments) > 20
    assert [place for place, found in arguments.items() if found._custom_shell_complete is None] == []


def test_a_shell_completes_ids_and_names(cli, fake, tmp_path, monkeypatch):
    file = tmp_path / "job.yaml"
    cli("init", file, "--dataset", "ds-1")
    cli("submit", file)
    monkeypatch.setenv("FTLAB_SERVER", fake.url)
    assert [word for word, _ in complete_job("job-0")] == ["job-001"]
    assert [word for word, _ in complete_job("my")] == ["my-first-job"]
    monkeypatch.setenv("FTLAB_SERVER", "http://127.0.0.1:9")
    assert complete_job("job-0") == []
