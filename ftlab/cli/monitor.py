"""`ftlab monitor`: all jobs and one of them in the terminal, live."""

import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import FIRST_CONTACT_S, Session, command
from ftlab.cli.watch import complete_job

if TYPE_CHECKING:
    from types import ModuleType

    from ftlab.client import AsyncClient
    from ftlab.tui.snapshot import JobDetail, Snapshot

PIPE_WIDTH = 120
ACTION_BUDGET_S = 20.0
"""How long an action is tried again while the service does not answer; the user is waiting for it."""


@command(app)
def monitor(
    session: Session,
    job: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="Open this job: its id, unique prefix or name.", autocompletion=complete_job
        ),
    ] = None,
    readonly: Annotated[bool, typer.Option("--readonly", help="Refuse everything that changes a job.")] = False,
    as_ascii: Annotated[bool, typer.Option("--ascii", help="Draw with ASCII characters only.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Print one snapshot as text and end.")] = False,
) -> None:
    """Watch and control jobs on one screen. With --json, print one snapshot as JSON and end."""
    # Here, because every command would wait for it.
    import asyncio

    if once or session.output.as_json:
        asyncio.run(_print_once(session, job, as_ascii=as_ascii))
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        raise typer.BadParameter("The monitor needs a terminal. Without one, print a snapshot with --once or --json.")
    asyncio.run(_run(session, job, is_readonly=readonly, is_ascii=as_ascii))


async def _run(session: Session, job: str | None, *, is_readonly: bool, is_ascii: bool) -> None:
    from ftlab.errors import ServiceUnavailableError, UnreachableError

    tui = _application()
    async with session.async_client(0.0) as reads, session.async_client(ACTION_BUDGET_S) as acts:
        job_id = None
        if job is not None:
            try:
                job_id = (await reads.jobs.get(job)).id
            except (UnreachableError, ServiceUnavailableError):
                job_id = job  # shown when the service is back, if it is an id
        from ftlab.tui.background import terminal_background

        options = {"job_id": job_id, "is_readonly": is_readonly, "is_ascii": is_ascii}
        await tui.run(tui.Monitor(reads, acts, background=terminal_background(), **options))


async def _print_once(session: Session, job: str | None, *, as_ascii: bool) -> None:
    from datetime import UTC, datetime

    from ftlab.tui.plain import snapshot_document, snapshot_text

    async with session.async_client(FIRST_CONTACT_S) as client:
        snapshot, detail = await _fetch(client, job)
    if session.output.as_json:
        session.output.json(snapshot_document(snapshot, detail))
        return
    width = shutil.get_terminal_size((PIPE_WIDTH, 24)).columns
    for text in snapshot_text(snapshot, detail, width, datetime.now(UTC), is_ascii=as_ascii):
        session.output.data(text)


async def _fetch(client: "AsyncClient", job: str | None) -> "tuple[Snapshot, JobDetail | None]":
    from ftlab.tui.detail_feed import load
    from ftlab.tui.job_feed import ServiceFeed

    # The first request raises what is wrong: a poll only notes it.
    detail = None if job is None else await load(client, job)
    if job is None:
        await client.queue(limit=1)
    return await ServiceFeed(client).poll(), detail


def _application() -> "ModuleType":
    """The module of the application. Raises `InvalidRequestError` where Textual is not installed."""
    from ftlab.errors import InvalidRequestError

    try:
        from ftlab.tui import app as tui
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise InvalidRequestError(
            "The monitor needs Textual, which is not installed. Install it with: pip install 'ftlab[tui]'. "
            "'ftlab monitor --once' works without it.",
            "textual_missing",
        ) from None
    return tui
