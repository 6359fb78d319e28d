"""`ftlab export`, `exports` and `push`: tuned models as files for other programs, and on a hub."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument, complete_job

if TYPE_CHECKING:
    from ftlab.schemas.export_results import Export


@command(app, patient=True)
def export(
    session: Session,
    job: Annotated[
        str,
        typer.Argument(metavar="JOB", help="Job whose model is exported, or 'model:ID'.", autocompletion=complete_job),
    ],
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", "-f", metavar="FORMAT", help="adapter, merged or gguf; may be repeated."),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", metavar="NAME", help="Export this checkpoint, such as step-00000050.")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option("--dtype", metavar="TYPE", help="Weights of merged: float32, float16 or bfloat16.")
    ] = None,
    gguf_type: Annotated[
        str | None,
        typer.Option(
            "--gguf-type", metavar="TYPE", help="Weights of gguf: f32, f16, bf16, q8_0 or a K-quant such as q4_k_m."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the export.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the artifacts and print them.")] = True,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Download the artifacts to this folder.")
    ] = None,
) -> None:
    """Write a tuned model for vLLM, Ollama or llama.cpp, checked against the tuned model."""
    from ftlab.cli.download import target_file
    from ftlab.cli.follow import detaching, follow_to_end
    from ftlab.cli.job_source import model_reference
    from ftlab.cli.submit import report_submitted

    if output is not None and not wait:
        raise typer.BadParameter("--output needs --wait.")
    if output is not None and not output.is_dir():
        raise typer.BadParameter(f"There is no folder {output}.")
    given = {"formats": formats, "dtype": dtype, "gguf_type": gguf_type, "name": name}
    document: dict[str, Any] = {"kind": "export", "model": _model(model_reference(session, job), checkpoint)}
    submitted = session.client.jobs.create(document | {key: value for key, value in given.items() if value is not None})
    if not wait:
        report_submitted(session, submitted)
        return
    if session.output.as_json:
        session.client.jobs.wait(submitted.id)
    else:
        with detaching(session, submitted.id):
            follow_to_end(session, submitted, after=0)
    [done] = session.client.exports.list(submitted.id)
    _print_exports(session, [done])
    if output is None:
        return
    for artifact in done.artifacts:
        target = target_file(output, f"{done.job_id}-{artifact.name}.zip")
        with session.output.progress(f"Downloading {target.name}") as on_progress:
            session.client.exports.download(done.job_id, artifact.name, target, on_progress)
        session.output.talk(f"Saved {target}.")


@command(app)
def exports(session: Session, job: JobArgument) -> None:
    """List the exports of a job's models with their artifacts, or one export."""
    _print_exports(session, list(session.client.exports.list(job)))


@command(app, patient=True)
def push(
    session: Session,
    export_job: Annotated[
        str,
        typer.Argument(
            metavar="EXPORT",
            help="The export: its id, unique id prefix or unique name.",
            autocompletion=complete_job,
        ),
    ],
    repo: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository of the hub.")],
    artifact: Annotated[
        str | None, typer.Option("--artifact", metavar="NAME", help="Artifact of the export, such as gguf-q8_0.")
    ] = None,
    private: Annotated[
        bool, typer.Option("--private/--public", help="Whether only you, or everybody, can read a new repository.")
    ] = True,
) -> None:
    """Upload an artifact of an export to the Hugging Face hub, with your token in HF_TOKEN or typed in."""
    from ftlab.cli.download import only_artifact
    from ftlab.cli.login import ask_secret
    from ftlab.settings import secret_of

    found = session.client.jobs.get(export_job)
    name = artifact or only_artifact(session, found.id)
    token = secret_of("HF_TOKEN") or ask_secret("Token for the hub").strip()
    if not token:
        raise typer.BadParameter("There is no token for the hub: set HF_TOKEN, or give it on standard input.")
    with session.output.progress(f"Uploading {name}") as on_progress:
        done = session.client.exports.push(found.id, name, repo, token=token, private=private, on_progress=on_progress)
    if not session.output.as_json:
        session.output.data(done.url)
    session.output.done(done, f"Uploaded {done.num_files} files." if done.is_new else "The hub had all files already.")


def _model(job: str, checkpoint: str | None) -> str:
    """The reference to a job's model or checkpoint, or to a model."""
    if checkpoint is None:
        return job if job.startswith(("job:", "model:")) else f"job:{job}"
    step = checkpoint.removeprefix("step-")
    if not step.isdecimal() or job.startswith("model:"):
        raise typer.BadParameter("--checkpoint must be the name of a checkpoint of a job, such as step-00000050.")
    return f"job:{job.removeprefix('job:')}/step-{int(step)}"


def _print_exports(session: Session, found: "list[Export]") -> None:
    if session.output.as_json:
        session.output.json(found)
        return
    if not found:
        session.output.talk("There are no exports of this job's models. Make one with 'ftlab export JOB'.")
        return
    columns = ("EXPORT", "STATUS", "ARTIFACT", "WEIGHTS", "SIZE", "LARGEST DIFFERENCE", "BOUND", "SAME TOKEN")
    session.output.table(columns, list(_lines(found)), optional=("WEIGHTS", "BOUND", "SAME TOKEN"))


def _lines(found: "list[Export]") -> Iterator[tuple[object, ...]]:
    from ftlab.formatting import size

    for each in found:
        if not each.artifacts:
            yield each.job_id, each.status, "", "", "", "", "", ""
        for artifact in each.artifacts:
            receipt = artifact.receipt
            yield (
                each.job_id,
                each.status,
                artifact.name,
                artifact.weight_type,
                size(artifact.size_bytes),
                f"{receipt.max_difference:.3g}",
                f"{receipt.bound:.3g}",
                f"{receipt.top1_agreement:.1%}",
            )
