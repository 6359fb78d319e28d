"""A small FineTune Lab over real HTTP and WebSockets, with faults on order."""

import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from ftlab.errors import FineTuneLabError, NotFoundError
from ftlab.schemas import Event, JobConfig
from ftlab.schemas.log_lines import log_lines
from ftlab.status import JobStatus
from tests.unit.ftlab.fake_changes import QUOTA, change_job, delete_job, order_job, quota
from tests.unit.ftlab.fake_checks import analyze_job, check_dataset, estimate_job, show_tokens
from tests.unit.ftlab.fake_models import get_model, list_models

START = datetime(2026, 1, 1, tzinfo=UTC)
ZIP = bytes(range(256)) * 4096
"""What every download brings: 1 MiB."""


@dataclass
class FakeJob:
    id: str
    config: dict[str, Any]
    status: JobStatus = JobStatus.QUEUED
    message: str = "The job is waiting for its turn."
    reason: str | None = None
    name: str = "a job"
    priority: int = 50
    events: list[dict[str, Any]] = field(default_factory=list)
    attempts: list[dict[str, Any]] = field(default_factory=list)
    """Those after the first."""
    failure: dict[str, Any] | None = None
    """The analysis of its newest failure."""
    adjustments: list[dict[str, Any]] = field(default_factory=list)
    resumed: dict[str, Any] = field(default_factory=dict)
    """The body of the last resume."""

    def adjust(self, changes: dict[str, Any]) -> None:
        """One adjustment; the changes are not made."""
        listed = [{"field": name, "from": None, "to": value} for name, value in changes.items()]
        self.adjustments.append({"at": START.isoformat(), "by": "user", "attempt": 1, "changes": listed})

    def add(self, kind: str, **data: Any) -> dict[str, Any]:
        seq = len(self.events) + 1
        at = (START + timedelta(seconds=seq)).isoformat()
        attempt = 1 + len(self.attempts)
        event = {"job_id": self.id, "seq": seq, "attempt": attempt, "at": at, "kind": kind, "data": data}
        self.events.append(event)
        return event

    def move(self, status: JobStatus, message: str = "", reason: str | None = None) -> None:
        self.status, self.message, self.reason = status, message or status.sentence, reason
        self.add("status", status=status, message=self.message, reason=reason)

    def document(self) -> dict[str, Any]:
        steps = [event["data"] for event in self.events if event["kind"] == "metrics"]
        return {
            "id": self.id,
            "owner": "local",
            "name": self.name,
            "status": self.status,
            "message": self.message,
            "reason": self.reason,
            "config": self.config,
            "adjustments": self.adjustments,
            "priority": self.priority,
            "attempt": 1,
            "step": steps[-1]["step"] if steps else 0,
            "total_steps": 10,
            "phase": next((event["data"]["phase"] for event in self.events[::-1] if event["data"].get("phase")), None),
            "num_files": len(self.config["dataset"]) if isinstance(self.config["dataset"], list) else 1,
            "loss": steps[-1]["values"].get("loss") if steps else None,
            "queue_position": 1 if self.status is JobStatus.QUEUED else None,
            "waiting_for": "Waiting for 1 core; none is free." if self.status is JobStatus.QUEUED else None,
            "run_time_s": 90.0 if steps or self.status.is_terminal else None,
            "last_seq": len(self.events),
            "model_id": "mdl-1" if self.status is JobStatus.COMPLETED else None,
            "created_at": START.isoformat(),
            "started_at": START.isoformat(),
            "finished_at": (START + timedelta(seconds=90)).isoformat() if self.status.is_terminal else None,
        }


def attempt_document(number: int = 1, **values: Any) -> dict[str, Any]:
    return {"number": number, "cpus": 1, "gpus": 0, "created_at": START.isoformat()} | values


INFO = {
    "version": "1.0",
    "mlflow_url": "http://127.0.0.1:5000/#/experiments",
    "dashboard_url": "http://127.0.0.1:8265",
    "dashboard_token_file": "/srv/lab/ray_token",
}

