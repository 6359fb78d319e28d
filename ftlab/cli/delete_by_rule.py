"""Delete records by a rule: show what it finds, ask, and delete."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ftlab.cli.jobs import confirm
from ftlab.cli.session import Session

if TYPE_CHECKING:
    from ftlab.schemas.replies import CheckpointPrune, ModelPrune

Found = TypeVar("Found", "CheckpointPrune", "ModelPrune")
Rows = list[tuple[object, ...]]


def delete_by_rule(
    session: Session,
    prune: Callable[[bool], Found],
    *,
    noun: str,
    header: Sequence[str],
    rows: Callable[[Found], Rows],
    dry_run: bool,
    yes: bool,
) -> None:
    """Show what a rule finds and what stays, and delete after a confirmation.

    `prune` applies the rule; with `True` it deletes nothing.
    """
    from ftlab.formatting import counted, size

    def summary(found: Found) -> str:
        return f"{counted(len(found.data), noun)} of {size(found.size_bytes)}"

    found = prune(True)
    if not session.output.as_json and (shown := rows(found)):
        session.output.table(header, shown)
    if found.data and not dry_run:
        confirm(f"Delete {summary(found)}? This cannot be undone.", yes)
        found = prune(False)
        session.output.talk(f"Deleted {summary(found)}.")
    elif not session.output.as_json:
        session.output.talk(f"Would delete {summary(found)}." if found.data else "There is nothing to delete.")
    if session.output.as_json:
        session.output.json(found)
