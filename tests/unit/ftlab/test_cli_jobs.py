"""The commands that look at jobs, wait for them and end them."""

import json
import re
import shutil
import sys
from datetime import timedelta
from os import terminal_size

import pytest

from ftlab.cli.text import cell_width
from ftlab.status import JobStatus
from tests.unit.ftlab.fake_service import START, ZIP, attempt_document, status_fault


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("ftlab.client.endpoint.RetryPolicy.delay_s", lambda *_: 0.001)
    monkeypatch.setattr("ftlab.client._sync.jobs.JOB_PAUSES_S", (0.001, 5.0))
    monkeypatch.setattr("ftlab.client._sync.follow.POLL_S", 0.001)


@pytest.fixture
def terminal(monkeypatch):
    """Make stdout a terminal of some width."""

    def use(width):
        monkeypatch.setattr(shutil, "get_terminal_size", lambda: terminal_size((width, 24)))
        monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)

    return use


def test_ls_is_tab_separated_in_a_pipe(cli, fake):
    fake.add_job(3, name="first")
    fake.add_job(end=JobStatus.FAILED, name="second")
    run = cli("ls")
    assert run.lines[0].split("\t") == (
        ["ID", "NAME", "STATUS", "PRIORITY", "STEP", "LOSS", "ETA", "CREATED", "KIND", "WAITING FOR"]
    )
    assert [line.split("\t")[:6] for line in run.lines[1:]] == [
        ["job-001", "first", "● running", "50", "3/10", "2.7"],
        ["job-002", "second", "✗ failed", "50", "", ""],
    ]


def test_lists_say_what_a_run_does_when_it_does_not_train(cli, fake):
    job = fake.add_job(3)
    job.add("progress", step=3, total_steps=10, eta_s=0.0, phase="evaluating")
    assert cli("ls").lines[1].split("\t")[2] == "● running, evaluating"
    assert cli("queue").lines[1].split("\t")[0] == "running, evaluating"
    assert "● running, evaluating" in cli("show", job.id).out
    assert cli("events", job.id, "-k", "progress").lines[0].endswith("Step 3/10, evaluating")
    job.add("progress", step=3, total_steps=10, eta_s=0.0, phase="training")
    assert cli("ls").lines[1].split("\t")[2] == "● running"


def test_ls_says_what_queued_jobs_wait_for(cli, fake):
    fake.add_job().priority = 80
    cells = cli("ls").lines[1].split("\t")
    assert (cells[3], cells[-1]) == ("80", "1 core; none is free")


def test_ls_by_status_and_limit(cli, fake):
    fake.add_job()
    fake.add_job(end=JobStatus.FAILED)
    fake.add_job(end=JobStatus.CANCELLED)
    assert [job["id"] for job in cli("ls", "--json", "-s", "failed", "-s", "cancelled").json] == ["job-003", "job-002"]
    assert [job["id"] for job in cli("ls", "--json").json] == ["job-001", "job-003", "job-002"]
    run = cli("ls", "-n", 1)
    assert [line.split("\t")[0] for line in run.lines[1:]] == ["job-001"], "an active job is never missing"
    assert run.err == "There are more jobs; show them with '--limit 2'.\n"
    assert cli("ls", "-s", "paused", "-s", "running").err == "No job is paused or running.\n"
    run = cli("ls", "--status", "faild")
    assert run.code == 2
    assert "Did you mean 'failed'?" in run.err


def test_ls_sends_two_requests_unless_more_jobs_wait_than_it_shows(cli, fake):
    fake.add_job(3)
    for _ in range(3):
        fake.add_job()
    assert [job["id"] for job in cli("ls", "--json").json] == ["job-001", "job-004", "job-003", "job-002"]
    assert fake.num_requests("GET", "/api/training/jobs") == 2
    assert [job["id"] for job in cli("ls", "--json", "-n", 2).json] == ["job-001", "job-004"]


