"""Downloads over HTTP: whole, in parts, headers only, and what is answered where there is nothing."""

import asyncio
import io
import json
import os
import random
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from ftlab.status import JobStatus
from tests.unit.serve.downloads.test_zip_archive import commit
from tests.unit.serve.jobs.statuses import bring
from tests.unit.serve.streams.running import JOB, World, running
from tracking.store.records import CheckpointRecord, JobRef, ModelRecord

CHECKPOINT = "step-00000010"
MODEL_FILES = {"adapter_model.safetensors": os.urandom(2_000_000), "adapter_config.json": b"{}", "README.md": b"# hi"}
STATE_FILES = {
    "optimizer.pt": b"o",
    "scheduler.pt": b"s",
    "rng_state.pth": b"r",
    "rng_state_0.pth": b"r",
    "run_state_0.json": b"{}",
    "training_args.bin": b"a",
    "trainer_state.json": b"{}",
}


def deliver(world: World, name: str = "a job") -> Path:
    """A job with a checkpoint and a delivered model; returns the job's folder."""
    ref, now = world.add_job(name=name), datetime.now(UTC)
    folder = world.settings.home / "jobs" / ref.id
    commit(folder / "model", MODEL_FILES)
    commit(folder / "checkpoints" / CHECKPOINT, MODEL_FILES | STATE_FILES)
    live = bring(world.store, ref.id, JobStatus.PENDING)
    with world.store.begin() as tx:
        tx.checkpoints.add(live, CheckpointRecord(ref.id, 10, 1, CHECKPOINT, 1, "0" * 64, now))
        tx.models.add(
            ModelRecord("model-1", "local", ref.id, name, "adapter", "org/m", None, 10, folder / "model", None, now)
        )
    return folder


def check(scenario, tmp_path: Path) -> None:
    """Run `scenario(world, client)` against a real server."""

    async def main() -> None:
        async with running(tmp_path) as world, httpx2.AsyncClient(base_url=world.url("")) as client:
            await scenario(world, client)

    asyncio.run(main())


def path(suffix: str = "model", job_id: str = JOB) -> str:
    return f"/api/training/jobs/{job_id}/download/{suffix}"


def unzip(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def test_the_model(tmp_path):
    async def scenario(world, client):
        deliver(world, name='My "tuned"\\ modèle 模')
        reply = await client.get(path())
        assert reply.status_code == 200
        assert unzip(reply.content) == MODEL_FILES
        assert reply.headers["content-type"] == "application/zip"
        assert reply.headers["content-length"] == str(len(reply.content))
        assert reply.headers["accept-ranges"] == "bytes"
        assert reply.headers["content-disposition"] == (
            'attachment; filename="My-tuned-mod-le-.zip"; '
            "filename*=UTF-8''My%20%22tuned%22%5C%20mod%C3%A8le%20%E6%A8%A1.zip"
        )
        head = await client.head(path())
        assert (head.status_code, head.content) == (200, b"")
        for name in ("content-length", "etag", "content-disposition", "accept-ranges", "content-type"):
            assert head.headers[name] == reply.headers[name]

    check(scenario, tmp_path)


def test_a_checkpoint_without_and_with_what_a_resume_needs(tmp_path):
    async def scenario(world, client):
        deliver(world)
        plain = await client.get(path(), params={"checkpoint": CHECKPOINT})
        full = await client.get(path(), params={"checkpoint": CHECKPOINT, "include": "state"})
        assert unzip(plain.content) == MODEL_FILES
        assert unzip(full.content) == MODEL_FILES | STATE_FILES
        assert plain.headers["etag"] != full.headers["etag"]
        assert f'filename="a-job-{CHECKPOINT}.zip"' in plain.headers["content-disposition"]
        refused = await client.get(path(), params={"include": "everything"})
        assert refused.status_code == 422

    check(scenario, tmp_path)


def test_a_download_goes_on_wherever_it_was_cut(tmp_path):
    async def scenario(world, client):
        deliver(world)
        first = await client.get(path())
        whole, etag = first.content, first.headers["etag"]
        rng = random.Random(7)
        for start in [0, 1, len(whole) - 1, *(rng.randrange(len(whole)) for _ in range(20))]:
            rest = await client.get(path(), headers={"range": f"bytes={start}-", "if-range": etag})
            assert rest.status_code == 206
            assert rest.headers["content-range"] == f"bytes {start}-{len(whole) - 1}/{len(whole)}"
            assert rest.headers["content-length"] == str(len(whole) - start)
            assert rest.content == whole[start:]
        part = await client.get(path(), headers={"range": "bytes=100-199"})
        assert part.content == whole[100:200]

        for ignored in ({"if-range": '"other"', "range": "bytes=5-"}, {"range": "bytes=0-1,4-5"}):
            again = await client.get(path(), headers=ignored)
            assert (again.status_code, again.content) == (200, whole)
        head = await client.head(path(), headers={"range": "bytes=5-"})
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(whole)))

        beyond = await client.get(path(), headers={"range": f"bytes={len(whole)}-"})
        assert beyond.status_code == 416
        assert beyond.headers["content-range"] == f"bytes */{len(whole)}"
        assert beyond.json()["error"]["code"] == "range_not_satisfiable"
        assert beyond.json()["error"]["request_id"]

    check(scenario, tmp_path)


