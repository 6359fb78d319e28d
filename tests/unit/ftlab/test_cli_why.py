"""`ftlab why`: what a user sees of the analysis of a failure, and what to type next."""

import pytest

from ftlab.errors import NotFoundError
from ftlab.schemas import FailureAnalysis, ResumeFrom, Suggestion
from ftlab.schemas.adjustments import Change
from ftlab.status import JobStatus, ReasonCode

ANALYSIS = FailureAnalysis(
    cause="gpu_memory_training",
    reason=ReasonCode.DEVICE_OOM,
    phase="training",
    attempt=2,
    confidence="certain",
    sentence="The GPU's memory was used up in a training step after step 200, with 16 rows at once.",
    evidence=["torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.61 GiB.\tGPU 0 has \x1b[31m23.69 GiB."],
    suggestions=[
        Suggestion(
            changes=[
                Change(field="training.per_device_train_batch_size", from_=16, to=2),
                Change(field="training.gradient_accumulation_steps", from_=1, to=8),
            ],
            reason="Same rows per step, in passes of 2 rows.",
            effect="By the estimate, a training step needs 15.3 GB instead of 98.1 GB (82.8 GB less).",
        ),
        Suggestion(
            changes=[Change(field="load_in_4bit", from_=False, to=True)], reason="QLoRA.", effect="It needs less."
        ),
    ],
    resume_from=ResumeFrom(name="step-00000200", step=200, reason="It is the newest."),
)
SHOWN = """\
✗ failed  a job  job-001

The GPU's memory was used up in a training step after step 200, with 16 rows at
once.

Cause: gpu_memory_training (certain), reason: device_oom, phase: training,
attempt 2.

Evidence
  - torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.61 GiB. GPU
    0 has  [31m23.69 GiB.

Suggestions
  1. training.per_device_train_batch_size 16 -> 2
     training.gradient_accumulation_steps 1 -> 8
     Same rows per step, in passes of 2 rows. By the estimate, a training step
     needs 15.3 GB instead of 98.1 GB (82.8 GB less).
  2. load_in_4bit false -> true
     QLoRA. It needs less.

Continue from checkpoint step-00000200. It is the newest.
"""
NEXT = """\

Continue with the first suggestion:
  ftlab resume job-001 --suggested
"""


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_a_failed_job(cli, fake):
    fake.add_job(end=JobStatus.FAILED).failure = ANALYSIS.model_dump(mode="json")
    run = cli("why", "job-001")
    assert (run.code, run.out, run.err) == (0, SHOWN, NEXT)
    assert cli("why", "job-001", "--json").json == ANALYSIS.model_dump(mode="json")


def test_a_job_that_continues_needs_no_command(cli, fake):
    fake.add_job().failure = ANALYSIS.model_dump(mode="json")
    run = cli("why", "job-001")
    assert run.err.splitlines()[-1].startswith("There is nothing to do: ")


def test_a_cause_that_no_setting_cures(cli, fake):
    cured = ANALYSIS.model_copy(update={"suggestions": [], "resume_from": None})
    fake.add_job(end=JobStatus.FAILED).failure = cured.model_dump(mode="json")
    run = cli("why", "job-001")
    assert "Suggestions" not in run.out
    assert run.err.splitlines()[1:] == [
        "Continue once the cause is removed:",
        "  ftlab resume job-001",
    ]


def test_rows_at_fault_before_the_first_checkpoint(cli, fake):
    rows = ANALYSIS.model_copy(update={"cause": "bad_data", "suggestions": [], "resume_from": None})
    fake.add_job(end=JobStatus.FAILED).failure = rows.model_dump(mode="json")
    assert cli("why", "job-001").err.splitlines()[1:] == [
        "Continue with corrected rows:",
        "  ftlab resume job-001 --set dataset=CORRECTED.jsonl",
    ]


def test_rows_at_fault_after_a_checkpoint_need_a_new_job(cli, fake):
    rows = ANALYSIS.model_copy(update={"cause": "diverged", "suggestions": []})
    fake.add_job(end=JobStatus.FAILED).failure = rows.model_dump(mode="json")
    assert cli("why", "job-001").err.splitlines()[1:] == [
        "Continue with corrected rows in a new job, from its checkpoint:",
        "  ftlab show job-001 --yaml > job.yaml",
        "  ftlab submit job.yaml --set dataset=CORRECTED.jsonl \\",
        "    --set model=job:job-001/step-200",
    ]


def test_a_job_that_never_failed(cli, fake, client):
    fake.add_job()
    run = cli("why", "job-001")
    assert (run.code, run.out) == (3, "")
    assert "Job job-001 has not failed" in run.err
    with pytest.raises(NotFoundError) as caught:
        client.jobs.failure("job-001")
    assert caught.value.code == "job_not_failed"


def test_the_sdk_returns_the_analysis(fake, client):
    fake.add_job(end=JobStatus.FAILED).failure = ANALYSIS.model_dump(mode="json")
    assert client.jobs.failure("job-001") == ANALYSIS
