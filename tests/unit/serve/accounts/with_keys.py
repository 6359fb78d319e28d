"""Users with keys, for tests of a service that requires keys."""

from ftlab.schemas.accounts import Scope
from tests.unit.tracking.samples import NOW
from tracking.store import Store


def add_key(store: Store, user: str, *scopes: Scope) -> dict[str, str]:
    """Headers with a new key of the user, who is added if need be."""
    with store.begin() as tx:
        tx.users.ensure(user, now=NOW)
        return bearer(tx.keys.add(user, "test", list(scopes), expires_at=None, now=NOW)[0])


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}
