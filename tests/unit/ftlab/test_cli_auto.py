"""`auto` as its user sees it: before the submission, after it, and in job files of earlier jobs."""

import pytest

from cluster.policy import Fleet, Node
from ftlab import AUTO, JobConfig, SftMethod, TrainingConfig
from ftlab.client import Client
from ftlab.schemas.job_file import parse_job_config, read_yaml
from tests.support.model_folders import write_model
from tests.support.service_fakes import FakeData
from tests.unit.ftlab.cli_runs import Cli
from tests.unit.ftlab.conftest import QUICK, in_thread
from train.data.tokens.row_lengths import RowLengths

ROW = '{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}\n'
JOB = """\
name: greeter
model: {model}
dataset: rows.jsonl
method:
  max_length: auto
training:
  learning_rate: auto
  num_train_epochs: auto
  per_device_train_batch_size: auto
"""
CHOSEN = [
    "  training.num_train_epochs = 5: for 3 rows",
    "  method.max_length = 64: 99 % of the rows have at most 20 tokens; none is",
    "      longer",
    "  training.per_device_train_batch_size = 1: the smallest, because the memory of",
    "      this model cannot be estimated",
    "  training.learning_rate = 0.0002: the default of 'sft' for LoRA; the size of",
    "      the model is not known",
]


@pytest.fixture
def data() -> FakeData:
    return FakeData()


@pytest.fixture
def world(tmp_path, data):
    with in_thread(tmp_path / "home", data=data) as world:
        yield world


@pytest.fixture
def real(world, monkeypatch, capsys) -> Cli:
    return Cli(world.url(""), monkeypatch, capsys)


@pytest.fixture
def file(world, data, tmp_path):
    """A job file that leaves settings to the service, which knows the rows and the devices."""
    model = write_model(tmp_path / "home" / "models" / "org--tiny")
    data.lengths = [RowLengths(3, 3, 60, 30, {20: 3}, is_exact=True)]
    world.coordinator.fleet = Fleet((Node("a", 4, 0, 2**33),))
    (tmp_path / "rows.jsonl").write_text(ROW * 3)
    path = tmp_path / "job.yaml"
    path.write_text(JOB.format(model=model))
    return path


def chosen_in(text: str) -> list[str]:
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines if "=" in line)
    return [line for line in lines if line in CHOSEN]


def test_what_the_service_chose_is_printed_once_and_can_be_shown_again(real, file):
    submitted = real("submit", file)
    job_id = submitted.out.strip()
    assert "Chosen by the service:" in submitted.err
    assert chosen_in(submitted.err) == CHOSEN
    assert "Notice:" not in submitted.err
    assert chosen_in(real("show", job_id).out) == CHOSEN
    assert real("show", job_id, "--json").json["auto"]["training.learning_rate"]["value"] == 2e-4


def test_a_dry_run_says_what_would_be_chosen(real, file):
    before = real("submit", file, "--dry-run")
    assert "The service chooses these settings when the job is submitted:\n  training.num_train_epochs\n" in before.err
    real("datasets", "upload", file.with_name("rows.jsonl"))
    found = real("submit", file, "--dry-run")
    assert "The service would choose:" in found.err
    assert chosen_in(found.err) == CHOSEN
    assert read_yaml(found.out, "")["training"]["learning_rate"] == "auto"
    assert real("submit", file, "--dry-run", "--json").json["estimate"]["auto"]["method.max_length"]["value"] == 64


@pytest.mark.parametrize("command", [("clone",), ("show", "--yaml")])
def test_the_file_of_a_job_makes_the_same_job_and_names_what_was_auto(real, world, data, file, tmp_path, command):
    job_id = real("submit", file).out.strip()
    text = real(command[0], job_id, *command[1:]).out
    comment = [line for line in text.splitlines() if line.startswith("#")]
    assert comment[0] == f"# Job {job_id} was submitted with 'auto' for these settings,"
    assert comment[1] == "# which became the values in this file:"
    assert comment[2] == "#   training.num_train_epochs = 5: for 3 rows"
    assert max(map(len, comment)) <= 80
    copy = tmp_path / "copy.yaml"
    copy.write_text(text)
    data.lengths = [RowLengths(3, 3, 9000, 30, {3000: 3}, is_exact=True)]
    with Client(world.url(""), retry=QUICK) as client:
        again, first = client.jobs.get(real("submit", copy).out.strip()), client.jobs.get(job_id)
    unnamed = [{**(job.resolved_config or {}), "name": None} for job in (again, first)]
    assert unnamed[0] == unnamed[1]
    assert again.auto == {}


def test_a_clone_can_be_left_to_the_service_again(real, world, data, file):
    job_id = real("submit", file).out.strip()
    data.lengths = [RowLengths(3, 3, 900, 30, {300: 3}, is_exact=True)]
    copied = real("clone", job_id, "--set", "method.max_length=auto", "--submit").out.strip()
    with Client(world.url(""), retry=QUICK) as client:
        assert client.jobs.get(copied).auto["method.max_length"].value == 320


def test_the_constant_of_the_sdk_is_the_word():
    config = JobConfig(
        model="org/m", dataset="ds-1", training=TrainingConfig(learning_rate=AUTO), method=SftMethod(packing=AUTO)
    )
    assert config == parse_job_config(
        {"model": "org/m", "dataset": "ds-1", "training": {"learning_rate": "auto"}, "method": {"packing": "auto"}}
    )
