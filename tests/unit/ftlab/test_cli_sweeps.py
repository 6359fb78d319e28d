"""`ftlab sweep` and `client.sweeps` against the real HTTP service."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.schemas.sweeps import SweepStatus, TrialState
from tests.support.model_folders import write_model
from tests.unit.ftlab.cli_runs import Cli
from tests.unit.tracking.samples import add_job

ROWS = '{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello"}]}\n' * 10
SWEEP = """\
name: rates
job:
  model: {model}
  dataset: data/rows.jsonl
  eval_split: 0.2
  training: {{max_steps: 9, eval_steps: 1}}
parameters:
  training.learning_rate: {{min: 1e-5, max: 1e-3, log: true}}
  lora.r: [4, 8]
method: random
max_trials: 3
max_cost: null
"""


@pytest.fixture
def address(world) -> str:
    return str(world.url(""))


@pytest.fixture
def cli(world, monkeypatch, capsys) -> Cli:
    return Cli(world.url(""), monkeypatch, capsys)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    model = write_model(tmp_path / "home" / "models" / "org--tiny")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text(ROWS)
    file = tmp_path / "sweep.yaml"
    file.write_text(SWEEP.format(model=model))
    return file


def test_a_sweep_from_file_to_result(cli: Cli, client, file: Path, world):
    refused = cli("sweep", file, "--dry-run")
    assert (refused.code, "and rows.jsonl is not on the service yet; 'ftlab datasets upload'" in refused.err) == (
        2,
        True,
    )
    cli("datasets", "upload", file.parent / "data" / "rows.jsonl")
    dry = cli("sweep", file, "--dry-run")
    assert dry.code == 0, dry.err
    assert dry.lines[0].split("\t") == ["TRIAL", "training.learning_rate", "lora.r"]
    assert len(dry.lines) == 4
    assert list(client.sweeps.list()) == []

    started = cli("sweep", file)
    assert started.code == 0, started.err
    [sweep_id] = started.lines
    assert "Sweep 'rates' makes up to 3 trials." in started.err
    assert "was uploaded before" in started.err
    assert "rates\trunning\trandom\t0/3" in cli("sweep", "ls").out
    waiting = add_job(world.store, now=datetime.now(UTC)).id
    with world.store.begin() as tx:
        record = tx.sweeps.get(sweep_id)
        values = {"training.learning_rate": 1e-4, "lora.r": 4}
        trial = tx.sweeps.add_trial(record, 0, values, now=datetime.now(UTC), job_id="job-1")
        ended = {"value": 1.25, "run_time_s": 3.0, "finished_at": datetime.now(UTC)}
        tx.sweeps.change_trial(trial, state=TrialState.COMPLETED, **ended)
        tx.sweeps.add_trial(record, 1, values, now=datetime.now(UTC), job_id=waiting)
    shown = cli("sweep", "show", "rates")
    assert "best trial  0, eval_loss 1.25" in shown.out
    assert "0 (best)\tjob-1\tcompleted\t1.25\t0.0001\t4" in shown.out
    assert f"1\t{waiting}\tqueued\t" in shown.out
    assert "there is 1" in shown.err
    assert "ftlab clone job-1" in shown.err

    for verb, status in (("pause", "paused"), ("resume", "running"), ("cancel", "cancelled")):
        assert cli("sweep", verb, "rates").code == 0
        assert cli("--json", "sweep", "show", "rates").json["status"] == status
    assert client.sweeps.wait(sweep_id, timeout_s=5).status is SweepStatus.CANCELLED
    with world.store.begin() as tx:
        tx.sweeps.settle(sweep_id)
        tx.sweeps.set_mlflow_status(sweep_id, SweepStatus.CANCELLED)
    assert cli("sweep", "rm", "rates", "--yes").code == 0
    assert cli("sweep", "show", "rates").code == 3


def test_a_wrong_sweep_is_refused_before_anything_is_sent(cli: Cli, client, file: Path):
    file.write_text(file.read_text().replace("learning_rate", "learning_rte"))
    run = cli("sweep", file)
    assert (run.code, run.out) == (2, "")
    assert "learning_rte is not a known setting. Did you mean 'learning_rate'?" in run.err
    assert list(client.datasets.list()) == []
    with pytest.raises(InvalidRequestError, match="parameters must have at least 1 item"):
        client.sweeps.create({"job": {}, "parameters": {}})


def test_the_file_that_init_writes_can_be_submitted(cli: Cli, file: Path, monkeypatch):
    monkeypatch.chdir(file.parent)
    model = str(file.parent / "home" / "models" / "org--tiny")
    assert cli("init", "first.yaml", "--kind", "sweep", "--model", model, "--dataset", "data/rows.jsonl").code == 0
    untouched = cli("init", "--kind", "sweep", "--force")
    assert untouched.code == 0, untouched.err
    refused = cli("sweep", "sweep.yaml", "--dry-run")  # only its dataset is a placeholder
    assert (refused.code, "there is no dataset file 'train.jsonl'" in refused.err) == (2, True), refused.err
    cli("datasets", "upload", "data/rows.jsonl")
    dry = cli("sweep", "first.yaml", "--dry-run")
    assert dry.code == 0, dry.err
    assert "'my-first-sweep' is valid: up to 20 trials" in dry.err
    assert cli("sweep", "first.yaml").code == 0


def test_the_same_key_makes_one_sweep(cli: Cli, client, file: Path):
    first = cli("sweep", file, "--idempotency-key", "once")
    again = cli("sweep", file, "--idempotency-key", "once")
    assert (first.code, again.lines) == (0, first.lines)
    assert "was used before" in again.err
    assert len(list(client.sweeps.list())) == 1