def test_ls_of_nothing_says_what_to_do(cli):
    run = cli("ls")
    assert (run.code, run.out) == (0, "")
    assert "ftlab submit" in run.err
    assert cli("ls", "-q").err == ""
    assert cli("ls", "--json").json == []


def test_a_terminal_shows_short_lines_and_whole_ids(cli, fake, terminal):
    fake.add_job(3, name="a name that is much longer than the terminal is wide " * 3)
    fake.add_job(end=JobStatus.FAILED, name="语言" * 40)
    terminal(80)
    run = cli("ls")
    assert run.lines[0].split() == ["ID", "NAME", "STATUS", "STEP", "LOSS", "CREATED"], "no empty columns"
    assert all(cell_width(line) <= 80 for line in run.lines)
    assert [line.split()[0] for line in run.lines[1:]] == ["job-001", "job-002"]
    assert "…" in run.lines[1]
    assert "…" in run.lines[2]
    assert run.lines[1].endswith("2026-01-01")
    terminal(10)
    assert cli("ls").lines[1].startswith("job-001  a name that…"), "an id is never cut"
    fake.jobs["job-001"].priority = 80
    assert "PRIORITY" not in cli("ls").lines[0]
    terminal(100)
    assert "PRIORITY" in cli("ls").lines[0]


def test_a_narrow_terminal_shows_what_jobs_wait_for_before_their_kind_and_age(cli, fake, terminal):
    fake.add_job(3, name="a name of some length")
    fake.add_job(name="evaluation of some model").priority = 80
    terminal(80)
    for command, columns in (
        ("ls", ["ID", "NAME", "STATUS", "PRIORITY", "STEP", "LOSS", "WAITING", "FOR"]),
        ("queue", ["PLACE", "ID", "NAME", "PRIORITY", "STEP", "WAITING", "FOR"]),
    ):
        run = cli(command)
        assert [title for title in run.lines[0].split() if title not in ("ETA", "CREATED")] == columns
        assert all(cell_width(line) <= 80 for line in run.lines)


def test_show_by_prefix_and_name(cli, fake):
    fake.add_job(2, name="my job")
    for text in ("job-001", "job-0", "my job"):
        run = cli("show", text)
        assert run.code == 0
        assert "Status      ● running" in run.out
        assert "Priority    50" in run.out
        assert re.search(r"^Attempt 1, \S.* from the base model: alive$", run.out, re.MULTILINE)
    assert cli("show", "job-001", "--json").json["attempts"][0]["number"] == 1
    fake.jobs["job-001"].attempts = [attempt_document(2, driver="standby-r-1")]
    assert "alive, Ray actor standby-r-1\n" in cli("show", "job-001").out


def test_show_tells_how_each_attempt_ended_and_what_it_went_on_from(cli, fake):
    job = fake.add_job(2)
    end = (START + timedelta(minutes=12, seconds=30)).isoformat()
    job.attempts = [
        attempt_document(2, resumed_from_step=50, ended_at=end, reason="worker_crashed", message="It ended.\nSo."),
        attempt_document(3, resumed_from_step=0),
    ]
    job.add("notice", code="resuming", message="Going on.")
    job.add("notice", code="resumed", message="Resumed from step 0 (0 rows).", bit_exact=True)
    run = cli("show", "job-001")
    assert run.lines[-3] == "Attempt 2, 12:30 from step 50: worker_crashed, It ended. So."
    assert re.fullmatch(r"Attempt 3, \S.* from step 0: alive", run.lines[-2])
    assert run.lines[-1] == "  Resumed from step 0 (0 rows)."
    found = cli("show", "job-001", "--json").json
    assert [receipt["data"]["bit_exact"] for receipt in found["receipts"]] == [True]


