"""`ftlab import openai`: datasets and job files made of what an organisation has at OpenAI."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import CONTEXT, app
from ftlab.cli.session import Session, command
from ftlab.cli.submit import upload

if TYPE_CHECKING:
    from ftlab.openai.folder import OpenAiFolder, TrainingFile

OPENAI_URL = "https://api.openai.com/v1"
DATASETS = "datasets.json"
"""File with the datasets that were made, by the id of OpenAI's file."""
DRAFTS = "drafts"

imports = typer.Typer(help="Import from other services.", no_args_is_help=True, context_settings=CONTEXT)
app.add_typer(imports, name="import")


@command(imports, "openai")
def import_openai(
    session: Session,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder for the files and jobs.")],
    offline: Annotated[
        bool, typer.Option("--offline", help="Use what the folder has; ask OpenAI for nothing.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            "--api-key", envvar="OPENAI_API_KEY", show_envvar=True, help="Key for OpenAI.", show_default=False
        ),
    ] = None,
    url: Annotated[str, typer.Option("--url", metavar="URL", help="Address of OpenAI's API.")] = OPENAI_URL,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model", metavar="NAME=BASE", help="Base model for jobs that trained this model; can be repeated."
        ),
    ] = None,
) -> None:
    """Copy files and jobs from OpenAI into a folder, make datasets of the files, and write a job file for each job."""
    from ftlab.openai.folder import OpenAiFolder

    bases = _bases(models or [])
    if not offline:
        _copy(session, folder, url, key)
    elif not folder.is_dir():
        raise typer.BadParameter(f"{folder} is not a folder.")
    found = OpenAiFolder.read(folder)
    datasets, num_refused = _make_datasets(session, folder, found)
    num_drafts = _write_drafts(session, folder, found, datasets, bases)
    session.output.talk(f"{len(datasets)} datasets and {num_drafts} job files, in {folder / DRAFTS}.")
    if session.output.as_json:
        session.output.json({"datasets": datasets, "drafts": num_drafts, "refused": num_refused})
    if num_refused:
        raise typer.Exit(1)


def _copy(session: Session, folder: Path, url: str, key: str | None) -> None:
    from ftlab.openai.fetch import OpenAiAccount

    if not key:
        raise typer.BadParameter("OpenAI needs a key: set OPENAI_API_KEY, or use --offline for a folder that you have.")
    account = OpenAiAccount(url, key)
    try:
        num_new = account.copy(folder, session.output.talk)
    finally:
        account.close()
    session.output.talk(f"Copied {num_new} new files and jobs into {folder}.")


def _make_datasets(session: Session, folder: Path, found: "OpenAiFolder") -> tuple[dict[str, str], int]:
    """The datasets by the id of OpenAI's file, or its path; and the number of files that were refused."""
    from ftlab.errors import InvalidRequestError

    state = folder / DATASETS
    datasets: dict[str, str] = json.loads(state.read_text("utf-8")) if state.exists() else {}
    num_refused = 0
    for file in found.files:
        key = file.id or str(file.path.relative_to(folder))
        if key in datasets and _exists(session, datasets[key]):
            continue
        try:
            datasets[key] = _upload(session, file)
        except InvalidRequestError as error:
            num_refused += 1
            datasets.pop(key, None)
            session.output.talk(f"{file.path.name} ({file.name}) cannot be used: {error.message}")
        state.write_text(json.dumps(datasets, indent=2) + "\n", "utf-8")
    return datasets, num_refused


def _upload(session: Session, file: "TrainingFile") -> str:
    from ftlab.client.wire import UploadOptions

    return upload(session, file.path, UploadOptions(file.name[:200], **file.options)).id


def _exists(session: Session, dataset: str) -> bool:
    from ftlab.errors import NotFoundError

    try:
        session.client.datasets.get(dataset)
    except NotFoundError:
        return False
    return True


def _write_drafts(
    session: Session, folder: Path, found: "OpenAiFolder", datasets: dict[str, str], bases: dict[str, str]
) -> int:
    """Write the job files. One that is there is kept: it may have been edited."""
    from ftlab.openai.drafts import draft_of

    num_drafts = 0
    for job in found.jobs:
        draft = draft_of(job, datasets, bases)
        if draft.text is None:
            session.output.talk(f"{draft.job_id} has no job file: {draft.problem}.")
            continue
        target = folder / DRAFTS / f"{draft.job_id}.yaml"
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            target.write_text(draft.text, "utf-8")
        num_drafts += 1
    return num_drafts


def _bases(models: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in models]
    wrong = next((text for text, pair in zip(models, pairs, strict=True) if not (pair[0] and pair[2])), None)
    if wrong is not None:
        raise typer.BadParameter(
            f"--model must be NAME=BASE, such as gpt-4o-mini-2024-07-18=org/name; it is {wrong!r}."
        )
    return {name: base for name, _, base in pairs}
