"""Users, API keys, sessions and the audit log in the store, on both databases."""

import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ftlab.errors import ConflictError, MalformedRequestError, NotFoundError
from ftlab.schemas.accounts import Scope
from tracking.store import Store
from tracking.store.api_keys import key_id_in, new_key
from tracking.store.audit import AuditRecord
from tracking.store.key_counts import KeyCount, Windows

NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def add_key(store: Store, owner: str = "ann", *scopes: Scope, expires_at: datetime | None = None) -> tuple[str, str]:
    with store.begin() as tx:
        tx.users.ensure(owner, now=NOW)
        text, record = tx.keys.add(owner, "laptop", list(scopes or (Scope.READ,)), expires_at=expires_at, now=NOW)
    return text, record.id


def may_enter(store: Store, text: str, now: datetime = NOW) -> bool:
    with store.read() as tx:
        holder = tx.keys.find(text)
    return holder is not None and holder.may_enter(now)


def test_a_key_is_found_by_its_whole_text_only(store: Store) -> None:
    text, key_id = add_key(store)
    other = new_key(key_id)[1]

    assert text.startswith(f"ftl_{key_id}_")
    assert may_enter(store, text)
    assert key_id_in(other) == key_id
    for wrong in (other, text[:-1], text.upper(), f"ftl_{key_id}_", "", "ftl", new_key()[1], text + "x"):
        assert not may_enter(store, wrong)


def test_a_new_database_is_for_its_account_only(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path / 'new' / 'ftlab.db'}")
    store.migrate()
    assert {stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()} == {0o600}
    store.close()


def test_a_database_holds_no_key(store: Store) -> None:
    text, key_id = add_key(store)
    with store.read() as tx:
        assert text.rpartition("_")[2] not in repr(vars(tx.keys.get(key_id)))
        assert tx.keys.get(key_id).hash not in repr(tx.keys.get(key_id))


def test_a_key_ends_when_it_expires_is_revoked_or_its_user_is_disabled(store: Store) -> None:
    text, key_id = add_key(store, expires_at=NOW + HOUR)
    assert may_enter(store, text, NOW + HOUR / 2)
    assert not may_enter(store, text, NOW + HOUR)

    with store.begin() as tx:
        tx.users.set_disabled("ann", NOW)
    assert not may_enter(store, text)
    with store.begin() as tx:
        tx.users.set_disabled("ann", None)
    assert may_enter(store, text)

    with store.begin() as tx:
        tx.keys.revoke(key_id, now=NOW)
    assert not may_enter(store, text)


def test_a_grace_time_never_extends_a_key(store: Store) -> None:
    text, key_id = add_key(store, expires_at=NOW + HOUR)
    with store.begin() as tx:
        tx.keys.expire(key_id, NOW + 2 * HOUR)
    assert not may_enter(store, text, NOW + HOUR)
    with store.begin() as tx:
        tx.keys.expire(key_id, NOW + HOUR / 2)
    assert not may_enter(store, text, NOW + HOUR / 2)


def test_the_keys_of_one_user_are_not_those_of_another(store: Store) -> None:
    add_key(store, "ann")
    _, of_bob = add_key(store, "bob", Scope.ADMIN)
    with store.read() as tx:
        assert [key.id for key in tx.keys.list(owner="bob")] == [of_bob]
        assert tx.keys.num_open(now=NOW) == {"ann": 1, "bob": 1}
        assert [key.id for key in tx.keys.admins(now=NOW)] == [of_bob]
        with pytest.raises(NotFoundError):
            tx.keys.get(of_bob, owner="ann")


def test_a_session_ends_with_its_time_and_with_its_key(store: Store) -> None:
    _, key_id = add_key(store)
    with store.begin() as tx:
        token = tx.keys.open_session(key_id, expires_at=NOW + HOUR, now=NOW)
        closed = tx.keys.open_session(key_id, expires_at=NOW + HOUR, now=NOW)
        tx.keys.close_session(closed)
    with store.read() as tx:
        holder = tx.keys.find_by_session(token)
        assert tx.keys.find_by_session(closed) is None
    assert holder is not None
    assert holder.key.id == key_id
    assert holder.may_enter(NOW)
    assert not holder.may_enter(NOW + HOUR)

    with store.begin() as tx:
        tx.keys.revoke(key_id, now=NOW)
        assert tx.keys.find_by_session(token) is None