def test_where_there_is_nothing_to_download(tmp_path):
    async def scenario(world, client):
        world.add_job()
        world.add_job("job-foreign", owner="somebody else")
        for url, code in [
            (path(), "model_not_ready"),
            (path(job_id="job-none"), "job_not_found"),
            (path(job_id="job-foreign"), "job_not_found"),
            (path("logs", "job-foreign"), "job_not_found"),
            (path() + "?checkpoint=step-00000099", "checkpoint_not_found"),
            (path() + "?checkpoint=", "checkpoint_not_found"),
            (path() + "?checkpoint=../../../../etc", "checkpoint_not_found"),
            (path() + "?checkpoint=%2e%2e/model", "checkpoint_not_found"),
            (path(job_id="%2e%2e"), "not_found"),
            (path(job_id="%2e%2e%2fjobs"), "not_found"),
            ("/api/training/jobs/%2e%2e/%2e%2e/etc/passwd", "not_found"),
        ]:
            for method in ("GET", "HEAD"):
                reply = await client.request(method, url)
                assert reply.status_code == 404, url
            assert (await client.get(url)).json()["error"]["code"] in (code, "job_not_found"), url
        message = (await client.get(path())).json()["error"]["message"]
        assert message == "There is no model to download yet. The job is waiting for its turn."
        with world.store.begin() as tx:
            tx.jobs.move(JobRef(JOB, 0), JobStatus.CANCELLING, now=datetime.now(UTC))
            tx.jobs.move(JobRef(JOB, 0), JobStatus.CANCELLED, now=datetime.now(UTC))
        message = (await client.get(path())).json()["error"]["message"]
        assert message.startswith("There is no model to download. The job was cancelled")

    check(scenario, tmp_path)


def test_files_that_went_away_or_were_replaced_by_links(tmp_path):
    async def scenario(world, client):
        folder = deliver(world)
        (folder / "checkpoints" / CHECKPOINT).rename(folder / "aside")
        gone = await client.get(path(), params={"checkpoint": CHECKPOINT})
        assert (gone.status_code, gone.json()["error"]["code"]) == (404, "checkpoint_not_found")
        (folder / "checkpoints" / CHECKPOINT).symlink_to(folder / "aside")
        linked = await client.get(path(), params={"checkpoint": CHECKPOINT})
        assert (linked.status_code, linked.json()["error"]["code"]) == (404, "files_damaged")
        (folder / "model" / "README.md").unlink()
        (folder / "model" / "README.md").symlink_to("/etc/passwd")
        damaged = await client.get(path())
        assert (damaged.status_code, damaged.json()["error"]["code"]) == (404, "files_damaged")

    check(scenario, tmp_path)


def test_the_logs(tmp_path):
    async def scenario(world, client):
        ref = world.add_job()
        world.append(ref, 2_500)
        folder = world.settings.home / "jobs" / ref.id / "logs"
        without_files = unzip((await client.get(path("logs"))).content)
        assert list(without_files) == ["events.jsonl"]
        folder.mkdir(parents=True)
        lines = "".join(json.dumps({"text": f"line {number}"}) + "\n" for number in range(10_000)).encode()
        for number in (1, 2, 10):
            (folder / f"attempt-{number}.jsonl").write_bytes(lines)
        (folder / "attempt-2-stacks.txt").write_text("where it hung")
        (folder / "secret.txt").write_text("no log")
        (folder / "attempt-3.jsonl").symlink_to("/etc/passwd")
        (folder / "attempt-4.jsonl").mkdir()
        reply = await client.get(path("logs"))
        assert reply.headers["content-disposition"].startswith('attachment; filename="a-job-logs.zip"')
        found = unzip(reply.content)
        names = ["attempt-1.jsonl", "attempt-2-stacks.txt", "attempt-2.jsonl", "attempt-10.jsonl", "events.jsonl"]
        assert list(found) == names
        assert found["attempt-10.jsonl"] == lines
        events = [json.loads(line) for line in found["events.jsonl"].splitlines()]
        assert [event["seq"] for event in events] == list(range(1, 2_502))
        assert len(reply.content) < 400_000
        head = await client.head(path("logs"))
        assert (head.status_code, head.content) == (200, b"")
        assert "content-length" not in head.headers

    check(scenario, tmp_path)


def test_a_client_that_goes_away_leaves_no_open_file(tmp_path):
    async def scenario(world, client):
        folder = deliver(world)
        big = folder / "model" / "model.safetensors"
        big.touch()
        os.truncate(big, 500_000_000)
        manifest = json.loads((folder / "model" / "manifest.json").read_text())
        manifest["files"]["model.safetensors"] = {"size": 500_000_000, "sha256": "0" * 64}
        (folder / "model" / "manifest.json").write_text(json.dumps(manifest))
        async with client.stream("GET", path()) as reply:
            seen = 0
            async for chunk in reply.aiter_raw():
                seen += len(chunk)
                if seen > 10_000_000:
                    break
            assert _is_open(big)
        for _ in range(100):
            await asyncio.sleep(0.05)
            if not _is_open(big):
                break
        assert not _is_open(big)

    check(scenario, tmp_path)


def _is_open(file: Path) -> bool:
    descriptors = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return str(file) in [os.readlink(link) for link in descriptors if link.exists()]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_a_large_download_through_the_server_costs_little_memory(tmp_path):
    async def scenario(world, client):
        folder = deliver(world)
        big = folder / "model" / "model.safetensors"
        big.touch()
        os.truncate(big, 300 * 1024**2)
        manifest = json.loads((folder / "model" / "manifest.json").read_text())
        manifest["files"]["model.safetensors"] = {"size": 300 * 1024**2, "sha256": "0" * 64}
        (folder / "model" / "manifest.json").write_text(json.dumps(manifest))
        await client.get(path("logs"))
        before, most, seen = _resident_bytes(), 0, 0
        async with client.stream("GET", path()) as reply:
            async for chunk in reply.aiter_raw():
                seen += len(chunk)
                most = max(most, _resident_bytes())
            assert seen == int(reply.headers["content-length"])
        # The client lives in this process too.
        assert most - before < 30 * 1024**2

    check(scenario, tmp_path)


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
