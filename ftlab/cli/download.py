"""`ftlab download`: a job's model, artifact or logs as a ZIP file."""

from pathlib import Path
from typing import Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument
from ftlab.errors import InvalidRequestError
from ftlab.status import JobKind


@command(app, patient=True)
def download(
    session: Session,
    job: JobArgument,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Output file; default: <job id>.zip.")
    ] = None,
    checkpoint: Annotated[
        str | None,
        typer.Option("--checkpoint", metavar="NAME", help="Download this checkpoint instead of the tuned model."),
    ] = None,
    artifact: Annotated[
        str | None,
        typer.Option("--artifact", metavar="NAME", help="Download this artifact of an export, such as gguf-q8_0."),
    ] = None,
    logs: Annotated[bool, typer.Option("--logs", help="Download the log files instead of the tuned model.")] = False,
) -> None:
    """Download a job's model, one of its checkpoints, an artifact of an export, or its logs."""
    if logs + (checkpoint is not None) + (artifact is not None) > 1:
        raise typer.BadParameter("--logs, --checkpoint and --artifact cannot be combined.")
    found = session.client.jobs.get(job)
    if found.kind is JobKind.EXPORT and not logs and artifact is None:
        artifact = only_artifact(session, found.id)
    what = "logs" if logs else checkpoint or artifact
    default_name = f"{found.id}-{what}.zip" if what else f"{found.id}.zip"
    target = target_file(file, default_name)
    with session.output.progress(f"Downloading {target.name}") as on_progress:
        if logs:
            session.client.jobs.download_logs(found.id, target, on_progress)
        elif artifact is not None:
            session.client.exports.download(found.id, artifact, target, on_progress)
        else:
            session.client.jobs.download_model(found.id, target, checkpoint, on_progress)
    report_file(session, target)


def only_artifact(session: Session, export_id: str) -> str:
    """The artifact of an export that has one. Raise `InvalidRequestError` for any other export, or job."""
    found = session.client.exports.list(export_id)
    if [each.job_id for each in found] != [export_id]:
        raise InvalidRequestError(
            f"Job {export_id} is not an export. Name one of its exports: 'ftlab exports {export_id}' lists them.",
            "invalid_option",
        )
    names = [artifact.name for artifact in found[0].artifacts]
    if len(names) != 1:
        has = f"has {len(names)}: {', '.join(names)}" if names else "has none yet"
        raise InvalidRequestError(f"Name the artifact with --artifact; the export {has}.", "invalid_option")
    return names[0]


def target_file(given: Path | None, default_name: str) -> Path:
    """The target of a download: in a folder, a file with the default name."""
    safe_name = default_name.replace("/", "-")
    if given is None:
        return Path(safe_name)
    return given / safe_name if given.is_dir() else given


def report_file(session: Session, target: Path) -> None:
    """Print what was saved, and where."""
    from ftlab.formatting import size

    num_bytes = target.stat().st_size
    if session.output.as_json:
        session.output.json({"path": str(target), "size_bytes": num_bytes})
    else:
        session.output.data(str(target))
    session.output.talk(f"Saved {size(num_bytes)}.")
