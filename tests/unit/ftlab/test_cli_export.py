"""What `ftlab export` sends and prints."""

from datetime import UTC, datetime

import pytest
import typer

from ftlab.cli.export import _lines, _model
from ftlab.schemas.export_results import Artifact, Export
from ftlab.status import JobStatus
from tests.support.export_artifacts import RECEIPT


@pytest.mark.parametrize(
    ("job", "checkpoint", "model"),
    [
        ("my-job", None, "job:my-job"),
        ("model:mdl-1", None, "model:mdl-1"),
        ("job:job-1", "step-00000050", "job:job-1/step-50"),
    ],
)
def test_a_job_a_checkpoint_or_a_model_is_named(job: str, checkpoint: str | None, model: str):
    assert _model(job, checkpoint) == model


@pytest.mark.parametrize(("job", "checkpoint"), [("job-1", "best"), ("model:mdl-1", "step-00000050")])
def test_what_is_no_checkpoint_is_refused(job: str, checkpoint: str):
    with pytest.raises(typer.BadParameter, match="--checkpoint must be the name of a checkpoint of a job"):
        _model(job, checkpoint)


def test_each_artifact_has_a_line_with_its_receipt():
    numbers = {"num_tokens": 7, "max_difference": 0.1234, "bound": 2.5, "top1_agreement": 0.875}
    receipt = RECEIPT.model_copy(update=numbers)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    artifact = Artifact(
        name="gguf-q8_0",
        format="gguf",
        weight_type="q8_0",
        size_bytes=2048,
        num_files=3,
        committed_at=at,
        receipt=receipt,
    )
    common = {"name": "x", "message": "", "model": "model:mdl-1", "created_at": at}
    found = [
        Export(job_id="job-2", status=JobStatus.COMPLETED, artifacts=[artifact], **common),
        Export(job_id="job-1", status=JobStatus.QUEUED, **common),
    ]
    assert list(_lines(found)) == [
        ("job-2", "completed", "gguf-q8_0", "q8_0", "2.0 kB", "0.123", "2.5", "87.5%"),
        ("job-1", "queued", "", "", "", "", "", ""),
    ]
