"""Creates an API key with the scope `admin`, directly in the database: for the person who runs the service.

`python -m cluster.machine.first_key` prints the key if the service has no valid one with that scope, else nothing.
With `--always` it creates another one. The settings come from the environment.
"""

import sys
from datetime import UTC, datetime

from ftlab.errors import FineTuneLabError
from ftlab.schemas.accounts import LOCAL_USER, Scope
from ftlab.settings import load_settings
from tracking.store import Store, Transaction


def has_admin_key(store: Store) -> bool:
    """Whether somebody can administer the service."""
    with store.read() as tx:
        return bool(tx.keys.admins(now=datetime.now(UTC)))


def create_admin_key(store: Store, *, always: bool = False) -> str | None:
    """The text of a new key of the first user, who owns what the service has from its time without keys.

    `None` if there is a valid admin key already, unless `always`.
    """
    now = datetime.now(UTC)
    with store.begin() as tx:
        if tx.keys.admins(now=now) and not always:
            return None
        _ensure_first_user(tx, now)
        return tx.keys.add(LOCAL_USER, "first admin key", [Scope.ADMIN], expires_at=None, now=now)[0]


def _ensure_first_user(tx: Transaction, now: datetime) -> None:
    tx.users.ensure(LOCAL_USER, now=now)
    tx.users.set_disabled(LOCAL_USER, None)


def main(arguments: list[str]) -> int:
    try:
        store = Store.open(load_settings().store_url)
        store.migrate()
        key = create_admin_key(store, always="--always" in arguments)
        store.close()
    except FineTuneLabError as error:
        print(error.message, file=sys.stderr)
        return 1
    if key:
        print(key)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
