"""API keys, and the sessions of browsers that signed in with one."""

import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, func, insert, or_, select, update

from ftlab.schemas.accounts import Scope
from tracking.store.account_rows import api_keys, sessions, users
from tracking.store.ids import ALPHABET, NUM_CHARS
from tracking.store.naming import not_found
from tracking.store.rows import columns_of

PREFIX = "ftl"
NUM_SECRET_CHARS = 40
"""36**40 values are more than 200 bits."""


_KEY = re.compile(rf"{PREFIX}_([0-9a-z]{{{NUM_CHARS}}})_[0-9a-z]+")


@dataclass(frozen=True)
class KeyRecord:
    """One API key. Its secret is not stored."""

    id: str
    owner: str
    name: str
    hash: str = field(repr=False)
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None

    def is_open(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True)
class KeyHolder:
    """A key with the state of its user and, where a browser's session led to it, the end of that session."""

    key: KeyRecord
    is_disabled: bool
    session_ends_at: datetime | None = None

    def may_enter(self, now: datetime) -> bool:
        """Whether key, user and session are all valid."""
        is_over = self.session_ends_at is not None and now >= self.session_ends_at
        return self.key.is_open(now) and not self.is_disabled and not is_over


COLUMNS = columns_of(api_keys, KeyRecord)
_WITH_USER = select(*COLUMNS, users.c.disabled_at).join(users, users.c.name == api_keys.c.owner)
_BY_ID = _WITH_USER.where(api_keys.c.id == bindparam("key"))
_BY_SESSION = (
    _WITH_USER.add_columns(sessions.c.expires_at.label("session_ends_at"))
    .join(sessions, sessions.c.key_id == api_keys.c.id)
    .where(sessions.c.hash == bindparam("session"))
)
"""Built once: every request runs one of them."""

KeyRecords = list[KeyRecord]


def new_key(key_id: str | None = None) -> tuple[str, str]:
    """A fresh key: its id and the whole text `ftl_<id>_<secret>`."""
    key_id = key_id or _random(NUM_CHARS)
    return key_id, f"{PREFIX}_{key_id}_{_random(NUM_SECRET_CHARS)}"


