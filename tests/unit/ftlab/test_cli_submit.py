"""`ftlab submit`: from a file to a job."""

import pytest

from ftlab.cli.dry_run import estimate_lines
from ftlab.schemas import JobEstimate, RowEstimate
from ftlab.schemas.dataset_files import DATASET_SUFFIXES
from ftlab.schemas.job_file import read_yaml
from ftlab.status import JobStatus

JOB = """\
model: org/name   # the base
dataset: ds-1
training:
  learning_rate: 2e-4
  max_steps: 10
"""


@pytest.fixture
def job_file(tmp_path):
    file = tmp_path / "configs" / "job.yaml"
    file.parent.mkdir()
    file.write_text(JOB)
    return file


def test_submit_prints_the_id(cli, fake, job_file):
    run = cli("submit", job_file)
    assert (run.code, run.out) == (0, "job-001\n")
    assert "is in the queue at position 1" in run.err
    assert fake.jobs["job-001"].config["training"]["learning_rate"] == 2e-4
    assert cli("submit", job_file, "-q").err == ""
    assert cli("submit", job_file, "--json").json["id"] == "job-003"


def test_set_overrides(cli, fake, job_file):
    run = cli(
        "submit",
        job_file,
        "--set",
        "training.max_steps=3",
        "--set",
        "name='no #2'",
        "--set",
        "lora.target_modules=[q, v]",
    )
    assert run.code == 0
    config = fake.jobs["job-001"].config
    assert config["training"]["max_steps"] == 3
    assert config["name"] == "no #2"
    assert config["lora"]["target_modules"] == ["q", "v"]


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("training.max_stps=3", "training.max_stps is not a known setting. Did you mean 'max_steps'?"),
        ("max_steps=3", "Did you mean 'training.max_steps'?"),
        ("lora_r=8", "lora_r is not a known setting. Did you mean 'lora.r'?"),
        ("training.epochs=1", "Did you mean 'training.num_train_epochs'?"),
        ("training.batch_size=1", "Did you mean 'training.per_device_train_batch_size'?"),
        ("qlora=true", "Did you mean 'load_in_4bit'?"),
        ("tuning=qlora", "tuning must be 'lora' or 'full'; for QLoRA, keep 'lora' and set load_in_4bit: true."),
        ("training.max_steps=three", "training.max_steps must be a whole number."),
        ("training.max_steps", "must look like training.max_steps=10"),
        ("=3", "must look like"),
        ("model.x=3", "'model' is not a group of settings"),
        ("name=[", "--set name, line 1"),
        ("name=run #3", "--set name: YAML takes '#3' for a comment"),
        ("name=#3", "takes '#3' for a comment"),
    ],
)
def test_wrong_overrides_are_usage_errors_in_one_line(cli, fake, job_file, assignment, message):
    run = cli("submit", job_file, "--set", assignment)
    assert run.code == 2
    assert message in run.err
    assert run.err.count("\n") == 1
    assert fake.requests == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold settings"),
        ("- a", "must hold settings"),
        ("model: [", "line 1, column 9"),
        ("model: org/name\ndataset: ds\ntrainning: {}", "Did you mean 'training'?"),
        ("dataset: ds-1", "model is required"),
        ("model: org/name\ndataset: ./rows.jsonl", "there is no dataset file"),
        ("model: org/name\ndataset: data/rows", "there is no dataset file"),
        ("model: org/name\ndataset: ~nosuchuser/rows.jsonl", "there is no dataset file"),
    ],
)
def test_wrong_files_are_usage_errors_in_one_line(cli, fake, job_file, text, message):
    job_file.write_text(text)
    run = cli("submit", job_file)
    assert run.code == 2
    assert message in run.err
    assert run.err.count("\n") == 1
    assert fake.requests == []


@pytest.mark.parametrize("name", ["none.yaml", "."])
def test_no_file(cli, name):
    assert cli("submit", name).code == 2


def test_a_file_that_is_no_text(cli, job_file):
    job_file.write_bytes(b"\xff\xfe\x00")
    run = cli("submit", job_file)
    assert (run.code, "UTF-8" in run.err) == (2, True)