def test_show_names_the_settings_that_decide_about_the_result(cli, fake, tmp_path):
    (tmp_path / "rows.jsonl").write_text("{}\n")
    cli("datasets", "upload", tmp_path / "rows.jsonl")
    first, second = fake.add_job(2, JobStatus.COMPLETED), fake.add_job(2)
    training = {"learning_rate": 2e-4, "max_steps": 8, "per_device_train_batch_size": 4}
    second.config = {
        "model": f"job:{first.id}/step-5",
        "dataset": "ds-1",
        "eval_dataset": "ds-gone",
        "method": {"type": "sft", "max_length": 512},
        "tuning": "lora",
        "load_in_4bit": True,
        "lora": {"r": 8, "lora_alpha": 16},
        "training": training | {"gradient_accumulation_steps": 2},
    }
    shown = cli("show", second.id).lines
    for line in (
        "Base model     org/base (through job:job-001/step-5)",
        "Dataset        rows.jsonl (ds-1)",
        "Eval dataset   ds-gone",
        "Method         SFT, LoRA r 8, alpha 16, 4-bit",
        "Learning rate  0.0002",
        "Length         8 steps",
        "Batch          4 x 2 accumulated",
        "Max length     512 tokens",
        "Ran for        1:30",
    ):
        assert line in shown
    second.config["lora"] |= {"lora_dropout": 0.25, "use_rslora": True, "use_dora": True, "target_modules": ["q", "v"]}
    adapter = "DoRA r 8, alpha 16, dropout 0.25, rank-stabilized, on q, v"
    assert f"Method         SFT, {adapter}, 4-bit" in cli("show", second.id).lines
    second.config |= {"load_in_4bit": False, "load_in_8bit": True}
    second.config["lora"] = {"r": 8, "lora_alpha": 16, "init_lora_weights": "pissa", "modules_to_save": ["lm_head"]}
    assert "Method         SFT, LoRA r 8, alpha 16, pissa init, with lm_head, 8-bit" in cli("show", second.id).lines
    second.config |= {"model": "model:mdl-1", "tuning": "full", "load_in_8bit": False}
    assert "Method         SFT, full fine-tuning" in cli("show", second.id).lines
    second.config["model"] = "job:job-gone"
    assert "Base model     job:job-gone" in cli("show", second.id).lines


def test_show_tells_what_the_doctor_found_last(cli, fake):
    job = fake.add_job(2)
    assert "Data " not in cli("show", "job-001").out
    assert cli("show", "job-001", "--json").json["data_checked"] is None
    for message in ("Dataset ds-1: 9 rows.", "Dataset ds-1: 10 rows."):
        job.add("notice", code="data_checked", message=message)
    assert "Data        Dataset ds-1: 10 rows." in cli("show", "job-001").lines
    assert cli("show", "job-001", "--json").json["data_checked"] == "Dataset ds-1: 10 rows."


def test_show_tells_how_the_rows_were_split(cli, fake):
    job = fake.add_job(2)
    job.config |= {"eval_split": 0.1}
    assert "Split " not in cli("show", job.id).out
    job.add("notice", code="eval_split", message="Of 20 rows, 18 are trained.")
    shown = cli("show", job.id).lines
    assert "Eval split   0.1 of the rows" in [" ".join(line.split()).replace("split ", "split   ") for line in shown]
    assert any(line.split(maxsplit=1) == ["Split", "Of 20 rows, 18 are trained."] for line in shown)
    assert cli("show", job.id, "--json").json["eval_split"] == "Of 20 rows, 18 are trained."


def test_an_empty_queue_is_a_sentence(cli, fake):
    fake.add_job(1, JobStatus.COMPLETED)
    run = cli("queue")
    assert (run.out, run.err) == ("", "No job is running or queued.\n")


def test_metrics_are_the_main_ones_unless_others_are_asked_for(cli, fake):
    job = fake.add_job()
    job.add("metrics", step=1, values={"entropy": 0.5, "loss": 2.0, "learning_rate": 1e-4})
    assert cli("metrics", job.id).lines == ["step\tloss\tlearning_rate", "1\t2\t0.0001"]
    assert cli("metrics", job.id, "--all").lines[0] == "step\tentropy\tloss\tlearning_rate"
    assert len(cli("metrics", job.id, "--json").json) == 3
    run = cli("metrics", job.id, "--name", "los")
    assert (run.out, run.err) == ("", "The job has no metric 'los'. It has entropy, loss, learning_rate.\n")
    assert cli("metrics", job.id, "--all", "--name", "loss").code == 2