def key_id_in(text: str) -> str | None:
    """The id in the text of a key; `None` for a text that is not one."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    is_key = prefix == PREFIX and len(key_id) == NUM_CHARS and len(secret) == NUM_SECRET_CHARS
    return key_id if is_key and set(key_id + secret) <= set(ALPHABET) else None


def hash_of(text: str) -> str:
    """What is stored of a key or a session."""
    return sha256(text.encode()).hexdigest()


def without_keys(text: str) -> str:
    """The text with the secrets of all keys in it replaced: somebody may put a whole key where its id belongs."""
    return _KEY.sub(rf"{PREFIX}_\1_...", text)


class KeyRepository:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self, owner: str, name: str, scopes: list[Scope], *, expires_at: datetime | None, now: datetime
    ) -> tuple[str, KeyRecord]:
        """Create a key. Returns its whole text, which is stored nowhere, and its record."""
        key_id, text = new_key()
        record = KeyRecord(key_id, owner, name, hash_of(text), scopes, now, expires_at, None, None)
        self._connection.execute(insert(api_keys), {**vars(record), "scopes": [scope.value for scope in scopes]})
        return text, record

    def has_any(self) -> bool:
        """Whether a key was ever created."""
        return self._connection.execute(select(api_keys.c.seq).limit(1)).first() is not None

    def find(self, text: str) -> KeyHolder | None:
        """The holder of a key, valid or not, by its whole text; compared in constant time."""
        key_id = key_id_in(text)
        if key_id is None:
            return None
        row = self._connection.execute(_BY_ID, {"key": key_id}).one_or_none()
        # A key that does not exist takes as long as one with another secret.
        stored = "" if row is None else row.hash
        if not hmac.compare_digest(stored, hash_of(text)) or row is None:
            return None
        return _to_holder(row)

    def find_by_id(self, key_id: str) -> KeyHolder | None:
        """The holder of a key whose text was checked before, valid or not."""
        row = self._connection.execute(_BY_ID, {"key": key_id}).one_or_none()
        return None if row is None else _to_holder(row)

    def find_by_session(self, token: str) -> KeyHolder | None:
        """The holder of the key with which a browser's session was opened, valid or not."""
        row = self._connection.execute(_BY_SESSION, {"session": hash_of(token)}).one_or_none()
        return None if row is None else _to_holder(row)

    def get(self, key_id: str, *, owner: str | None = None) -> KeyRecord:
        """Raise `NotFoundError` when there is no such key, or it is another user's."""
        statement = select(*COLUMNS).where(api_keys.c.id == key_id)
        if owner is not None:
            statement = statement.where(api_keys.c.owner == owner)
        found = self._records(statement)
        if not found:
            raise not_found("key", key_id)
        return found[0]

    def list(self, *, owner: str) -> KeyRecords:
        """All keys of the user, newest first."""
        return self._records(select(*COLUMNS).where(api_keys.c.owner == owner).order_by(api_keys.c.seq.desc()))

    def num_open(self, *, now: datetime) -> Mapping[str, int]:
        """Keys that are neither revoked nor expired, by user; users without any are left out."""
        counted = select(api_keys.c.owner, func.count()).where(_is_open(now)).group_by(api_keys.c.owner)
        return {row[0]: row[1] for row in self._connection.execute(counted)}

    def admins(self, *, now: datetime) -> KeyRecords:
        """The keys of users who are not disabled that allow everything now."""
        statement = select(*COLUMNS).join(users, users.c.name == api_keys.c.owner)
        found = self._records(statement.where(_is_open(now), users.c.disabled_at.is_(None)))
        return [key for key in found if Scope.ADMIN in key.scopes]

    def revoke(self, key_id: str, *, now: datetime) -> None:
        """Refuse the key from now on, and end the sessions that were opened with it."""
        is_it = (api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
        self._connection.execute(update(api_keys).where(*is_it).values(revoked_at=now))
        self._connection.execute(delete(sessions).where(sessions.c.key_id == key_id))

    def expire(self, key_id: str, at: datetime) -> None:
        """Refuse the key from this time on, or from its own earlier end."""
        sooner = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > at)
        self._connection.execute(update(api_keys).where(api_keys.c.id == key_id, sooner).values(expires_at=at))

    def note_use(self, key_id: str, at: datetime) -> None:
        self._connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(last_used_at=at))

    def open_session(self, key_id: str, *, expires_at: datetime, now: datetime) -> str:
        """Open a session of a browser, and forget those that have ended. Returns what the browser sends."""
        token = _random(NUM_SECRET_CHARS)
        new = {"hash": hash_of(token), "key_id": key_id, "created_at": now, "expires_at": expires_at}
        self._connection.execute(delete(sessions).where(sessions.c.expires_at <= now))
        self._connection.execute(insert(sessions), new)
        return token

    def close_session(self, token: str) -> None:
        self._connection.execute(delete(sessions).where(sessions.c.hash == hash_of(token)))

    def _records(self, statement: Select[Any]) -> KeyRecords:
        return [_to_record(row) for row in self._connection.execute(statement)]


def _random(num_chars: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(num_chars))


def _is_open(now: datetime) -> Any:
    return api_keys.c.revoked_at.is_(None) & (api_keys.c.expires_at.is_(None) | (api_keys.c.expires_at > now))


def _to_record(row: Any) -> KeyRecord:
    values = {column.name: getattr(row, column.name) for column in COLUMNS}
    return KeyRecord(**{**values, "scopes": [Scope(scope) for scope in values["scopes"]]})


def _to_holder(row: Any) -> KeyHolder:
    return KeyHolder(_to_record(row), row.disabled_at is not None, getattr(row, "session_ends_at", None))