def test_dry_run_stores_nothing(cli, fake, job_file):
    run = cli("submit", job_file, "--dry-run", "--set", "tuning=full")
    assert run.code == 0
    document = read_yaml(run.out, "x")
    assert (document["tuning"], document["training"]["save_steps"]) == ("full", 50)
    assert "nothing was uploaded or submitted" in run.err
    assert [path for _, path, _ in fake.requests] == ["/api/training/jobs/estimate"]
    assert (fake.jobs, fake.datasets) == ({}, {})


def test_dry_run_shows_the_estimate_in_80_columns(cli, fake, job_file):
    run = cli("submit", job_file, "--dry-run")
    assert fake.estimated[0].training.learning_rate == 2e-4
    text = " ".join(run.err.split())
    assert "CPU does not fit: The job needs about 15.2 GB, and the device has 8.6 GB." in text
    assert "744; 370,368 tokens in all" in text
    assert "1:00:00, at the speed of job-1" in text
    for setting in ("training.per_device_train_batch_size=1", "training.gradient_checkpointing=true"):
        assert f"--set {setting}" in text
    assert max(map(len, run.err.splitlines())) <= 80
    assert cli("submit", job_file, "--dry-run", "-q").err == ""


def test_dry_run_shows_how_many_rows_are_set_aside():
    rows = RowEstimate(
        num_rows=1800,
        num_eval_rows=200,
        num_sequences=1800,
        tokens_per_epoch=9000,
        trained_tokens_per_epoch=4000,
        longest=50,
        is_exact=True,
    )
    lines = list(estimate_lines(JobEstimate(model="org/x", rows=rows, peak_length=50)))
    assert lines[1:] == [
        "  rows     1,800, 9,000 tokens per epoch (all counted)",
        "           200 more rows are set aside for evaluation (eval_split)",
    ]


def test_a_split_as_an_option(cli, fake, job_file):
    assert cli("submit", job_file, "--eval-split", 0.1).code == 0
    assert fake.jobs["job-001"].config["eval_split"] == 0.1
    run = cli("submit", job_file, "--eval-split", 0.1, "--eval-dataset", "ds-2")
    assert (run.code, "eval_dataset and eval_split cannot be combined" in run.err) == (2, True)


def test_dry_run_as_json_has_config_and_estimate(cli, job_file):
    found = cli("submit", job_file, "--dry-run", "--json").json
    assert found["config"]["training"]["save_steps"] == 50
    assert found["estimate"]["devices"][0]["training"]["weights"] == 269_030_016
    assert found["problem"] is None


def test_dry_run_works_without_a_service(cli, job_file, unanswered):
    run = cli("submit", job_file, "--dry-run", "--server", unanswered)
    assert run.code == 0
    assert read_yaml(run.out, "x")["model"] == "org/name"
    assert "Not estimated: " in run.err


def test_dry_run_uploads_no_file(cli, fake, job_file):
    (job_file.parent / "rows.jsonl").write_text('{"messages": []}\n')
    job_file.write_text("model: org/name\ndataset: rows.jsonl\n")
    run = cli("submit", job_file, "--dry-run")
    assert "Not estimated: rows.jsonl is not on the service yet" in run.err
    assert (fake.datasets, fake.estimated) == ({}, [])
    cli("submit", job_file)
    run = cli("submit", job_file, "--dry-run")
    assert [config.dataset for config in fake.estimated] == ["ds-1"]
    assert len(fake.datasets) == 1


def test_what_a_dry_run_prints_can_be_submitted(cli, fake, job_file, tmp_path):
    (tmp_path / "again.yaml").write_text(cli("submit", job_file, "--dry-run").out)
    cli("submit", job_file)
    cli("submit", "again.yaml")
    assert fake.jobs["job-001"].config == fake.jobs["job-002"].config


def test_local_datasets_are_uploaded_first(cli, fake, job_file):
    (job_file.parent / "rows.jsonl").write_text('{"messages": []}\n')
    (job_file.parent / ("long" * 40 + ".jsonl")).write_text("{}\n")
    job_file.write_text(f"model: org/name\ndataset: rows.jsonl\neval_dataset: ./{'long' * 40}.jsonl\n")
    run = cli("submit", job_file)
    assert run.code == 0
    config = fake.jobs["job-001"].config
    assert (config["dataset"], config["eval_dataset"]) == ("ds-1", "ds-2")
    assert "Uploaded rows.jsonl (1 rows, 17 B) as ds-1." in run.err
    document = read_yaml(cli("submit", job_file, "--dry-run").out, "x")
    assert document["dataset"].endswith("configs/rows.jsonl")
    assert len(fake.datasets) == 2