Fault = Callable[[Request], Response | None]


@dataclass
class FakeService:
    """State, log of requests, and what shall go wrong next."""

    jobs: dict[str, FakeJob] = field(default_factory=dict)
    datasets: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    faults: list[Fault | None] = field(default_factory=list)
    """Asked once each, in order, before a request is served; `None` lets one pass."""
    cuts: list[int] = field(default_factory=list)
    """Each ends the next download after so many bytes."""
    has_etag: bool = True
    sockets: list[Callable[[WebSocket, FakeJob, int], Any]] = field(default_factory=list)
    """Each serves one socket in place of the honest way."""
    socket_afters: list[int] = field(default_factory=list)
    quota: dict[str, Any] = field(default_factory=lambda: dict(QUOTA))
    info: dict[str, Any] = field(default_factory=lambda: dict(INFO))
    check_states: list[tuple[int, int]] = field(default_factory=list)
    """Rows done and in all, for each time that a check is still under way."""
    check_params: list[dict[str, str]] = field(default_factory=list)
    estimated: list[JobConfig] = field(default_factory=list)
    analytics: dict[str, Any] = field(default_factory=dict)
    """Reply about any job, without its id."""
    report: dict[str, Any] = field(default_factory=dict)
    """What is other than usual about the doctor's report."""
    token_row: dict[str, Any] = field(default_factory=dict)
    """The same of a row as tokens."""
    url: str = ""

    def find(self, text: str) -> FakeJob:
        for job in self.jobs.values():
            if text in (job.id, job.name) or job.id.startswith(text):
                return job
        raise NotFoundError(f"No job {text!r}.", "job_not_found", "job_id")

    def add_job(self, num_steps: int = 0, end: JobStatus | None = None, name: str = "a job") -> FakeJob:
        """A job with a history: status events around `num_steps` metric events and as many log lines."""
        job = FakeJob(f"job-{len(self.jobs) + 1:03}", {"model": "org/base", "dataset": "ds-1"}, name=name)
        self.jobs[job.id] = job
        job.move(JobStatus.QUEUED)
        if num_steps:
            job.move(JobStatus.RUNNING)
        for step in range(1, num_steps + 1):
            job.add(
                "metrics", step=step, total_steps=10, epoch=0.1, eta_s=10.0 - step, values={"loss": 3.0 - step / 10}
            )
            job.add("log", level="info", text=f"line {step}")
        if end:
            reason = {"failed": "device_oom", "cancelled": "user_cancelled"}.get(end, "ok")
            message = "The device ran out of memory; use a smaller batch." if end == "failed" else ""
            job.move(end, message, reason)
        return job

    def num_requests(self, method: str, path: str) -> int:
        return sum((method, path) == request[:2] for request in self.requests)


def status_fault(status: int, headers: dict[str, str] | None = None, text: str = "proxy says no") -> Fault:
    return lambda _: PlainTextResponse(text, status, headers)


async def get_info(fake: FakeService, request: Request) -> Response:
    return JSONResponse(fake.info)


def dropped_connection(_: Request) -> Response:
    """Promises more than it sends."""

    async def body() -> AsyncIterator[bytes]:
        yield b'{"id": "job-'
        raise ConnectionResetError

    return StreamingResponse(body(), headers={"content-length": "1000"})


