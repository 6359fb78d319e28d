"""`ftlab users ...`: who may use the service."""

from typing import Annotated

import typer

from ftlab.cli.app import CONTEXT, app
from ftlab.cli.jobs import YesOption, confirm
from ftlab.cli.session import Session, command

users = typer.Typer(help="Add, list and disable users.", no_args_is_help=True, context_settings=CONTEXT)
app.add_typer(users, name="users")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the user.")]


@command(users, "ls")
def list_users(session: Session) -> None:
    """List the users."""
    session.output.listing(
        session.client.users.list(),
        ("NAME", "STATE", "KEYS", "ADDED"),
        lambda user: (user.name, "disabled" if user.is_disabled else "", user.num_keys, user.created_at),
        empty="There are no users: this service has no API keys yet, and everyone is 'local'.",
    )


@command(users, "add")
def add_user(session: Session, name: NameArgument) -> None:
    """Add a user."""
    user = session.client.users.add(name)
    session.output.done(user, f"Added {name!r}. Create a key with: ftlab keys create --user {name} --scope train")


@command(users, "disable")
def disable_user(session: Session, name: NameArgument, yes: YesOption = False) -> None:
    """Refuse the keys of a user; their jobs and data stay."""
    confirm(f"Refuse all keys of {name!r}?", yes)
    user = session.client.users.disable(name)
    session.output.done(user, f"The keys of {name!r} are refused from now on.")


@command(users, "enable")
def enable_user(session: Session, name: NameArgument) -> None:
    """Accept the keys of a disabled user again."""
    user = session.client.users.enable(name)
    session.output.done(user, f"The keys of {name!r} are accepted again.")