def test_a_list_may_mix_files_and_ids(cli, fake, job_file):
    (job_file.parent / "first.jsonl").write_text('{"messages": []}\n')
    job_file.write_text("model: org/name\ndataset: [first.jsonl, ds-other, ./first.jsonl]\n")
    assert cli("submit", job_file).code == 0
    assert fake.jobs["job-001"].config["dataset"] == ["ds-1", "ds-other", "ds-1"]
    assert len(fake.datasets) == 1
    shown = read_yaml(cli("submit", job_file, "--dry-run").out, "x")["dataset"]
    assert [str(name).rpartition("/")[2] for name in shown] == ["first.jsonl", "ds-other", "first.jsonl"]


@pytest.mark.parametrize("ending", DATASET_SUFFIXES)
@pytest.mark.parametrize("name", ["none", "none.csv", "NONE"])
def test_a_missing_file_is_told_from_an_id_by_every_ending_that_a_dataset_may_have(
    cli, fake, job_file, name: str, ending: str
):
    missing = name + (ending.upper() if name.isupper() else ending)
    job_file.write_text(f"model: org/name\ndataset: {missing}\n")
    run = cli("submit", job_file)
    assert (run.code, "there is no dataset file" in run.err) == (2, True)
    assert "no dataset with this name on the service" in run.err
    assert [request[0] for request in fake.requests] == ["GET"]
    assert fake.jobs == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [("[]", "dataset must have at least 1 item, not 0"), ("[ds-1, none.jsonl]", "there is no dataset file")],
)
def test_a_wrong_list_is_a_usage_error(cli, fake, job_file, given, message):
    job_file.write_text(f"model: org/name\ndataset: {given}\n")
    run = cli("submit", job_file)
    assert (run.code, message in run.err) == (2, True)
    assert fake.jobs == {}
    assert all(request[0] == "GET" for request in fake.requests)


def test_a_file_that_the_service_has_is_not_uploaded_again(cli, fake, job_file):
    rows = job_file.parent / "rows.jsonl"
    rows.write_text('{"messages": []}\n')
    job_file.write_text("model: org/name\ndataset: rows.jsonl\n")
    cli("submit", job_file)
    run = cli("submit", job_file)
    assert "rows.jsonl was uploaded before; using ds-1." in run.err
    assert fake.jobs["job-002"].config["dataset"] == "ds-1"
    rows.write_text('{"messages": [1]}\n')
    cli("submit", job_file)
    assert fake.jobs["job-003"].config["dataset"] == "ds-2"
    assert fake.num_requests("POST", "/api/datasets") == 2


def test_a_key_makes_one_job(cli, fake, job_file):
    (job_file.parent / "rows.jsonl").write_text('{"messages": []}\n')
    job_file.write_text("model: org/name\ndataset: rows.jsonl\n")
    ids = {cli("submit", job_file, "--idempotency-key", "nightly-1").out for _ in range(2)}
    assert ids == {"job-001\n"}
    run = cli("submit", job_file, "--idempotency-key", "ü")
    assert (run.code, "printable ASCII" in run.err) == (2, True)


def test_priority_by_set(cli, fake, job_file):
    cli("submit", job_file, "--set", "priority=80")
    assert fake.jobs["job-001"].config["priority"] == 80
    assert "priority must be at most 100" in cli("submit", job_file, "--set", "priority=101").err


def test_standard_input(cli, fake, monkeypatch, tmp_path):
    file = tmp_path / "in"
    file.write_text(JOB)
    with file.open() as stream:
        monkeypatch.setattr("sys.stdin", stream)
        assert cli("submit", "-").out == "job-001\n"


