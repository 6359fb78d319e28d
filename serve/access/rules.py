"""The scope that each route requires, in one table. A route without a line here keeps the service from starting."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ftlab.schemas.accounts import Scope

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Rule(NamedTuple):
    """Scopes for the methods of one path; `None` requires no key."""

    reads: Scope | None
    """For GET and HEAD."""
    changes: Scope | None
    """For all other methods."""

    def scope_of(self, method: str) -> Scope | None:
        return self.reads if method in SAFE_METHODS else self.changes


NOT_AUDITED = frozenset({"/v1/chat/completions", "/v1/completions"})
"""Paths whose POST changes no record, and comes too often for the audit log. `/metrics` counts them."""

PUBLIC = Rule(None, None)
READ = Rule(Scope.READ, Scope.READ)
"""Paths whose POST computes an answer and changes no record."""
TRAIN = Rule(Scope.READ, Scope.TRAIN)
MANAGE = Rule(Scope.READ, Scope.ADMIN)
ADMIN = Rule(Scope.ADMIN, Scope.ADMIN)

RULES: dict[str, Rule] = {
    # The service itself. Its health is checked by programs that have no key.
    "/health": PUBLIC,
    "/ready": PUBLIC,
    "/api/info": READ,
    "/metrics": READ,
    # Accounts. Signing in and out needs no key; asking who one is does.
    "/api/session": Rule(Scope.READ, None),
    "/api/users": ADMIN,
    "/api/users/{name}": ADMIN,
    # With any key, its own record may be rotated and revoked; the service checks this.
    "/api/keys": MANAGE,
    "/api/keys/{key_id}": READ,
    "/api/keys/{key_id}/rotate": READ,
    "/api/audit": ADMIN,
    "/api/quota": MANAGE,
    "/api/costs": READ,
    "/api/nodes": READ,
    "/api/nodes/{node}/history": READ,
    "/api/nodes/{node}/devices/{device}/restore": ADMIN,
    "/api/disk": READ,
    # Jobs.
    "/api/training/jobs": TRAIN,
    "/api/training/jobs/estimate": READ,
    "/api/training/chains": TRAIN,
    "/api/training/chains/check": READ,
    "/api/training/jobs/{job_id}": TRAIN,
    "/api/training/jobs/{job_id}/cancel": TRAIN,
    "/api/training/jobs/{job_id}/pause": TRAIN,
    "/api/training/jobs/{job_id}/resume": TRAIN,
    "/api/training/jobs/{job_id}/batches": TRAIN,
    "/api/training/jobs/{job_id}/append": TRAIN,
    "/api/training/jobs/{job_id}/move": TRAIN,
    "/api/training/jobs/{job_id}/metrics": READ,
    "/api/training/jobs/{job_id}/events": READ,
    "/api/training/jobs/{job_id}/events/stream": READ,
    "/api/training/jobs/{job_id}/logs": READ,
    "/api/training/jobs/{job_id}/checkpoints": READ,
    "/api/training/jobs/{job_id}/checkpoints/{name}": TRAIN,
    "/api/training/checkpoints/prune": TRAIN,
    "/api/training/jobs/{job_id}/attempts": READ,
    "/api/training/jobs/{job_id}/costs": READ,
    "/api/training/jobs/{job_id}/failure": READ,
    "/api/training/jobs/{job_id}/analytics": READ,
    "/api/training/jobs/{job_id}/gpu": READ,
    "/api/training/jobs/{job_id}/evaluation": READ,
    "/api/training/jobs/{job_id}/evaluation/rows": READ,
    "/api/evaluations/options": READ,
    "/api/exports/options": READ,
    "/api/training/jobs/{job_id}/exports": READ,
    "/api/training/jobs/{job_id}/exports/{artifact}": TRAIN,
    "/api/training/jobs/{job_id}/exports/{artifact}/push": TRAIN,
    "/api/training/jobs/{job_id}/download/model": READ,
    "/api/training/jobs/{job_id}/download/logs": READ,
    "/api/training/metrics": READ,
    "/api/training/compare": READ,
    "/api/training/queue": READ,
    "/api/training/devices": READ,
    "/api/training/events/stream": READ,
    "/ws/training": READ,
    "/ws/training/{job_id}": READ,
    "/api/sweeps": TRAIN,
    "/api/sweeps/preview": READ,
    "/api/sweeps/{sweep_id}": TRAIN,
    "/api/sweeps/{sweep_id}/pause": TRAIN,
    "/api/sweeps/{sweep_id}/resume": TRAIN,
    "/api/sweeps/{sweep_id}/cancel": TRAIN,
    "/api/templates": READ,
    "/api/templates/{name}": TRAIN,
    # Data and models.
    "/api/datasets": TRAIN,
    "/api/datasets/{dataset_id}": TRAIN,
    "/api/datasets/{dataset_id}/content": READ,
    "/api/datasets/{dataset_id}/move": TRAIN,
    "/api/datasets/{dataset_id}/url": TRAIN,
    "/api/datasets/{dataset_id}/check": READ,
    "/api/datasets/{dataset_id}/check.html": READ,
    "/api/datasets/{dataset_id}/tokens": READ,
    "/api/datasets/{dataset_id}/preview": READ,
    "/api/uploads": TRAIN,
    "/api/uploads/{upload_id}": TRAIN,
    "/api/uploads/{upload_id}/complete": TRAIN,
    # The signature in the path is the permission.
    "/api/downloads/{token}": PUBLIC,
    "/api/models": READ,
    "/api/models/check": READ,
    "/api/models/prune": TRAIN,
    "/api/models/{model_id}": TRAIN,
    # Notifications.
    "/api/notifications": READ,
    "/api/notifications/read": TRAIN,
    "/api/notifications/{notification_id}/read": TRAIN,
    "/api/notifications/channels": READ,
    "/api/notifications/channels/{name}": TRAIN,
    "/api/notifications/channels/{name}/test": TRAIN,
    # Coding agents. Each tool calls the API with the key of its caller, whose scope is checked there.
    "/mcp": READ,
    "/llms.txt": PUBLIC,
    "/guide/{page:path}": PUBLIC,
    # The OpenAI-compatible API.
    "/v1/chat/completions": TRAIN,
    "/v1/completions": TRAIN,
    "/v1/files": TRAIN,
    "/v1/files/{file_id}": TRAIN,
    "/v1/files/{file_id}/content": READ,
    "/v1/uploads": TRAIN,
    "/v1/uploads/{upload}/parts": TRAIN,
    "/v1/uploads/{upload}/complete": TRAIN,
    "/v1/uploads/{upload}/cancel": TRAIN,
    "/v1/fine_tuning/jobs": TRAIN,
    "/v1/fine_tuning/jobs/{fine_tune}": READ,
    "/v1/fine_tuning/jobs/{fine_tune}/cancel": TRAIN,
    "/v1/fine_tuning/jobs/{fine_tune}/pause": TRAIN,
    "/v1/fine_tuning/jobs/{fine_tune}/resume": TRAIN,
    "/v1/fine_tuning/jobs/{fine_tune}/events": READ,
    "/v1/fine_tuning/jobs/{fine_tune}/checkpoints": READ,
    "/v1/fine_tuning/checkpoints/{checkpoint}/permissions": TRAIN,
    "/v1/fine_tuning/checkpoints/{checkpoint}/permissions/{permission}": TRAIN,
    "/v1/fine_tuning/alpha/graders/run": READ,
    "/v1/fine_tuning/alpha/graders/validate": READ,
    "/v1/models": READ,
    "/v1/models/{model:path}": TRAIN,
    "/v1/webhook_event_types": READ,
    "/v1/webhook_endpoints": TRAIN,
    "/v1/webhook_endpoints/{endpoint}": TRAIN,
    "/v1/webhook_endpoints/{endpoint}/rotate_secret": TRAIN,
    "/v1/webhook_endpoints/{endpoint}/test": TRAIN,
    # The paths of earlier clients.
    "/api/training/execute": TRAIN,
    "/api/training/start": TRAIN,
    "/api/training/status/{job_id}": READ,
    "/api/training/metrics/{job_id}": READ,
    "/api/training/gpu/{job_id}": READ,
    "/api/training/logs/{job_id}": READ,
    "/api/training/cancel/{job_id}": TRAIN,
    "/api/training/pause/{job_id}": TRAIN,
    "/api/training/resume/{job_id}": TRAIN,
    "/api/training/local/jobs": READ,
    "/api/training/local/{job_id}/logs": READ,
    "/api/training/local/{job_id}/resume": TRAIN,
    "/api/training/local/{job_id}/analyze-failure": READ,
    "/api/training/{job_id}/checkpoints": READ,
    "/api/training/{job_id}/analytics": READ,
    "/api/training/{job_id}/download/model": READ,
    "/api/training/{job_id}/download/logs": READ,
    "/api/jobs/{job_id}": READ,
    "/api/jobs/{job_id}/cancel": TRAIN,
}

UNDOCUMENTED = frozenset({"/mcp"})
"""Paths with a protocol of their own, which an OpenAPI document cannot describe. The audit log leaves them out: it has
what their callers did by the routes that were used for it."""

DOCUMENTED_RULES = {path.replace(":path}", "}"): rule for path, rule in RULES.items() if path not in UNDOCUMENTED}
"""The rules by the paths of an OpenAPI document, which name no converters."""


def check_rules(paths: Iterable[str]) -> None:
    """Raise `LookupError` for a path that has no rule."""
    for path in paths:
        if path not in RULES:
            raise LookupError(f"The route {path} has no access rule: add one to RULES in serve/access/rules.py.")


def describe_access(document: dict[str, Any]) -> None:
    """Add to an OpenAPI document how callers identify themselves, and the scope of each operation."""
    schemes = document["components"].setdefault("securitySchemes", {})
    schemes["key"] = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "ftl_<id>_<secret>",
        "description": "An API key. A service without keys, which only its own machine can reach, needs none.",
    }
    schemes["session"] = {
        "type": "apiKey",
        "in": "cookie",
        "name": "ftlab_session_8000",
        "description": "The session of a browser that signed in with a key; the name ends with the port.",
    }
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            scope = DOCUMENTED_RULES[path].scope_of(method.upper())
            operation["security"] = [] if scope is None else [{"key": [scope.value]}, {"session": [scope.value]}]
