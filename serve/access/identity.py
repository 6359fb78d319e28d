"""The caller of a request, as their key or session identifies them."""

from dataclasses import dataclass
from datetime import datetime

from starlette.requests import HTTPConnection

from ftlab.errors import PermissionDeniedError
from ftlab.schemas.accounts import LOCAL_USER, Scope
from tracking.store.api_keys import KeyHolder


@dataclass(frozen=True)
class Identity:
    """A user with what the key that they use allows."""

    user: str
    scopes: frozenset[Scope]
    key_id: str | None = None
    requires_keys: bool = True
    expires_at: datetime | None = None

    @classmethod
    def of(cls, holder: KeyHolder) -> "Identity":
        key = holder.key
        scopes = frozenset(scope for given in key.scopes for scope in given.includes)
        ends = [end for end in (key.expires_at, holder.session_ends_at) if end is not None]
        return cls(key.owner, scopes, key.id, expires_at=min(ends, default=None))

    @property
    def is_admin(self) -> bool:
        return Scope.ADMIN in self.scopes

    def require(self, scope: Scope) -> None:
        """Raise `PermissionDeniedError` (code `insufficient_scope`) when the key does not allow this."""
        if scope not in self.scopes:
            raise PermissionDeniedError(f"This needs an API key with the scope {scope.value!r}.", param=scope.value)


LOCAL = Identity(LOCAL_USER, frozenset(Scope), requires_keys=False)
"""Everyone who reaches a service without keys."""


def identity_of(connection: HTTPConnection) -> Identity:
    """The caller, whom the gate has let in."""
    identity = connection.scope["state"]["identity"]
    assert isinstance(identity, Identity)
    return identity