def test_a_user_is_added_once(store: Store) -> None:
    with store.begin() as tx:
        tx.users.add("ann", now=NOW)
    with pytest.raises(ConflictError), store.begin() as tx:
        tx.users.add("ann", now=NOW)
    with store.read() as tx:
        assert [user.name for user in tx.users.list()] == ["ann"]
        with pytest.raises(NotFoundError):
            tx.users.get("bob")


def test_the_audit_log_is_read_page_by_page(store: Store) -> None:
    entries = [
        AuditRecord(f"act-{number}", NOW, "ann" if number % 2 else "bob", None, "ann", "POST /x", "/x", 200, None, None)
        for number in range(4)
    ]
    with store.begin() as tx:
        tx.audit.add(entries)
        tx.audit.add([])
    with store.read() as tx:
        assert [entry.id for entry in tx.audit.list(limit=2)] == ["act-3", "act-2"]
        assert [entry.id for entry in tx.audit.list(after="act-2")] == ["act-1", "act-0"]
        assert tx.audit.list(user="ann") == [entries[3], entries[1]]
        with pytest.raises(MalformedRequestError):
            tx.audit.list(after="act-9")


def test_the_counts_of_other_processes_are_summed_while_they_are_fresh(store: Store) -> None:
    with store.begin() as tx:
        minute = Windows(7, 0)
        tx.key_counts.put("one", [KeyCount("a", 7, 10, 1), KeyCount("b", 7, 1, 0)], windows=minute, now=100.0)
        tx.key_counts.put("two", [KeyCount("a", 6, 90, 2)], windows=minute, now=100.0)
        tx.key_counts.put("two", [KeyCount("a", 7, 5, 2)], windows=minute, now=110.0)
        tx.key_counts.put("old", [KeyCount("a", 6, 90, 1)], windows=minute, now=110.0)
        assert tx.key_counts.of_others("me", ["a"], windows=minute, now=110.0) == {"a": KeyCount("a", 7, 15, 4)}
        assert tx.key_counts.of_others("two", ["a", "b", "c"], windows=minute, now=110.0) == {
            "a": KeyCount("a", 7, 10, 2),
            "b": KeyCount("b", 7, 1, 0),
        }
        tx.key_counts.put("me", [], windows=minute, now=135.0)
        assert tx.key_counts.of_others("me", ["a"], windows=minute, now=135.0) == {"a": KeyCount("a", 7, 5, 3)}


def test_bytes_of_uploads_count_until_the_end_of_their_window_although_their_process_has_ended(store: Store) -> None:
    many = 3 * 1024**3
    with store.begin() as tx:
        hour = Windows(60, 1)
        tx.key_counts.put("one", [KeyCount("a", 60, 9, 1, 1, many)], windows=hour, now=3600.0)
        tx.key_counts.put("two", [KeyCount("a", 60, 9, 1, 0, many)], windows=hour, now=3600.0)
        tx.key_counts.put("me", [], windows=hour, now=3700.0)
        assert tx.key_counts.of_others("me", ["a"], windows=hour, now=3700.0) == {"a": KeyCount("a", 60, 0, 0, 1, many)}
        next_hour = Windows(120, 2)
        assert tx.key_counts.of_others("me", ["a"], windows=next_hour, now=7200.0)["a"].num_upload_bytes == 0
        tx.key_counts.put("me", [], windows=next_hour, now=7200.0)
        assert tx.key_counts.of_others("me", ["a"], windows=hour, now=3700.0) == {}


def test_old_entries_of_the_audit_log_are_removed_in_batches(store: Store) -> None:
    entries = [
        AuditRecord(f"act-{day}", NOW + day * 24 * HOUR, "ann", None, "ann", "POST /x", "/x", 200, None, None)
        for day in range(5)
    ]
    with store.begin() as tx:
        tx.audit.add(entries)
        removed = [tx.audit.remove_before(NOW + 72 * HOUR, limit=2) for _ in range(3)]
        assert removed == [2, 1, 0]
        assert [entry.id for entry in tx.audit.list()] == ["act-4", "act-3"]
