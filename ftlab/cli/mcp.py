"""`ftlab mcp` and `ftlab skill`: for coding agents."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command

if TYPE_CHECKING:
    from types import ModuleType

CALL_BUDGET_S = 20.0
"""How long a call is tried again while the service does not answer; an agent is waiting for it."""
SKILL_NAME = "finetune-lab"
"""The name in the skill's front matter, which that of its folder must repeat."""


@command(app)
def mcp(
    session: Session,
    readonly: Annotated[
        bool, typer.Option("--readonly", help="Offer only tools that change nothing, whatever the key allows.")
    ] = False,
) -> None:
    """Serve tools for a coding agent over standard input and output, in the Model Context Protocol."""
    import asyncio

    asyncio.run(_serve(session, _server(), readonly=readonly))


async def _serve(session: Session, server: "ModuleType", *, readonly: bool) -> None:
    async with session.async_client(CALL_BUDGET_S) as client:
        await server.serve(client, readonly=readonly)


def _server() -> "ModuleType":
    """The module of the server. Raises `InvalidRequestError` where the package `mcp` is not installed."""
    from ftlab.errors import InvalidRequestError

    try:
        from ftlab.mcp import stdio
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "mcp":
            raise
        raise InvalidRequestError(
            "'ftlab mcp' needs the package mcp, which is not installed. Install it with: pip install 'ftlab[mcp]'.",
            "mcp_missing",
        ) from None
    return stdio


@command(app)
def skill(
    session: Session,
    install: Annotated[
        Path | None,
        typer.Option("--install", metavar="FOLDER", help="Write it below this folder, from which agents load skills."),
    ] = None,
) -> None:
    """Print the skill that teaches a coding agent to use this command line, or install it."""
    from importlib.resources import files

    text = (files("ftlab") / "skill" / "SKILL.md").read_text("utf-8")
    if install is None and session.output.as_json:
        session.output.json({"name": SKILL_NAME, "text": text})
        return
    if install is None:
        session.output.data(text.removesuffix("\n"))
        return
    file = install / SKILL_NAME / "SKILL.md"
    file.parent.mkdir(parents=True, exist_ok=True)
    session.output.page(file, text)
