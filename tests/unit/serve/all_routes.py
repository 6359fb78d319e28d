"""Every route of the API, and a user whose records fill the parameters of their paths."""

import re
from dataclasses import replace
from typing import Any, NamedTuple

from starlette.testclient import TestClient

from ftlab.openai.ids import in_openai_ids
from ftlab.schemas.accounts import Scope
from serve.access.rules import DOCUMENTED_RULES
from tests.unit.serve.accounts.with_keys import add_key
from tests.unit.serve.conftest import ROWS
from tests.unit.tracking.samples import model
from tracking.notifications.collect import Collector
from tracking.store import Store

CANARY = "canary-of-bob"
CANARY_ROW = f'{{"messages":[{{"role":"user","content":"{CANARY}"}},{{"role":"assistant","content":"x"}}]}}\n'.encode()
WEBHOOK = {"url": f"https://hooks.example.com/{CANARY}", "secret": "whsec_" + "A" * 32}

BODIES: dict[str, dict[str, Any]] = {
    "POST /api/training/jobs/{job_id}/batches": {"datasets": ["ds-1"]},
    "POST /api/training/jobs/{job_id}/append": {"datasets": ["ds-1"]},
    "POST /api/training/jobs/{job_id}/move": {"to": "front"},
    "PATCH /api/training/jobs/{job_id}": {"priority": 5},
    "PATCH /api/training/jobs/{job_id}/checkpoints/{name}": {"is_pinned": True},
    "PATCH /api/models/{model_id}": {"is_pinned": True},
    "POST /api/training/jobs/{job_id}/exports/{artifact}/push": {"repo": "org/new", "token": "hf_any"},
    "POST /api/sweeps/preview": {"job": {"model": "org/m", "dataset": "ds-1"}, "parameters": {"lora.r": [4, 8]}},
    "POST /api/datasets/{dataset_id}/move": {"bucket": "lora-datasets"},
    "PATCH /api/users/{name}": {"is_disabled": True},
    "PUT /api/templates/{name}": {"text": "training: {}"},
    "PUT /api/notifications/channels/{name}": WEBHOOK,
    "PATCH /api/notifications/channels/{name}": {"is_on": False},
    "POST /v1/uploads/{upload}/complete": {"part_ids": ["part_1"]},
    "POST /v1/webhook_endpoints/{endpoint}": {"name": "new"},
    "POST /v1/webhook_endpoints/{endpoint}/test": {"event_type": "fine_tuning.job.failed"},
}
QUERIES: dict[str, dict[str, Any]] = {
    "POST /api/datasets/{dataset_id}/check": {"model": "org/name"},
    "GET /api/datasets/{dataset_id}/check.html": {"model": "org/name"},
    "GET /api/datasets/{dataset_id}/tokens": {"model": "org/name", "row": 1},
}
HEADERS = {"PATCH /api/uploads/{upload_id}": {"upload-offset": "0"}}
FORMS = {"POST /v1/uploads/{upload}/parts": {"data": b"x"}}
BY_NAME = {"PUT /api/templates/{name}", "PUT /api/notifications/channels/{name}"}
"""Names are each user's own: these add a record of the caller and leave the other user's alone."""


class Route(NamedTuple):
    method: str
    path: str
    scope: Scope | None

    @property
    def text(self) -> str:
        return f"{self.method} {self.path}"


def routes_of(document: dict[str, Any]) -> list[Route]:
    """All routes of the API's description that are not WebSockets."""
    found = [
        Route(method.upper(), path, DOCUMENTED_RULES[path].scope_of(method.upper()))
        for path, methods in document["paths"].items()
        for method in methods
        if not path.startswith("/ws/")
    ]
    assert len(found) > 70
    return found


def records_of_bob(client: TestClient, store: Store) -> dict[str, str]:
    """Make records of Bob; give a value for each parameter of a path. All of the records have his canary in them."""
    headers = add_key(store, "bob", Scope.ADMIN)
    data = client.post(
        "/api/datasets", content=ROWS + CANARY_ROW, headers=headers | {"x-filename": f"{CANARY}.jsonl"}
    ).json()
    job = client.post(
        "/api/training/jobs", json={"name": CANARY, "model": "org/m", "dataset": data["id"]}, headers=headers
    ).json()
    sweep = {"name": CANARY, "job": {"model": "org/m", "dataset": data["id"]}, "parameters": {"lora.r": [4, 8]}}
    sweep = client.post("/api/sweeps", json=sweep | {"objective": {"metric": "loss"}}, headers=headers).json()
    upload = client.post("/api/uploads", json={"filename": f"{CANARY}.jsonl", "size_bytes": 10}, headers=headers).json()
    assert client.put(f"/api/templates/{CANARY}", json={"text": "training: {}"}, headers=headers).status_code == 200
    assert client.put(f"/api/notifications/channels/{CANARY}", json=WEBHOOK, headers=headers).status_code == 200
    with store.begin() as tx:
        tx.models.add(replace(model(job["id"]), id="mdl-of-bob", owner="bob", name=CANARY))
    Collector(store).step()
    notification = client.get("/api/notifications", headers=headers).json()["data"][0]
    hook = {"name": CANARY, "url": WEBHOOK["url"], "event_types": ["fine_tuning.job.failed"]}
    endpoint = client.post("/v1/webhook_endpoints", json=hook, headers=headers).json()
    return {
        "fine_tune": in_openai_ids(job["id"]),
        "file_id": in_openai_ids(data["id"]),
        "upload": in_openai_ids(upload["id"]),
        "endpoint": endpoint["id"],
        "model": "mdl-of-bob",
        "checkpoint": f"ft:m:bob::{job['id'][4:12]}:ckpt-step-2",
        "permission": "cp_1",
        "job_id": job["id"],
        "sweep_id": sweep["id"],
        "dataset_id": data["id"],
        "upload_id": upload["id"],
        "model_id": "mdl-of-bob",
        "artifact": "merged",
        "notification_id": notification["id"],
        "key_id": headers["authorization"].split("_")[1],
        "name": CANARY,
        "token": "not-a-token",
        "page": "README.md",
        "node": "alpha-x1y2",
        "device": "gpu-0",
    }


def call(client: TestClient, route: Route, headers: dict[str, str], values: dict[str, str], **query: str) -> Any:
    path = re.sub(r"{(\w+)}", lambda found: values[found[1]], route.path)
    return client.request(
        route.method,
        path,
        params=QUERIES.get(route.text, {}) | query,
        json=BODIES.get(route.text),
        files=FORMS.get(route.text),
        headers=HEADERS.get(route.text, {}) | headers,
    )
