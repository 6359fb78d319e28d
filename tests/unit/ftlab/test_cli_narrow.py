"""Wide tables on a terminal of 80 columns: less important columns are left out, and no line is wrapped."""

import shutil
import sys
from datetime import UTC, datetime
from os import terminal_size

import pytest

from ftlab.cli.evaluate import _print_results
from ftlab.cli.export import _print_exports
from ftlab.cli.output import Output
from ftlab.cli.session import Session
from ftlab.cli.text import cell_width
from ftlab.schemas.evaluation_results import EvaluationResults, MetricResult, ModelResult, PairedTest
from ftlab.schemas.export_results import Artifact, Export
from ftlab.status import JobStatus
from tests.support.export_artifacts import RECEIPT

WIDTH = 80


def narrow(monkeypatch: pytest.MonkeyPatch) -> Session:
    """A session on such a terminal."""
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: terminal_size((WIDTH, 24)))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    return Session(None, Output(quiet=True), patient=False)


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    found = capsys.readouterr().out.splitlines()
    assert found
    assert max(map(cell_width, found)) <= WIDTH
    return found


def test_results_of_an_evaluation(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    metric = MetricResult(
        metric="judge_preference", value=0.51234, low=0.41234, high=0.61234, num_rows=1200, skipped={"no_reference": 3}
    )
    name, base_name = "model:mdl-4k0x9r2m7q1z", "HuggingFaceTB/SmolLM2-135M-Instruct"
    found = EvaluationResults(
        job_id="job-1",
        num_rows=1200,
        models=[
            ModelResult(key="base", name=base_name, metrics=[metric]),
            ModelResult(key="model", name=name, title="support", base="base", metrics=[metric]),
        ],
        tests=[PairedTest(metric=metric.metric, model="model", other="base", difference=-0.01234, p_value=0.4)],
    )
    _print_results(narrow(monkeypatch), found)
    head, base, tuned = lines(capsys)
    assert head.split()[0] == "MODEL"
    assert "AGAINST BASE" in head
    assert base.startswith("HuggingFace")
    assert tuned.startswith("support ")
    assert name not in tuned
    assert "-0.01234, not significant" in tuned


def test_artifacts_of_exports(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    at = datetime(2026, 1, 1, tzinfo=UTC)
    artifact = Artifact(
        name="merged-bfloat16",
        format="merged",
        weight_type="bfloat16",
        size_bytes=272_600_000,
        num_files=3,
        committed_at=at,
        receipt=RECEIPT,
    )
    common = {"job_id": "job-4k0x9r2m7q1z", "name": "x", "message": "", "model": "model:mdl-1", "created_at": at}
    session = narrow(monkeypatch)
    _print_exports(session, [Export(status=JobStatus.COMPLETED, artifacts=[artifact], **common)])
    head, line = lines(capsys)
    assert "LARGEST DIFFERENCE" in head
    assert line.startswith("job-4k0x9r2m7q1z  completed  merged-bfloat16")
    _print_exports(session, [])
    assert capsys.readouterr().out == ""
