"""`ftlab models check`."""

from typing import Annotated

import typer

from ftlab.cli.records import models
from ftlab.cli.session import Session, command


@command(models, "check")
def check_model(
    session: Session,
    ref: Annotated[
        str, typer.Argument(metavar="REF", help="org/name, org/name@revision, a path, job:<id> or model:<id>.")
    ],
) -> None:
    """Show whether a model can be trained, and its properties."""
    from ftlab.formatting import size

    found = session.client.models.check(ref)
    if session.output.as_json:
        session.output.json(found)
        return
    session.output.record(
        {
            "Model": found.model,
            "Revision": found.revision,
            "Base model": found.base_model,
            "Architecture": found.architecture,
            "Parameters": None if found.parameters is None else f"{found.parameters:,}",
            "Size": None if found.size_bytes is None else size(found.size_bytes),
            "Positions": None if found.max_positions is None else f"{found.max_positions:,}",
            "Target modules": ", ".join(found.target_modules or ()) or None,
            "Chat template": None if found.has_chat_template is None else "yes" if found.has_chat_template else "no",
            "Licence": found.licence,
            "On this machine": ("yes" if found.is_local else "no") if found.is_checked else None,
        }
    )
    for warning in found.warnings:
        session.output.talk(f"Warning: {warning}")
