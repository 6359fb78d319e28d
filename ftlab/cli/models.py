"""`ftlab models check`, `pin`, `unpin` and `prune`."""

from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.delete_by_rule import Rows, delete_by_rule
from ftlab.cli.jobs import YesOption
from ftlab.cli.records import ModelArgument, find_model, models
from ftlab.cli.session import Session, command

if TYPE_CHECKING:
    from ftlab.schemas.replies import ModelPrune


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


@command(models, "pin")
def pin_model(session: Session, model: ModelArgument) -> None:
    """Keep a tuned model until it is unpinned: neither a rule nor a delete removes it."""
    _set_pinned(session, model, is_pinned=True)


@command(models, "unpin")
def unpin_model(session: Session, model: ModelArgument) -> None:
    """Let a tuned model be deleted again."""
    _set_pinned(session, model, is_pinned=False)


@command(models, "prune")
def prune_models(
    session: Session,
    chosen: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL...]", help="Ids or names of models; default: all of yours.")
    ] = None,
    older_than: Annotated[
        float, typer.Option("--older-than", metavar="DAYS", min=0, help="Only those delivered more days ago.")
    ] = 0.0,
    keep_newest: Annotated[
        int, typer.Option("--keep-newest", metavar="N", min=0, help="Keep this many of the newest of each base model.")
    ] = 1,
    keep_best: Annotated[bool, typer.Option(help="Keep the one with the lowest eval loss of each base model.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    yes: YesOption = False,
) -> None:
    """Delete old tuned models with their files, except those that are still needed or have a pinned checkpoint."""

    def prune(dry: bool) -> "ModelPrune":
        return session.client.models.prune(
            chosen or (), older_than_days=older_than, keep_newest=keep_newest, keep_best=keep_best, dry_run=dry
        )

    def rows(found: "ModelPrune") -> Rows:
        deleted: Rows = [(model.id, model.name, model.created_at, "") for model in found.data]
        return deleted + [(model.model_id, model.name, "", f"stays: {model.reason}") for model in found.kept]

    header = ("MODEL", "NAME", "DELIVERED", "")
    delete_by_rule(session, prune, noun="model", header=header, rows=rows, dry_run=dry_run, yes=yes)


def _set_pinned(session: Session, model: str, *, is_pinned: bool) -> None:
    changed = session.client.models.pin(find_model(session, model).id, is_pinned=is_pinned)
    session.output.done(changed, f"Model {changed.name!r} is {'pinned' if is_pinned else 'no longer pinned'}.")