def build(fake: FakeService) -> Starlette:
    jobs = "/api/training/jobs"
    return Starlette(
        routes=[
            Route("/health", lambda _: JSONResponse({"status": "ok"})),
            Route("/api/info", _Endpoint(fake, get_info)),
            Route("/ready", lambda _: JSONResponse({"status": "ready", "parts": {}})),
            Route(f"{jobs}/estimate", _Endpoint(fake, estimate_job), methods=["POST"]),
            Route(jobs, _Endpoint(fake, create_job), methods=["POST"]),
            Route(jobs, _Endpoint(fake, list_jobs), methods=["GET"]),
            Route(f"{jobs}/{{job}}", _Endpoint(fake, change_job), methods=["PATCH"]),
            Route(f"{jobs}/{{job}}", _Endpoint(fake, delete_job), methods=["DELETE"]),
            Route(f"{jobs}/{{job}}", _Endpoint(fake, get_job)),
            Route(f"{jobs}/{{job}}/{{order}}", _Endpoint(fake, order_job), methods=["POST"]),
            Route(f"{jobs}/{{job}}/analytics", _Endpoint(fake, analyze_job)),
            Route(f"{jobs}/{{job}}/{{what}}", _Endpoint(fake, job_list)),
            Route(f"{jobs}/{{job}}/download/{{what}}", _Endpoint(fake, download)),
            Route("/api/training/queue", _Endpoint(fake, queue)),
            Route("/api/training/metrics", _Endpoint(fake, series)),
            Route("/api/nodes", _Endpoint(fake, list_nodes)),
            Route("/api/quota", _Endpoint(fake, quota), methods=["GET", "PUT"]),
            Route("/api/datasets", _Endpoint(fake, upload), methods=["POST"]),
            Route("/api/datasets", _Endpoint(fake, list_datasets), methods=["GET"]),
            Route("/api/datasets/{dataset}", _Endpoint(fake, dataset), methods=["GET", "DELETE"]),
            Route("/api/datasets/{dataset}/content", _Endpoint(fake, download)),
            Route("/api/datasets/{dataset}/check", _Endpoint(fake, check_dataset), methods=["POST"]),
            Route("/api/datasets/{dataset}/tokens", _Endpoint(fake, show_tokens)),
            Route("/api/datasets/{dataset}/move", _Endpoint(fake, move_dataset), methods=["POST"]),
            Route("/api/datasets/{dataset}/url", _Endpoint(fake, dataset_url), methods=["POST"]),
            Route("/api/models", _Endpoint(fake, list_models)),
            Route("/api/models/{model}", _Endpoint(fake, get_model)),
            WebSocketRoute("/ws/training/{job}", _Socket(fake)),
        ],
        exception_handlers={FineTuneLabError: _on_error},
    )


class _Endpoint:
    """Logs the request, lets the next fault happen, or serves."""

    def __init__(self, fake: FakeService, serve: Callable[[FakeService, Request], Any]) -> None:
        self._fake = fake
        self._serve = serve

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope, receive)
        self._fake.requests.append((request.method, request.url.path, dict(request.headers)))
        fault = self._fake.faults.pop(0) if self._fake.faults else None
        response = fault(request) if fault else None
        if response is None:
            try:
                response = await self._serve(self._fake, request)
            except FineTuneLabError as error:
                response = await _on_error(request, error)
        await response(scope, receive, send)


async def _on_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, FineTuneLabError)
    return JSONResponse(error.to_wire("req-1"), error.status)


async def create_job(fake: FakeService, request: Request) -> Response:
    config = JobConfig.model_validate_json(await request.body())
    key = request.headers["idempotency-key"]
    headers = {"idempotent-replay": "true"} if key in fake.keys else None
    if key not in fake.keys:
        job = fake.add_job(name=config.name or "a job")
        job.config = config.model_dump(mode="json")
        fake.keys[key] = job.id
    return JSONResponse(fake.jobs[fake.keys[key]].document(), 201, headers)


async def list_jobs(fake: FakeService, request: Request) -> Response:
    wanted = request.query_params.getlist("status")
    found = [job for job in reversed(fake.jobs.values()) if not wanted or job.status in wanted]
    return page(request, [job.document() for job in found])


def page(request: Request, items: list[dict[str, Any]]) -> Response:
    limit, after = int(request.query_params.get("limit", 20)), request.query_params.get("after")
    ids = [item["id"] for item in items]
    begin = ids.index(after) + 1 if after else 0
    shown, rest = items[begin : begin + limit], items[begin + limit :]
    cursor = shown[-1]["id"] if rest else None
    return JSONResponse({"data": shown, "has_more": bool(rest), "next_cursor": cursor})