def test_metrics_are_one_row_a_step(cli, fake):
    fake.add_job(2)
    assert cli("metrics", "job-001").lines == ["step\tloss", "1\t2.9", "2\t2.8"]
    assert cli("metrics", "job-001", "--json").json[0]["name"] == "loss"
    fake.add_job()
    assert "no metrics yet" in cli("metrics", "job-002").err


def test_checkpoints_and_queue(cli, fake):
    fake.add_job(1)
    fake.add_job(name="next")
    assert cli("checkpoints", "ls", "job-001").lines[1].split("\t")[:6] == [
        "step-00000005",
        "5",
        "2.5",
        "",
        "best",
        "1.5 MB",
    ]
    run = cli("queue")
    assert [line.split("\t")[:6] for line in run.lines[1:]] == [
        ["running", "job-001", "a job", "50", "1/10", "1:05"],
        ["1", "job-002", "next", "50", "", ""],
    ]
    assert run.lines[2].split("\t")[-1] == "1 core; none is free"
    assert "The queue waits for a free core." in run.err
    assert [entry["job_id"] for entry in cli("queue", "--json").json["running"]] == ["job-001"]
    fake.add_job()
    run = cli("queue", "--limit", 1)
    assert len(run.lines) == 3
    assert "1 more in the queue." in run.err


def test_cancel_asks_or_is_told(cli, fake):
    fake.add_job()
    run = cli("cancel", "job-001")
    assert run.code == 2
    assert "--yes" in run.err
    assert fake.jobs["job-001"].status is JobStatus.QUEUED
    run = cli("cancel", "job-001", "--yes")
    assert (run.code, run.out) == (0, "job-001\tcancelled\n")
    run = cli("cancel", "job-001", "-y")
    assert (run.code, run.err) == (1, "ftlab: Job 'job-001' has ended with status cancelled.\n")


def test_rm_asks_and_deletes(cli, fake):
    for name in ("first", "second", "third"):
        fake.add_job(2, JobStatus.COMPLETED, name=name)
    run = cli("rm", "first")
    assert run.code == 2
    question = run.err.replace("\n", " ")
    assert "Delete job 'first' (job-001, completed, step 2/10)" in question
    assert "MLflow runs and registered models stay" in question
    assert len(fake.jobs) == 3
    run = cli("rm", "first", "job-001", "--yes")
    assert (run.code, run.out) == (0, "job-001\tdeleted\n")
    assert cli("rm", "second", "third", "--yes", "--json").json == [
        {"id": "job-002", "deleted": True},
        {"id": "job-003", "deleted": True},
    ]
    assert fake.jobs == {}
    assert cli("rm", "first", "--yes").code == 3


def test_rm_deletes_what_has_ended(cli, fake):
    fake.add_job()
    fake.add_job(1, JobStatus.FAILED)
    run = cli("rm", "job-001", "job-002", "-y")
    assert (run.code, run.out) == (1, "job-002\tdeleted\n")
    assert "Job 'job-001' is queued" in run.err
    assert list(fake.jobs) == ["job-001"]


def test_several_jobs_are_changed_at_once(cli, fake):
    for _ in range(3):
        fake.add_job()
    assert cli("pause", "job-001", "job-002").out == "job-001\tpaused\njob-002\tpaused\n"
    run = cli("resume", "job-001", "job-003", "job-002")
    assert (run.code, run.out) == (1, "job-001\tqueued\njob-002\tqueued\n"), "the second cannot, the third can"
    assert run.err.count("ftlab: ") == 1
    assert cli("resume", "job-001", "job-002", "--checkpoint", "x").code == 2
    run = cli("cancel", "job-001", "job-002")
    assert (run.code, "Cancel 2 jobs" in run.err.replace("\n", " ")) == (2, True)
    assert [job["status"] for job in cli("cancel", "job-001", "job-002", "--yes", "--json").json] == ["cancelled"] * 2
    assert cli("cancel", "job-003", "job-404", "--yes").code == 3
    assert fake.jobs["job-003"].status is JobStatus.QUEUED, "nothing is cancelled where one name is wrong"


