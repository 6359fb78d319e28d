"""The engine of a base model in the record: one for each key, also when several callers ask at the same time."""

import pytest

from ftlab.schemas import EngineConfig
from tests.unit.tracking.samples import NOW, at_once, start
from tracking.store import StaleJobError, Store
from tracking.store.engines import EngineRecord
from tracking.store.ids import new_id
from tracking.store.records import JobRef

KEY = "0" * 64


def submit_once(store: Store) -> str:
    with store.begin() as tx:
        if (known := tx.engines.lock("local", KEY)) is not None:
            return known.job_id
        config = EngineConfig(model="org/name")
        job = tx.jobs.add(new_id("job"), owner="local", name="engine of org/name", config=config, now=NOW)
        tx.engines.set_job("local", KEY, job.id)
        return job.id


def find(store: Store) -> EngineRecord | None:
    with store.read() as tx:
        return tx.engines.find("local", KEY)


def test_of_many_callers_one_submits(store: Store) -> None:
    ids = at_once(8, lambda _: submit_once(store))

    assert len(set(ids)) == 1
    assert find(store) == EngineRecord("local", KEY, ids[0])
    with store.read() as tx:
        assert len(tx.jobs.list(owner="local")) == 1
        assert tx.engines.of_owner("other") == []


def test_the_attempt_of_the_newest_job_says_where_it_listens(store: Store) -> None:
    former = start(store, submit_once(store))
    with store.begin() as tx:
        tx.engines.set_address(former, "http://127.0.0.1:1", "secret")
    assert find(store) == EngineRecord("local", KEY, former.id, 1, "http://127.0.0.1:1", "secret")

    with store.begin() as tx:
        tx.engines.set_job("local", KEY, "job-2")
    assert find(store) == EngineRecord("local", KEY, "job-2")
    with store.begin() as tx, pytest.raises(StaleJobError):
        tx.engines.set_address(former, "http://127.0.0.1:1", "secret")
    with store.begin() as tx:
        tx.engines.set_address(JobRef("job-2", 3), "http://127.0.0.1:2", "other")
    assert find(store) == EngineRecord("local", KEY, "job-2", 3, "http://127.0.0.1:2", "other")
