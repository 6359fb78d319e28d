"""Users, API keys, sessions of the web app, and the audit log, as they travel between the service and its clients."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from ftlab.schemas.common import Name, StrictModel, WireModel

LOCAL_USER = "local"
"""The one user of a service without keys, and the first one of a service with keys."""
USER_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
MAX_DAYS = 3650
MAX_GRACE_HOURS = 24 * 30
DEFAULT_GRACE_HOURS = 24.0


class Scope(StrEnum):
    """What a key allows. Each scope includes those before it."""

    READ = "read"
    """See the jobs, datasets, models and costs of the key's user."""
    TRAIN = "train"
    """Also change them: submit, cancel, upload, delete."""
    ADMIN = "admin"
    """Also manage users, keys and quotas, act for other users, and read the audit log."""

    @property
    def includes(self) -> frozenset["Scope"]:
        """This scope and those that it includes."""
        ranks = list(Scope)
        return frozenset(ranks[: ranks.index(self) + 1])


class NewUser(StrictModel):
    """A user to add."""

    name: str = Field(pattern=USER_NAME)
    """Up to 63 characters: a-z, 0-9, '.', '_' and '-'."""


class UserChange(StrictModel):
    """Whether a user may use the service."""

    is_disabled: bool


class User(WireModel):
    """Someone who owns jobs, datasets and models."""

    name: str
    is_disabled: bool
    """The keys of a disabled user are refused; their jobs and data stay, and queued jobs still run."""
    num_keys: int
    """Keys that are valid now."""
    created_at: datetime


class NewKey(StrictModel):
    """An API key to create for a user."""

    scopes: list[Scope] = Field(min_length=1, max_length=len(Scope), strict=False)
    """What the key allows: `read`, `train`, `admin`. Each includes those before it."""
    name: Name = "key"
    """What the key is for."""
    expires_in_days: float | None = Field(default=None, gt=0, le=MAX_DAYS)
    """Default: the key does not expire."""


class KeyRotation(StrictModel):
    """How a key is replaced."""

    grace_hours: float = Field(default=DEFAULT_GRACE_HOURS, ge=0, le=MAX_GRACE_HOURS)
    """How long the old key stays valid beside the new one."""


class ApiKey(WireModel):
    """An API key, without its secret."""

    id: str
    owner: str
    """The user whose records the key gives access to."""
    name: str
    scopes: list[Scope]
    is_valid: bool
    """Whether it is accepted now: neither revoked nor expired, and its user is not disabled."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    """Exact to about a minute."""


class CreatedKey(WireModel):
    """A key that was just created. Its secret is stored nowhere and never shown again."""

    key: str
    """The whole key, `ftl_<id>_<secret>`: what clients send."""
    record: ApiKey


class SignIn(StrictModel):
    """The key with which a browser signs in."""

    key: str = Field(min_length=1, max_length=200)


class Session(WireModel):
    """Who the caller is."""

    user: str
    scopes: list[Scope]
    key_id: str | None
    """The key that the caller uses; none where the service requires no keys."""
    requires_keys: bool
    """Whether the service requires keys."""
    expires_at: datetime | None
    """When the session of a browser, or the key, ends."""


class AuditEntry(WireModel):
    """One action of a user, or one request with a wrong key."""

    id: str
    at: datetime
    user: str
    """Who acted; `-` for a request with a wrong key."""
    key_id: str | None
    owner: str
    """Whose records it was about: another user's where an admin acted for them."""
    action: str
    """Method and path of the route, such as `POST /api/training/jobs`."""
    path: str
    """The path that was requested, with the ids of its records."""
    status: int
    """HTTP status of the reply."""
    address: str | None
    """Network address that the request came from."""
    request_id: str | None
    """Id of the request in the service's log."""