def test_append_takes_ids_and_files(cli, fake, tmp_path):
    job = fake.add_job()
    (tmp_path / "more.jsonl").write_text('{"messages": []}\n')
    run = cli("append", job.id, "ds-7", "more.jsonl")
    assert (run.code, run.out) == (0, "job-001\tqueued\n")
    assert job.config["dataset"] == ["ds-1", "ds-7", "ds-1"], "the fake's first upload is called ds-1 too"
    assert "Job job-001 has 3 files now." in run.err
    assert cli("append", job.id, "none.jsonl").code == 2
    assert cli("append", job.id, "ds-7", "--json").json["num_files"] == 4


def test_a_job_with_several_files_shows_which_one_it_trains(cli, fake):
    job = fake.add_job()
    job.config["dataset"] = ["ds-1", "ds-2"]
    run = cli("show", job.id)
    assert "ds-1, ds-2" in run.out


def test_pause_and_resume(cli, fake):
    job = fake.add_job(2)
    run = cli("pause", "job-001")
    assert (run.code, run.out) == (0, "job-001\tpausing\n")
    assert "Resume it with: ftlab resume job-001" in run.err
    job.move(JobStatus.PAUSED)
    assert cli("pause", "job-001").code == 1
    run = cli("resume", "job-001", "--checkpoint", "step-00000009")
    assert (run.code, run.err) == (3, "ftlab: The job has no checkpoint of this name.\n")
    assert cli("resume", "job-001", "--checkpoint", "step-00000005").out == "job-001\tqueued\n"
    assert cli("pause", "job-001", "--json").json["status"] == "paused"
    assert cli("resume", "job-001", "-q").err == ""


def test_resume_with_other_settings(cli, fake, tmp_path):
    job = fake.add_job(2, JobStatus.FAILED)
    (tmp_path / "rows.jsonl").write_text("{}\n")
    options = ("--set", "training.learning_rate=1e-4", "--set", f"dataset={tmp_path / 'rows.jsonl'}")
    run = cli("resume", "job-001", *options, "--checkpoint", "best")
    assert (run.code, run.out) == (0, "job-001\tqueued\n")
    assert "Changed: training none -> other settings, dataset none -> ds-1.\n" in run.err
    assert job.resumed == {
        "checkpoint": "best",
        "config_adjustments": {"training": {"learning_rate": 1e-4}, "dataset": "ds-1"},
    }
    job.move(JobStatus.FAILED)
    run = cli("resume", "job-001", "--suggested")
    assert (run.code, job.resumed) == (0, {"suggested": True})
    assert "Changed" not in run.err
    job.move(JobStatus.CANCELLED)
    assert cli("resume", "job-001", "--original", "--json").json["status"] == "queued"
    assert job.resumed == {"original": True}
    assert cli("resume", "job-001", "--set", "oops").code == 2


def test_show_has_the_changes_of_the_settings(cli, fake):
    job = fake.add_job(2)
    job.attempts = [attempt_document(2)]
    job.add("notice", code="config_adjusted", message="Changed by the user: training.max_grad_norm 1 -> 0.5.")
    assert cli("show", "job-001").lines[-1] == "  Changed by the user: training.max_grad_norm 1 -> 0.5."
    job.adjust({"training.max_grad_norm": 0.5})
    assert cli("show", "job-001", "--json").json["adjustments"][0]["changes"][0]["to"] == 0.5


def test_move(cli, fake):
    job = fake.add_job()
    assert cli("move", "job-001", "--priority", 80).out == "job-001\tqueued\n"
    assert job.priority == 80
    assert cli("move", "job-001", "--front", "-p", 7).code == 0
    assert (job.priority, job.events[-1]["data"]["code"]) == (7, "moved_to_front")
    assert cli("move", "job-001", "--behind", "job-002").code == 0
    assert job.events[-1]["data"]["message"] == "Moved behind job-002."
    for wrong in ([], ["--priority", 101], ["--priority", "high"], ["--front", "--behind", "job-002"]):
        assert cli("move", "job-001", *wrong).code == 2