async def get_job(fake: FakeService, request: Request) -> Response:
    return JSONResponse(fake.find(request.path_params["job"]).document())


async def job_list(fake: FakeService, request: Request) -> Response:
    job, query = fake.find(request.path_params["job"]), request.query_params
    match request.path_params["what"]:
        case "events":
            after, limit, kinds = int(query["after"]), int(query["limit"]), query.getlist("kind")
            found = [event for event in job.events[after:] if not kinds or event["kind"] in kinds]
            return JSONResponse({"data": found[:limit], "last_seq": len(job.events)})
        case "logs":
            parsed = [Event.model_validate(event) for event in job.events]
            lines = [
                line.model_dump(mode="json")
                for event in parsed
                for line in log_lines(event.payload, at=event.at, attempt=event.attempt)
            ]
            return JSONResponse({"data": lines[-int(query["tail"]) :]})
        case "metrics":
            names = query["names"].split(",") if "names" in query else None
            points = [
                {"name": name, "step": event["data"]["step"], "value": value, "at": event["at"], "attempt": 1}
                for event in job.events
                if event["kind"] == "metrics"
                for name, value in event["data"]["values"].items()
                if names is None or name in names
            ]
            return JSONResponse({"data": points})
        case "attempts":
            return JSONResponse({"data": [attempt_document(), *job.attempts]})
        case "failure":
            if job.failure is None:
                raise NotFoundError(f"Job {job.id} has not failed ({job.status}).", "job_not_failed")
            return JSONResponse(job.failure)
        case "checkpoints":
            checkpoint = {
                "name": "step-00000005",
                "job_id": job.id,
                "step": 5,
                "attempt": 1,
                "size_bytes": 1_500_000,
                "metrics": {"loss": 2.5},
                "is_best": True,
                "created_at": START.isoformat(),
            }
            return JSONResponse({"data": [checkpoint]})
    raise NotFoundError("There is nothing at this path.")


async def series(fake: FakeService, request: Request) -> Response:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for job_id in request.query_params.getlist("job"):
        for event in fake.jobs[job_id].events if job_id in fake.jobs else ():
            for name, value in (event["data"]["values"] if event["kind"] == "metrics" else {}).items():
                of_name = {"job_id": job_id, "name": name, "steps": [], "values": []}
                one = found.setdefault((job_id, name), of_name)
                one["steps"].append(event["data"]["step"])
                one["values"].append(value)
    wanted = request.query_params.getlist("name")
    return JSONResponse({"data": [one for one in found.values() if one["name"] in wanted]})


async def list_nodes(fake: FakeService, request: Request) -> Response:
    return JSONResponse({"data": [{"id": "n1", "name": "alpha", "cpus": 8, "gpus": 0}]})


async def queue(fake: FakeService, request: Request) -> Response:
    jobs, limit = fake.jobs.values(), int(request.query_params["limit"])
    queued = [job for job in jobs if job.status is JobStatus.QUEUED]
    entries = [
        {
            "position": place,
            "job_id": job.id,
            "name": job.name,
            "priority": job.priority,
            "waiting_for": job.document()["waiting_for"],
            "created_at": START.isoformat(),
        }
        for place, job in enumerate(queued, start=1)
    ]
    running = [
        {name: value for name, value in job.document().items() if name not in ("id", "config")}
        | {"job_id": job.id, "eta_s": 65.0}
        for job in jobs
        if job.status is JobStatus.RUNNING
    ]
    return JSONResponse(
        {
            "running": running,
            "queued": entries[:limit],
            "num_queued": len(entries),
            "has_more": len(entries) > limit,
            "next_cursor": entries[limit - 1]["job_id"] if len(entries) > limit else None,
            "waiting_for": "The queue waits for a free core." if entries else None,
        }
    )


