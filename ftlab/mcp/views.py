"""Records as agents read them: the fields that matter, long texts cut, nothing empty."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel

Item = TypeVar("Item", bound=BaseModel)

MAX_TEXT = 2000
"""Longest text of a reply, in characters."""

JOB = (
    *("id", "name", "status", "reason", "message", "phase", "step", "total_steps", "epoch", "loss", "eval_loss"),
    *("eta_s", "queue_position", "waiting_for", "attempt", "model_id", "run_time_s", "cost", "created_at"),
    *("started_at", "finished_at"),
)
JOB_IN_LIST = ("id", "name", "status", "step", "total_steps", "loss", "eval_loss", "eta_s", "waiting_for", "created_at")
DATASET = (
    *("id", "name", "bucket", "format", "shape", "kind", "confidence", "num_rows", "num_skipped", "problems"),
    *("column_mapping", "size_bytes", "created_at", "is_duplicate", "fields"),
)
DATASET_IN_LIST = ("id", "name", "kind", "shape", "num_rows", "size_bytes", "created_at")
MODEL = ("id", "name", "kind", "base_model", "job_id", "step", "created_at")
CHECKPOINT = ("name", "step", "size_bytes", "metrics", "is_best", "is_pinned", "created_at")


def view(record: BaseModel, *names: str, max_text: int = MAX_TEXT) -> dict[str, Any]:
    """The fields of these names that have a value, in this order; all of them without names."""
    document = record.model_dump(mode="json", by_alias=True, include=set(names) or None)
    found: dict[str, Any] = compact({name: document.get(name) for name in names or document}, max_text)
    return found


def compact(value: Any, max_text: int = MAX_TEXT) -> Any:
    """JSON without what is empty, with short numbers and texts."""
    if isinstance(value, dict):
        items = {name: compact(item, max_text) for name, item in value.items()}
        return {name: item for name, item in items.items() if item not in (None, "", [], {})}
    if isinstance(value, list | tuple):
        return [compact(item, max_text) for item in value]
    if isinstance(value, str):
        return cut(value, max_text)
    return float(f"{value:.6g}") if isinstance(value, float) else value


def cut(text: str, max_text: int) -> str:
    """The beginning of a long text, with a mark where it is cut. How much is missing, only the service knows."""
    return text if len(text) <= max_text else f"{text[:max_text]}... (cut here)"


async def first(records: AsyncIterator[Item], limit: int) -> tuple[list[Item], bool]:
    """Up to `limit` records, and whether there are more; `records` must yield one more."""
    found = [record async for record in records]
    return found[:limit], len(found) > limit


def listed(name: str, records: Sequence[BaseModel], fields: Sequence[str], *, has_more: bool) -> dict[str, Any]:
    """A list of records under their name."""
    return {name: [view(record, *fields) for record in records], "has_more": has_more}