def test_quota(cli, fake):
    assert cli("quota").lines == [
        "Owner              local",
        "Queued jobs        3 of 100",
        "Running GPUs       0.5 of 1.5",
        "Running CPU cores  2, no limit",
        "Disk               1.5 MB of 2.0 GB",
        "Uploads            1.0 kB, no limit",
        "Weight             1",
    ]
    found = cli("quota", "--set", "max_queued_jobs=5", "--set", "max_disk_bytes=null", "--json").json
    assert (found["max_queued_jobs"], found["max_disk_bytes"]) == (5, None)
    for wrong in ("max_queued_jobs", "=3", "max_jobs=3", "weight=["):
        run = cli("quota", "--set", wrong)
        assert (run.code, run.err.count("\n")) == (2, 1)


def test_wait_says_that_a_job_is_paused_and_goes_on(cli, fake):
    job = fake.add_job()
    job.move(JobStatus.PAUSED)
    fake.faults = [None, None, lambda _: job.move(JobStatus.COMPLETED)]
    run = cli("wait", "job-001")
    assert (run.code, run.out) == (0, "job-001\tcompleted\n")
    assert run.err == "Job job-001 is paused; resume it with 'ftlab resume job-001'.\n"


@pytest.mark.parametrize(
    ("end", "code", "word"),
    [(JobStatus.COMPLETED, 0, ""), (JobStatus.FAILED, 5, "out of memory"), (JobStatus.CANCELLED, 6, "cancelled")],
)
def test_wait_exits_by_the_outcome(cli, fake, end, code, word):
    fake.add_job(3, end)
    run = cli("wait", "job-001")
    assert (run.code, run.out) == (code, f"job-001\t{end}\n")
    assert word in run.err
    assert ("  | line 3" in run.err) is (end is JobStatus.FAILED)


def test_wait_for_several_exits_by_the_worst(cli, fake):
    for end in (JobStatus.COMPLETED, JobStatus.CANCELLED, JobStatus.FAILED):
        fake.add_job(1, end)
    run = cli("wait", "job-001", "job-002", "job-003", "--json")
    assert run.code == 5
    assert [job["status"] for job in run.json] == ["completed", "cancelled", "failed"]


def test_wait_gives_up_in_time(cli, fake):
    fake.add_job()
    run = cli("wait", "job-001", "--timeout", "0.5")
    assert run.code == 7
    assert run.err == "ftlab: Job job-001 did not end within 0.5 s.\n"


def test_wait_outlives_an_outage(cli, fake):
    fake.add_job(1, JobStatus.COMPLETED)
    fake.faults = [status_fault(503)] * 20
    run = cli("wait", "job-001")
    assert (run.code, run.err) == (0, "")


def test_wait_follow_shows_the_way(cli, fake):
    job = fake.add_job(2)

    def train(_):
        job.add("metrics", step=3, total_steps=10, eta_s=7.0, values={"loss": 2.7, "learning_rate": 2e-5})
        job.move(JobStatus.COMPLETED)

    fake.faults = [None, train]
    run = cli("wait", "-f", "job-001")
    assert run.code == 0
    assert run.err.splitlines() == [
        "● The job is training.",
        "step 3/10  loss 2.7  learning_rate 2e-05  ETA 0:07",
        "✓ The job is finished; its model can be downloaded.",
        "Completed after 1:30 at step 3, loss 2.7.",
        "Download the model with 'ftlab download job-001'.",
    ]
    assert cli("wait", "-f", "job-001", "job-002").code == 2


def test_logs(cli, fake):
    fake.add_job(5)
    run = cli("logs", "job-001", "--tail", 2)
    assert [line.split(" ", 1)[1] for line in run.lines] == ["info    Step 5/10: loss 2.5", "info    line 5"]
    assert "line 5" in cli("logs", "job-001", "--json", "-n", 1).json["text"]


