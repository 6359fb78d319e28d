"""`ftlab init` and the completion of a shell."""

import re

import pytest

from ftlab.cli.watch import complete_job
from ftlab.schemas import JobConfig
from ftlab.schemas.job_file import parse_job_config, read_yaml


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


def test_a_shell_completes_ids_and_names(cli, fake, tmp_path, monkeypatch):
    file = tmp_path / "job.yaml"
    cli("init", file, "--dataset", "ds-1")
    cli("submit", file)
    monkeypatch.setenv("FTLAB_SERVER", fake.url)
    assert [word for word, _ in complete_job("job-0")] == ["job-001"]
    assert [word for word, _ in complete_job("my")] == ["my-first-job"]
    monkeypatch.setenv("FTLAB_SERVER", "http://127.0.0.1:9")
    assert complete_job("job-0") == []