@pytest.mark.parametrize(("end", "code"), [(JobStatus.COMPLETED, 0), (JobStatus.FAILED, 5), (JobStatus.CANCELLED, 6)])
def test_follow_ends_with_the_outcome(cli, fake, job_file, end, code):
    def train(_):
        job = fake.jobs["job-001"]
        job.add("metrics", step=1, total_steps=1, eta_s=0.0, values={"loss": 2.5, "tokens_per_s": 812.4})
        job.add("checkpoint", step=1, size_bytes=2_000_000, is_best=True)
        job.add("notice", code="x", message="Something to know.")
        job.add("progress", step=1, total_steps=1)
        job.move(end, reason="device_oom" if end == "failed" else None)

    fake.faults = [None, train]
    run = cli("submit", job_file, "--follow")
    assert (run.code, run.out) == (code, "job-001\n")
    assert "step 1/1  loss 2.5  812 tok/s\n" in run.err
    assert "Checkpoint at step 1 (2.0 MB, the best so far)\n" in run.err
    assert "Something to know.\n" in run.err
    if end is JobStatus.COMPLETED:
        assert "ftlab download job-001" in run.err
    assert ("ftlab why job-001" in run.err.splitlines()[-1]) == (end is JobStatus.FAILED)


def test_follow_with_json_prints_one_document(cli, fake, job_file):
    fake.faults = [None, lambda _: fake.jobs["job-001"].move(JobStatus.COMPLETED)]
    run = cli("submit", job_file, "--follow", "--json")
    assert (run.code, run.json["status"]) == (0, "completed")


def test_a_key_that_was_used_before_is_said_to_be(cli, fake, job_file):
    first = cli("submit", job_file, "--idempotency-key", "nightly")
    again = cli("submit", job_file, "--idempotency-key", "nightly")
    assert (again.code, again.out) == (0, first.out)
    assert "This idempotency key was used before, for job 'a job'; it is queued." in again.err
    assert "used before" not in first.err


def test_a_dry_run_shows_every_value_and_says_what_it_could_not_check(cli, fake, tmp_path, unanswered):
    file = tmp_path / "job.yaml"
    file.write_text("model: org/name\ndataset: none.jsonl\n")
    run = cli("submit", file, "--dry-run", "--server", unanswered)
    document = read_yaml(run.out, "x")
    assert document["training"]["learning_rate"] == 2e-4
    assert document["training"]["max_steps"] is None
    assert "Not checked: the base model, datasets on the service, and the devices." in run.err
    assert "There is no file 'none.jsonl'; the service must have a dataset with this name." in run.err
    assert fake.requests == []


def test_common_options_may_come_before_the_command(cli, fake, job_file, monkeypatch):
    url = fake.url
    monkeypatch.setenv("FTLAB_SERVER", "http://127.0.0.1:1")
    assert cli("--server", url, "--json", "submit", job_file).json["id"] == "job-001"
    assert cli("--server", url, "-q", "submit", job_file).err == ""
    assert cli("--server", "http://127.0.0.1:1", "ls", "--server", url).code == 0


def test_clone_keeps_the_method(cli, job_file):
    cli("submit", job_file, "--set", "method.type=dpo", "--set", "name=pairs")
    assert read_yaml(cli("clone", "pairs").out, "x")["method"] == {"type": "dpo"}


def test_clone_prints_a_job_file_or_submits_again(cli, fake, job_file, tmp_path):
    cli("submit", job_file, "--set", "name=first", "--set", "priority=70")
    run = cli("clone", "first", "--set", "training.learning_rate=1e-4")
    document = read_yaml(run.out, "x")
    assert document == {
        "name": "first copy",
        "model": "org/name",
        "dataset": "ds-1",
        "training": {"max_steps": 10, "learning_rate": 1e-4},
        "priority": 70,
    }
    assert len(fake.jobs) == 1
    (tmp_path / "again.yaml").write_text(run.out)
    cli("submit", "again.yaml")
    again = cli("clone", "first", "--set", "training.learning_rate=1e-4", "--submit")
    assert (again.code, again.out) == (0, "job-003\n")
    assert fake.jobs["job-002"].config == fake.jobs["job-003"].config
    assert cli("clone", "first", "--set", "training.learning_rte=1").code == 2
    assert cli("clone", "nobody").code == 3