def test_logs_follow_prints_every_line_once(cli, fake):
    job = fake.add_job(3)

    def more(_):
        # Comes between the look at the job and the look at its log.
        job.add("log", level="info", text="line 4")

    def end(_):
        job.add("log", level="info", text="line 5")
        job.move(JobStatus.COMPLETED)

    fake.faults = [None, more, end]
    run = cli("logs", "-f", "job-001", "--tail", 2)
    assert run.code == 0
    assert [line.split(maxsplit=2)[-1] for line in run.lines] == [
        *("line 3", "line 4", "line 5"),
        "The job is finished; its model can be downloaded.",
    ]


@pytest.mark.parametrize("end", [JobStatus.FAILED, JobStatus.CANCELLED])
def test_the_log_of_a_job_that_ended_early_says_why(cli, fake, end):
    job = fake.add_job(1, end)
    last = cli("logs", job.id).lines[-1].split(maxsplit=2)
    assert last[1:] == ["error" if end is JobStatus.FAILED else "info", job.message]


def test_events_after_the_fact(cli, fake):
    job = fake.add_job(1)
    job.add("progress", step=2, total_steps=10)
    job.add("checkpoint", step=2, name="step-00000002", size_bytes=1_500_000, is_best=True)
    assert [line.split()[0] for line in cli("events", job.id).lines] == ["1", "2", "3", "4", "5", "6"]
    assert cli("events", job.id).lines[4].endswith(" progress   Step 2/10")
    assert cli("events", job.id).lines[5].endswith("Saved checkpoint step-00000002 (1.5 MB, the best so far).")
    run = cli("events", job.id, "--kind", "log", "-k", "progress", "--after", 4, "--json")
    assert run.json["kind"] == "progress"
    run = cli("events", job.id, "--kind", "logs")
    assert (run.code, "Did you mean 'log'?" in run.err) == (2, True)


def test_download(cli, fake, tmp_path):
    fake.add_job(1, JobStatus.COMPLETED)
    run = cli("download", "job-001")
    assert (run.code, run.out) == (0, "job-001.zip\n")
    assert (tmp_path / "job-001.zip").read_bytes() == ZIP
    assert "Saved 1.0 MB" in run.err
    (tmp_path / "folder").mkdir()
    assert cli("download", "job-001", "-o", "folder", "--logs", "-q").out == "folder/job-001-logs.zip\n"
    run = cli("download", "job-001", "--checkpoint", "step-00000005", "--json")
    assert run.json == {"path": "job-001-step-00000005.zip", "size_bytes": len(ZIP)}
    assert cli("download", "job-001", "--checkpoint", "x", "--logs").code == 2


def test_a_download_that_cannot_be_written_is_one_sentence(cli, fake):
    fake.add_job(1, JobStatus.COMPLETED)
    run = cli("download", "job-001", "-o", "none/model.zip")
    assert run.code == 1
    assert run.err.startswith("ftlab: none/")
    assert run.err.count("\n") == 1


@pytest.mark.parametrize(("status", "code"), [(401, 4), (403, 4), (409, 1), (422, 2), (500, 1), (503, 8)])
def test_exit_codes_of_refusals(cli, fake, monkeypatch, status, code):
    monkeypatch.setattr("ftlab.client.endpoint.Endpoint.budget_s", 0.0)
    body = '{"error": {"message": "No.", "code": "x", "request_id": "req-9"}}'
    fake.faults = [status_fault(status, text=body)]
    run = cli("queue")
    assert run.code == code
    assert run.err == ("ftlab: No. (request req-9)\n" if status >= 500 else "ftlab: No.\n")


def test_unknown_job(cli):
    run = cli("show", "job-404")
    assert (run.code, run.out, run.err) == (3, "", "ftlab: No job 'job-404'.\n")


