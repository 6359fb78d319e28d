"""`ftlab clone`: an earlier job as a job file again."""

from typing import Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command
from ftlab.cli.watch import JobArgument


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
    from ftlab.cli.job_source import assign
    from ftlab.schemas.job_file import parse_job_config, write_yaml

    found = session.client.jobs.get(job)
    source = f"Job {found.id}"
    document = parse_job_config(found.config, source).model_dump(mode="json", exclude_defaults=True)
    if "name" in document:
        document["name"] = f"{document['name'][:190]} copy"  # of two jobs with one name, neither can be named
    for assignment in assignments or []:
        assign(document, assignment)
    config = parse_job_config(document, source)
    if submit:
        from ftlab.cli.submit import report_submitted

        report_submitted(session, session.client.jobs.create(config))
        return
    document = config.model_dump(mode="json", exclude_defaults=True)
    if session.output.as_json:
        session.output.json(document)
    else:
        session.output.data(write_yaml(document).rstrip())
