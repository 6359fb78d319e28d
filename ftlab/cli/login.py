"""`ftlab login` and `logout`: the key that the commands of this user send."""

import os
import sys
from typing import Annotated

import typer

from ftlab.cli.app import app
from ftlab.cli.session import Session, command


@command(app)
def login(
    session: Session,
    key: Annotated[
        str | None, typer.Option("--key", help="The key; default: asked for, or read from standard input.")
    ] = None,
) -> None:
    """Store the address of a service and your API key for it."""
    from ftlab.client import Client
    from ftlab.settings import load_settings

    address = load_settings({"server": session.server}, with_login=True).server_url
    text = (key or ask_secret(f"API key for {address}")).strip()
    with Client(address, text) as client:
        found = client.session()
    if session.output.as_json:
        session.output.json(found)
    if not found.requires_keys:
        session.output.talk(f"The service at {address} needs no key.")
        return
    file = _store(address, text)
    scopes = ", ".join(found.scopes)
    session.output.talk(f"Signed in at {address} as {found.user!r} ({scopes}). The key is stored in {file}.")


@command(app)
def logout(session: Session) -> None:
    """Remove the stored key. It stays valid: revoke it with 'ftlab keys revoke'."""
    from ftlab.settings import login_file

    file = login_file()
    if not file.exists():
        session.output.talk("There is no stored key.")
        return
    file.unlink()
    session.output.talk(f"Removed {file}.")


@command(app)
def audit(
    session: Session,
    user: Annotated[str | None, typer.Option("--user", metavar="NAME", help="Only what this user did.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="Number of entries.")] = 50,
) -> None:
    """List who did what, newest first; for admins."""
    session.output.listing(
        session.client.audit(user=user, limit=limit),
        ("AT", "USER", "FOR", "WHAT", "STATUS", "FROM", "KEY"),
        lambda entry: (
            *(entry.at, entry.user, "" if entry.owner == entry.user else entry.owner, _what(entry.action, entry.path)),
            *(entry.status, entry.address or "", entry.key_id or ""),
        ),
        empty="There are no entries.",
        shrink=("WHAT",),
        optional=("FROM", "KEY"),
    )


def _what(action: str, path: str) -> str:
    return f"{action.partition(' ')[0]} {path}"


def ask_secret(label: str) -> str:
    """What the user types without an echo, or without a terminal the first line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt(label, hide_input=True, err=True))
    return sys.stdin.readline()


def _store(address: str, key: str) -> str:
    """Write the file that `load_settings` reads, for this user only."""
    import json

    from ftlab.files import replacing
    from ftlab.settings import login_file

    file = login_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as aside:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            # Basic strings of TOML are written as those of JSON.
            stream.write(f"server = {json.dumps(address)}\napi_key = {json.dumps(key)}\n")
    return str(file)
