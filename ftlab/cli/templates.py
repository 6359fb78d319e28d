"""`ftlab templates ...`: named parts of job files."""

from pathlib import Path
from typing import Annotated

import typer

from ftlab.cli.app import CONTEXT, app
from ftlab.cli.jobs import YesOption, confirm
from ftlab.cli.session import Session, command

templates = typer.Typer(help="List, show and save templates of jobs.", no_args_is_help=True, context_settings=CONTEXT)
app.add_typer(templates, name="templates")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the template.")]

LEFT_OUT = ("name", "register_as", "dataset", "dataset_weights", "eval_dataset", "eval_split_files")
"""Settings of a job that do not become part of its template: they belong to this job only."""


@command(templates, "ls")
def list_templates(session: Session) -> None:
    """List templates: built-in ones, then yours."""
    session.output.listing(
        session.client.templates.list(),
        ("NAME", "OWNER", "DESCRIPTION"),
        lambda item: (item.name, item.owner or "built in", item.description),
        shrink=("DESCRIPTION",),
    )


@command(templates, "show")
def show_template(session: Session, name: NameArgument) -> None:
    """Print a template, with its comments."""
    found = session.client.templates.get(name)
    if session.output.as_json:
        session.output.json(found)
    else:
        session.output.data(found.text.removesuffix("\n"))


@command(templates, "save")
def save_template(
    session: Session,
    name: NameArgument,
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="YAML file with settings; '-' reads standard input.")
    ] = None,
    job: Annotated[
        str | None, typer.Option("--job", metavar="ID", help="Take the settings of this job instead of a file.")
    ] = None,
) -> None:
    """Save a template of your own, or replace it."""
    from ftlab.cli.job_source import read_text

    if (file is None) == (job is None):
        raise typer.BadParameter("Give a file or --job ID, one of them.")
    text = read_text(file) if file else _settings_of(session, str(job))
    saved = session.client.templates.save(name, text)
    session.output.done(saved, f"Saved template {name!r}. Use it with: ftlab submit --template {name}")


@command(templates, "rm")
def remove_template(session: Session, name: NameArgument, yes: YesOption = False) -> None:
    """Delete a template of your own."""
    found = session.client.templates.get(name)
    if found.owner is not None:
        confirm(f"Delete template {name!r}?", yes)
    session.client.templates.delete(name)
    session.output.talk(f"Deleted template {name!r}.")


def _settings_of(session: Session, job: str) -> str:
    """The settings of a job other than defaults, as the text of a template."""
    from ftlab.formatting import one_line
    from ftlab.schemas.job_file import parse_job_config, short_document, write_yaml

    found = session.client.jobs.get(job)
    config = parse_job_config(found.config, f"Job {found.id}")
    document = {name: value for name, value in short_document(config).items() if name not in LEFT_OUT}
    return f"# Settings of job {one_line(found.name)} ({found.id}).\n{write_yaml(document)}"
