"""`ftlab datasets preview`."""

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ftlab.cli.records import DatasetArgument, datasets, find_dataset
from ftlab.cli.session import Session, command

if TYPE_CHECKING:
    from ftlab.schemas import PreviewRow


@command(datasets, "preview")
def preview_dataset(
    session: Session,
    dataset: DatasetArgument,
    rows: Annotated[int, typer.Option(min=1, max=50, help="Number of rows to show.")] = 5,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="REF", help="Show what the chat template of this model leaves out.", show_default=False
        ),
    ] = None,
) -> None:
    """Show the first rows as they are in the file, and as they are trained."""
    found = session.client.datasets.preview(find_dataset(session, dataset).id, rows, model)
    if session.output.as_json:
        session.output.json(found)
        return
    session.output.talk(
        f"Read as shape {found.shape} (confidence {found.confidence:.2f}) of a {found.format} file; "
        f"rows of kind {found.kind}."
    )
    for field in found.fields:
        if field.used_as is None:
            session.output.talk(f"  {field}")
    for row in found.rows:
        for text in _lines(row):
            session.output.data(text)


def _lines(row: "PreviewRow") -> Iterator[str]:
    from ftlab.formatting import one_line

    yield f"line {row.line}"
    if row.raw is not None:
        yield f"  before: {one_line(json.dumps(row.raw, ensure_ascii=False))}"
    if row.problem is not None:
        yield f"  skipped: {one_line(row.problem)}"
        return
    for name, value in (row.row or {}).items():
        if isinstance(value, list) and name != "tools":
            for message in value:
                yield f"  after: {name}: {one_line(_message(message))}"
        else:
            yield f"  after: {name}: {one_line(value if isinstance(value, str) else json.dumps(value))}"
    if row.template_problem is not None:
        yield f"  template: {one_line(row.template_problem)}"


def _message(message: Any) -> str:
    if not isinstance(message, dict):
        return str(message)
    extras = {name: value for name, value in message.items() if name not in ("role", "content")}
    text = f"{message.get('role')}: {message.get('content')}"
    return f"{text} {json.dumps(extras, ensure_ascii=False)}" if extras else text
