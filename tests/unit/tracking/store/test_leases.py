"""Leases: one holder at a time, and an epoch that fences the one before."""

import pytest

from tests.unit.tracking.samples import NOW, at_once, later
from tracking.store import StaleJobError, Store
from tracking.store.records import Lease


def acquire(store: Store, holder: str, *, at_s: float = 0) -> Lease:
    with store.begin() as tx:
        return tx.leases.acquire("coordinator", holder, ttl_s=10, now=later(at_s))


def test_first_holder(store: Store) -> None:
    with store.read() as tx:
        assert tx.leases.current("coordinator") is None
    lease = acquire(store, "a")
    assert lease == Lease("coordinator", "a", 1, later(10))
    with store.read() as tx:
        assert tx.leases.current("coordinator") == lease


def test_own_lease_keeps_its_epoch(store: Store) -> None:
    acquire(store, "a")
    assert acquire(store, "a", at_s=5) == Lease("coordinator", "a", 1, later(15))


def test_another_holder_takes_it_with_a_new_epoch(store: Store) -> None:
    old = acquire(store, "a")
    assert acquire(store, "b", at_s=1) == Lease("coordinator", "b", 2, later(11))
    with pytest.raises(StaleJobError), store.begin() as tx:
        tx.leases.renew(old, ttl_s=10, now=later(1))


def test_renew(store: Store) -> None:
    lease = acquire(store, "a")
    with store.begin() as tx:
        renewed = tx.leases.renew(lease, ttl_s=10, now=later(8))
    assert renewed == Lease("coordinator", "a", 1, later(18))


def test_names_are_apart(store: Store) -> None:
    acquire(store, "a")
    with store.begin() as tx:
        assert tx.leases.acquire("other", "b", ttl_s=10, now=NOW).epoch == 1


def test_holders_that_race_get_different_epochs(store: Store) -> None:
    leases = at_once(6, lambda number: acquire(store, f"holder-{number}"))
    assert sorted(lease.epoch for lease in leases) == [1, 2, 3, 4, 5, 6]
