"""Downloads: whole or not at all, continued after a cut."""

import pytest

from ftlab import errors
from ftlab.client import Client, RetryPolicy
from ftlab.status import JobStatus
from tests.unit.ftlab.fake_service import ZIP, status_fault

PATH = "/api/training/jobs/job-001/download/model"


@pytest.fixture
def job(fake):
    return fake.add_job(1, JobStatus.COMPLETED)


@pytest.fixture
def target(tmp_path):
    folder = tmp_path / "downloads"
    folder.mkdir()
    return folder / "model.zip"


def ranges(fake):
    return [headers.get("range") for method, path, headers in fake.requests if path == PATH]


def test_the_file_is_complete_and_alone(fake, client, job, target):
    seen = []
    path = client.jobs.download_model(job.id, target, on_progress=lambda done, total: seen.append((done, total)))
    assert path == target
    assert target.read_bytes() == ZIP
    assert [entry.name for entry in target.parent.iterdir()] == ["model.zip"]
    assert seen[-1] == (len(ZIP), len(ZIP))


def test_a_cut_is_continued(fake, client, job, target):
    fake.cuts = [300_000, 0, 400_000]
    client.jobs.download_model(job.id, str(target))
    assert target.read_bytes() == ZIP
    assert ranges(fake) == [None, "bytes=300000-", "bytes=300000-", "bytes=700000-"]


def test_without_a_version_a_cut_begins_anew(fake, client, job, target):
    fake.cuts, fake.has_etag = [300_000, 5], False
    client.jobs.download_model(job.id, target)
    assert target.read_bytes() == ZIP
    assert ranges(fake) == [None, None, None]


def test_another_version_begins_anew(fake, client, job, target):
    fake.cuts = [300_000]

    def lose_the_tag(_):
        fake.has_etag = False

    fake.faults = [None, lose_the_tag]
    client.jobs.download_model(job.id, target)
    assert target.read_bytes() == ZIP


def test_a_refused_range_begins_anew(fake, client, job, target):
    fake.cuts = [300_000]
    fake.faults = [None, status_fault(416)]
    client.jobs.download_model(job.id, target)
    assert target.read_bytes() == ZIP


def test_a_passing_refusal_is_waited_for(fake, client, job, target):
    fake.faults = [status_fault(503), status_fault(502)]
    client.jobs.download_model(job.id, target)
    assert target.read_bytes() == ZIP


def test_what_was_there_stays_when_the_download_fails(fake, job, target):
    target.write_text("before")
    fake.cuts = [300_000, 0, 0, 0]
    with (
        Client(fake.url, max_retries=2, retry=RetryPolicy(first_delay_s=0.001)) as client,
        pytest.raises(errors.UnreachableError),
    ):
        client.jobs.download_model(job.id, target)
    assert target.read_text() == "before"
    assert len(list(target.parent.iterdir())) == 1


def test_progress_renews_the_patience(fake, job, target):
    fake.cuts = [10_000] * 50
    with Client(fake.url, max_retries=1, retry=RetryPolicy(first_delay_s=0.001)) as client:
        client.jobs.download_model(job.id, target)
    assert target.read_bytes() == ZIP


def test_an_unknown_job_leaves_nothing(client, fake, target):
    fake.faults = [status_fault(404, text='{"error": {"message": "No job.", "code": "job_not_found"}}')]
    with pytest.raises(errors.NotFoundError, match=r"No job\."):
        client.jobs.download_model("job-999", target)
    assert list(target.parent.iterdir()) == []


def test_a_folder_that_is_not_there(client, job, target):
    with pytest.raises(FileNotFoundError):
        client.jobs.download_model(job.id, target.parent / "none" / "model.zip")


def test_checkpoints_logs_and_datasets(fake, client, job, target):
    client.jobs.download_model(job.id, target, checkpoint="step-00000005")
    client.jobs.download_logs(job.id, target)
    client.datasets.download("ds-1", target)
    assert target.read_bytes() == ZIP
    assert [path for _, path, _ in fake.requests] == [
        PATH,
        "/api/training/jobs/job-001/download/logs",
        "/api/datasets/ds-1/content",
    ]
