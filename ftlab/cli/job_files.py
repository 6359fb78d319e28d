"""`ftlab init` and `ftlab clone`: a new file, and the job file of an earlier job."""

from pathlib import Path
from typing import Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.starting_files import FileKind
from ftlab.cli.watch import JobArgument


@app.command()
def init(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The file to write; by default, KIND.yaml.", show_default=False),
    ] = None,
    kind: Annotated[FileKind, typer.Option("--kind", help="What the file describes.")] = FileKind.JOB,
    model: Annotated[str, typer.Option("--model", help="Base model.")] = "HuggingFaceTB/SmolLM2-135M-Instruct",
    dataset: Annotated[str, typer.Option("--dataset", help="File, id or name of the dataset.")] = "train.jsonl",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write the file of a job, a sweep or a chain, with its usual settings, and their defaults as comments."""
    import json

    from ftlab.errors import InvalidRequestError

    file = file or Path(f"{kind}.yaml")
    if file.exists() and not force:
        raise InvalidRequestError(
            f"{file} exists. Choose another name, or pass --force to replace it.", "invalid_option"
        )
    # A JSON text is a YAML text, and needs no thought about colons and quotes.
    values = {name: json.dumps(value, ensure_ascii=False) for name, value in (("model", model), ("dataset", dataset))}
    file.write_text(kind.text(file=str(file), **values), "utf-8")
    typer.echo(f"Wrote {file}. Submit it with: {kind.command} {file} {kind.follow_option}", err=True)


@command(app)
def clone(
    session: Session,
    job: JobArgument,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, as a.b=value.")
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Submit the copy instead of printing it.")] = False,
) -> None:
    """Print the job file of an earlier job, or submit the job again with other settings."""
    from ftlab.cli.job_details import auto_comment
    from ftlab.cli.job_source import assign
    from ftlab.schemas.job_file import parse_job_config, short_document, write_yaml

    found = session.client.jobs.get(job)
    source = f"Job {found.id}"
    document = short_document(parse_job_config(found.fixed_config, source))
    if "name" in document:
        document["name"] = f"{document['name'][:190]} copy"  # of two jobs with one name, neither can be named
    for assignment in assignments or []:
        assign(document, assignment)
    config = parse_job_config(document, source)
    if submit:
        from ftlab.cli.submit import report_submitted

        report_submitted(session, session.client.jobs.create(config))
        return
    document = short_document(config)
    if session.output.as_json:
        session.output.json(document)
    else:
        for line in auto_comment(found):
            session.output.data(line)
        session.output.data(write_yaml(document).rstrip())