def test_an_error_under_json_is_the_error_object_of_the_api(cli, fake):
    run = cli("show", "job-404", "--json")
    assert (run.code, run.out) == (3, "")
    assert json.loads(run.err)["error"]["code"] == "job_not_found"
    fake.add_job(1, JobStatus.FAILED)
    run = cli("wait", "job-001", "--json")
    assert (run.code, run.json["status"]) == (5, "failed")
    assert "out of memory" in json.loads(run.err)["error"]["message"]


def test_a_job_that_fails_while_it_is_followed_gives_its_reason_once(cli, fake):
    job = fake.add_job(2)
    fake.faults = [None, lambda _: job.move(JobStatus.FAILED, "Out of memory; use a smaller batch.", "device_oom")]
    run = cli("wait", "-f", "job-001")
    assert (run.code, run.err.count("Out of memory")) == (5, 1)
    assert run.err.splitlines()[-2:] == [
        "ftlab: Job job-001 failed: Out of memory; use a smaller batch.",
        "See why, and how to continue, with 'ftlab why job-001'.",
    ]
    as_json = cli("wait", "-f", "job-001", "--json")
    assert (as_json.code, as_json.json["status"]) == (5, "failed")
    assert "Out of memory" in json.loads(as_json.err.splitlines()[-1])["error"]["message"]


def test_unreachable(cli, unanswered):
    run = cli("ls", "--server", unanswered)
    assert run.code == 8
    assert "ftlab up" in run.err
    assert run.err.count("\n") == 1


def test_ctrl_c_detaches(cli, fake, monkeypatch):
    fake.add_job(1)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("ftlab.client._sync.follow.read_frame", interrupted)
    run = cli("logs", "-f", "job-001")
    assert run.code == 130
    assert "Job job-001 keeps running" in run.err
    monkeypatch.setattr("ftlab.client.brief.BriefTransport.send", interrupted)
    assert cli("ls").code == 130


def test_show_has_the_alarms_of_each_attempt(cli, fake):
    job = fake.add_job(2)
    job.attempts = [attempt_document(2, resumed_from_step=0)]
    job.add("notice", code="rows_cut", message="Rows were cut.")
    job.add("notice", code="data_wait_high", message="The run waits for rows.")
    assert cli("show", job.id).lines[-1] == "  The run waits for rows."
    assert [alarm["data"]["code"] for alarm in cli("show", job.id, "--json").json["alarms"]] == ["data_wait_high"]


def add_answers(job, *steps):
    for step in steps:
        for number, prompt in enumerate(("What is a queue?", "And a job?"), 1):
            text = f"Answer {number}\nat {step}."
            job.add("sample", step=step, number=number, prompt=prompt, text=text, num_tokens=5, is_cut=number == 2)


def test_samples_compare_the_first_and_the_last_answers(cli, fake):
    job = fake.add_job(2)
    add_answers(job, 0, 10, 20)
    assert [line.split("\t") for line in cli("samples", job.id).lines] == [
        ["NO", "PROMPT", "STEP 0", "STEP 20"],
        ["1", "What is a queue?", "Answer 1 at 0.", "Answer 1 at 20."],
        ["2", "And a job?", "Answer 2 at 0.", "Answer 2 at 20."],
    ]
    assert cli("samples", job.id, "--step", 10).lines[0].split("\t") == ["NO", "PROMPT", "STEP 10"]
    assert cli("samples", job.id, "--prompt", 2, "--step", 20).lines == [
        "Prompt: And a job?",
        "Step 20 (5 tokens, cut):",
        "  Answer 2",
        "  at 20.",
    ]
    assert [answer["step"] for answer in cli("samples", job.id, "--json").json] == [0, 10, 20, 0, 10, 20]


def test_samples_that_do_not_exist_are_refused_by_name(cli, fake):
    job = fake.add_job(2)
    assert "has no answers yet" in cli("samples", job.id).err
    assert cli("samples", job.id, "--json").json == []
    add_answers(job, 0)
    for option, word in (("--step", "a sampled step"), ("--prompt", "a prompt with answers")):
        run = cli("samples", job.id, option, 7)
        assert (run.code, f"'7' is not {word}" in run.err) == (2, True)
