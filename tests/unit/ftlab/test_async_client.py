"""The async client does the same."""

import asyncio
import inspect

import pytest

from ftlab import errors
from ftlab.client import AsyncClient, Client, RetryPolicy
from ftlab.status import JobStatus
from tests.unit.ftlab.conftest import QUICK
from tests.unit.ftlab.fake_service import ZIP, send_events, status_fault

CONFIG = {"model": "org/name", "dataset": "ds-1"}


def run(fake, use):
    async def session():
        async with AsyncClient(fake.url, retry=QUICK) as client:
            return await use(client)

    return asyncio.run(session())


@pytest.mark.parametrize("name", ["jobs", "datasets", "models", "quota"])
def test_the_resources_mirror_the_sync_ones(name, client):
    def methods(cls):
        return {
            method: [(p.name, p.default) for p in inspect.signature(function).parameters.values()]
            for method, function in inspect.getmembers(cls, inspect.isfunction)
            if not method.startswith("_")
        }

    resource, async_resource = (type(getattr(owner, name)) for owner in (client, AsyncClient()))
    assert async_resource.__name__ == f"Async{resource.__name__}"
    assert methods(async_resource) == methods(resource)
    assert set(dir(AsyncClient)) - {"__aenter__", "__aexit__"} == set(dir(Client)) - {"__enter__", "__exit__"}


def test_submit_wait_and_list(fake):
    async def use(client):
        fake.faults = [status_fault(503, {"retry-after": "0"})]
        job = await client.jobs.create(CONFIG)
        fake.jobs[job.id].move(JobStatus.COMPLETED)
        ended = await client.jobs.wait(job.id)
        return (
            ended.status,
            [found.id async for found in client.jobs.list()],
            [entry.job_id for entry in (await client.queue()).running],
        )

    assert run(fake, use) == (JobStatus.COMPLETED, ["job-001"], [])


def test_pause_resume_and_quota(fake):
    job = fake.add_job()

    async def use(client):
        await client.jobs.pause(job.id)
        paused = await client.jobs.wait(job.id, until="paused")
        await client.jobs.resume(job.id)
        await client.jobs.set_priority(job.id, 7)
        moved = await client.jobs.move_to_front(job.id)
        notices = [event.data["code"] async for event in client.jobs.events(job.id, kinds="notice")]
        limits = await client.quota.set(weight=2.0)
        longer = await client.jobs.append(job.id, "ds-2")
        return paused.status, moved.priority, notices, limits == await client.quota.get(), longer.datasets

    assert run(fake, use) == (JobStatus.PAUSED, 7, ["moved_to_front"], True, ["ds-1", "ds-2"])


def test_follow_survives_a_cut(fake, monkeypatch):
    monkeypatch.setattr("ftlab.client.endpoint.RetryPolicy.delay_s", lambda *_: 0.001)
    job = fake.add_job(5, JobStatus.COMPLETED)

    async def cut(websocket, job, after):
        await websocket.accept()
        await send_events(websocket, job.events[after : after + 4])
        raise ConnectionResetError

    async def refuses(websocket, job, after):
        await websocket.close()

    fake.sockets = [cut, refuses, cut]

    async def use(client):
        return [event.seq async for event in client.jobs.follow(job.id)]

    assert run(fake, use) == list(range(1, len(job.events) + 1))


def test_several_follow_at_once_over_one_client(fake):
    jobs = [fake.add_job(3, JobStatus.COMPLETED) for _ in range(5)]

    async def count(client, job):
        return len([event async for event in client.jobs.follow(job.id)])

    async def use(client):
        return await asyncio.gather(*(count(client, job) for job in jobs))

    assert run(fake, use) == [len(job.events) for job in jobs]


def test_upload_and_a_download_that_is_cut(fake, tmp_path):
    file = tmp_path / "a.jsonl"
    file.write_bytes(b"{}\n" * 200_000)
    job = fake.add_job(1, JobStatus.COMPLETED)
    fake.cuts = [300_000]

    async def use(client):
        dataset = await client.datasets.upload(file)
        await client.jobs.download_model(job.id, tmp_path / "model.zip")
        return dataset

    dataset = run(fake, use)
    assert fake.files[dataset.id] == file.read_bytes()
    assert (tmp_path / "model.zip").read_bytes() == ZIP


def test_a_wait_can_be_given_up(fake):
    job = fake.add_job()

    async def use(client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await client.jobs.wait(job.id)
        with pytest.raises(errors.WaitTimeoutError):
            await client.jobs.wait(job.id, timeout_s=0.05)

    run(fake, use)


def test_nothing_answers(unused_port):
    async def session():
        url = f"http://127.0.0.1:{unused_port}"
        async with AsyncClient(url, max_retries=1, retry=RetryPolicy(first_delay_s=0.001)) as client:
            await client.jobs.get("x")

    with pytest.raises(errors.UnreachableError):
        asyncio.run(session())