async def upload(fake: FakeService, request: Request) -> Response:
    content, query = b"".join([chunk async for chunk in request.stream()]), request.query_params
    assert int(request.headers["content-length"]) == len(content)
    dataset_id = f"ds-{len(fake.datasets) + 1}"
    fake.files[dataset_id] = content
    left_out = ["line 3: The row is empty. [empty_row]"] if query.get("accept_partial") == "true" else []
    fake.datasets[dataset_id] = {
        "id": dataset_id,
        "owner": "local",
        "name": query["name"],
        "bucket": query.get("bucket", "training-files"),
        "format": "jsonl",
        "shape": "messages",
        "num_rows": content.count(b"\n"),
        "size_bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "created_at": START.isoformat(),
        "num_skipped": len(left_out),
        "problems": left_out,
        "compression": "gzip" if content.startswith(b"\x1f\x8b") else None,
        "column_mapping": {name: query[name] for name in ("shape", "columns") if name in query} or None,
    }
    return JSONResponse(fake.datasets[dataset_id], 201)


async def move_dataset(fake: FakeService, request: Request) -> Response:
    found = fake.datasets[request.path_params["dataset"]]
    found["bucket"] = (await request.json())["bucket"]
    return JSONResponse(found)


async def dataset_url(fake: FakeService, request: Request) -> Response:
    lasts_s = json.loads(await request.body() or b"{}").get("expires_s", 24 * 3600)
    expires_at = START + timedelta(seconds=lasts_s)
    return JSONResponse({"url": f"{fake.url}/api/downloads/signed", "expires_at": expires_at.isoformat()})


async def list_datasets(fake: FakeService, request: Request) -> Response:
    return page(request, list(reversed(fake.datasets.values())))


async def dataset(fake: FakeService, request: Request) -> Response:
    dataset_id = request.path_params["dataset"]
    if dataset_id not in fake.datasets:
        raise NotFoundError(f"No dataset {dataset_id!r}.", "dataset_not_found")
    if request.method == "DELETE":
        del fake.datasets[dataset_id]
        return Response(status_code=204)
    return JSONResponse(fake.datasets[dataset_id])


async def download(fake: FakeService, request: Request) -> Response:
    """`ZIP`, or what is left of it, cut where ordered."""
    begin = 0
    if fake.has_etag and request.headers.get("if-range") == '"v1"':
        begin = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
    cut = fake.cuts.pop(0) if fake.cuts else None

    async def body() -> AsyncIterator[bytes]:
        yield ZIP[begin : None if cut is None else begin + cut]
        if cut is not None:
            raise ConnectionResetError

    headers = {"content-length": str(len(ZIP) - begin)}
    if fake.has_etag:
        headers["etag"] = '"v1"'
    if begin:
        headers["content-range"] = f"bytes {begin}-{len(ZIP) - 1}/{len(ZIP)}"
    return StreamingResponse(body(), 206 if begin else 200, headers, "application/zip")


class _Socket:
    """The honest stream, unless another way of serving was ordered."""

    def __init__(self, fake: FakeService) -> None:
        self._fake = fake

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        websocket = WebSocket(scope, receive, send)
        after = int(websocket.query_params["after"])
        self._fake.socket_afters.append(after)
        job = self._fake.jobs[websocket.path_params["job"]]
        serve = self._fake.sockets.pop(0) if self._fake.sockets else honest
        with contextlib.suppress(WebSocketDisconnect, ConnectionResetError):
            await serve(websocket, job, after)


async def honest(websocket: WebSocket, job: FakeJob, after: int) -> None:
    await websocket.accept()
    await send_events(websocket, job.events[after:])
    await websocket.send_text(json.dumps({"type": "end", "status": job.status}))
    await websocket.close()


async def send_events(websocket: WebSocket, events: list[dict[str, Any]]) -> None:
    await websocket.send_text(json.dumps({"type": "events", "events": events}))


@contextlib.contextmanager
def serving(fake: FakeService) -> Iterator[FakeService]:
    """The service on a free port, in a thread."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # a request before the thread runs is kept waiting instead of refused
        fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        config = uvicorn.Config(build(fake), log_level="critical", lifespan="off", ws="websockets-sansio")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            server.should_exit = True
            server.force_exit = True
            thread.join(10)
