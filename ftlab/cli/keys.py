"""`ftlab keys ...`: API keys."""

import re
from typing import TYPE_CHECKING, Annotated

import typer

from ftlab.cli.app import CONTEXT, app
from ftlab.cli.jobs import YesOption, confirm
from ftlab.cli.session import QuietOption, Session, before_command, command, refuse_unknown
from ftlab.cli.up import HomeOption

if TYPE_CHECKING:
    from ftlab.schemas.accounts import ApiKey, CreatedKey

keys = typer.Typer(help="Create, list, rotate and revoke API keys.", no_args_is_help=True, context_settings=CONTEXT)
app.add_typer(keys, name="keys")

UNITS_IN_HOURS = {"h": 1.0, "d": 24.0, "w": 168.0}

KeyArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of the key: its middle part.")]
UserOption = Annotated[
    str | None, typer.Option("--user", metavar="NAME", help="Another user, for admins.", show_default=False)
]


@command(keys, "ls")
def list_keys(session: Session, user: UserOption = None) -> None:
    """List your keys, newest first."""
    session.output.listing(
        session.client.keys.list(user=user),
        ("ID", "NAME", "SCOPES", "STATE", "EXPIRES", "LAST USED", "CREATED"),
        lambda key: (
            *(key.id, key.name, ",".join(key.scopes), _state(key)),
            *(key.expires_at or "", key.last_used_at or "", key.created_at),
        ),
        empty="There are no keys.",
        shrink=("NAME",),
        optional=("CREATED",),
    )


@command(keys, "create")
def create_key(
    session: Session,
    scope: Annotated[
        str, typer.Option("--scope", metavar="SCOPES", help="read, train or admin; each includes those before it.")
    ] = "train",
    user: UserOption = None,
    name: Annotated[str, typer.Option("--name", help="What the key is for.")] = "key",
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="TIME", help="When it ends, such as 90d, 12h or 4w; default: never."),
    ] = None,
) -> None:
    """Create a key and print it; it is not shown again."""
    from ftlab.schemas.accounts import Scope

    scopes = [word.strip() for word in scope.split(",")]
    refuse_unknown(scopes, list(Scope), "a scope", "The scopes are")
    days = None if expires is None else _hours(expires, "--expires") / 24
    _show(session, session.client.keys.create(scopes, name=name, user=user, expires_in_days=days))


@command(keys, "rotate")
def rotate_key(
    session: Session,
    key: KeyArgument,
    grace: Annotated[str, typer.Option("--grace", metavar="TIME", help="How long both are valid.")] = "24h",
) -> None:
    """Create a key in place of another one, which stays valid for a while."""
    _show(session, session.client.keys.rotate(key, grace_hours=_hours(grace, "--grace")))
    session.output.talk(f"Key {key!r} is valid for another {grace}.")


@command(keys, "revoke")
def revoke_key(session: Session, key: KeyArgument, yes: YesOption = False) -> None:
    """Refuse a key from now on."""
    confirm(f"Revoke key {key!r}?", yes)
    revoked = session.client.keys.revoke(key)
    session.output.done(revoked, f"Key {key!r} is refused from now on.")


@keys.command("recover")
def recover(context: typer.Context, home: HomeOption = None, quiet: QuietOption = False) -> None:
    """Create an admin key without having one, on the machine and with the data folder of the service."""
    from ftlab.cli import network, up
    from ftlab.cli.output import Output
    from ftlab.settings import load_settings

    output = Output(quiet=quiet or before_command(context, "quiet"))
    settings = load_settings({"home": home})
    created = network.create_key(settings, [*up.service_command(network.FIRST_KEY), "--always"])
    output.talk("An API key with the scope 'admin'. It is not shown again:")
    output.data(created or "")


def _show(session: Session, created: "CreatedKey") -> None:
    if session.output.as_json:
        session.output.json(created)
        return
    session.output.talk(f"A key of {created.record.owner!r}. It is not shown again:")
    session.output.data(created.key)


def _state(key: "ApiKey") -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "valid" if key.is_valid else "ended"


def _hours(text: str, option: str) -> float:
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([hdw])", text.strip())
    if found is None:
        raise typer.BadParameter(f"{option} must be a number with h, d or w behind it, such as 90d.")
    return float(found[1]) * UNITS_IN_HOURS[found[2]]
