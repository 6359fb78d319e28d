"""`ftlab why`: why a job failed, what to change, and where to continue."""

import shutil
from typing import TYPE_CHECKING

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument

if TYPE_CHECKING:
    from ftlab.schemas import FailureAnalysis, Job

MAX_WIDTH = 100
ROWS_AT_FAULT = ("bad_data", "diverged")
"""Causes that changed rows cure, where no setting does."""


@command(app)
def why(session: Session, job: JobArgument) -> None:
    """Show why a job failed, what to change, and where to continue."""
    from ftlab.cli.text import GLYPHS
    from ftlab.formatting import one_line
    from ftlab.schemas.failure_text import failure_lines

    found = session.client.jobs.get(job)
    analysis = session.client.jobs.failure(found.id)
    if session.output.as_json:
        session.output.json(analysis)
        return
    session.output.data(f"{GLYPHS[found.status]} {found.status}  {one_line(found.name)}  {found.id}")
    session.output.data("")
    for line in failure_lines(analysis, min(MAX_WIDTH, shutil.get_terminal_size().columns)):
        session.output.data(one_line(line))
    for line in _next(found, analysis):
        session.output.talk(line)


def _next(job: "Job", analysis: "FailureAnalysis") -> list[str]:
    """The commands that try again, with the first suggestion; none for a job that has not ended."""
    if not job.status.is_terminal:
        return ["", f"There is nothing to do: {job.message}"]
    if analysis.suggestions:
        return ["", "Continue with the first suggestion:", f"  ftlab resume {job.id} --suggested"]
    if analysis.cause not in ROWS_AT_FAULT:
        return ["", "Continue once the cause is removed:", f"  ftlab resume {job.id}"]
    if analysis.resume_from is None:
        return ["", "Continue with corrected rows:", f"  ftlab resume {job.id} --set dataset=CORRECTED.jsonl"]
    return [
        "",
        "Continue with corrected rows in a new job, from its checkpoint:",
        f"  ftlab show {job.id} --yaml > job.yaml",
        "  ftlab submit job.yaml --set dataset=CORRECTED.jsonl \\",
        f"    --set model=job:{job.id}/step-{analysis.resume_from.step}",
    ]
