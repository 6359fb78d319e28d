"""One normal form for every way to name a model."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from ftlab.errors import InvalidRequestError

_HUB = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(@(?P<revision>[\w./-]{1,100}))?")
# An id or a name. A name with a slash cannot be told from a step, so its record is named by id.
_RECORD = r"(?P<id>(?!\.{1,2}(/|$))[^/\x00-\x1f\ud800-\udfff]{1,200})"
_JOB = re.compile(rf"job:{_RECORD}(/step-(?P<step>\d{{1,9}}))?", re.ASCII)
_MODEL = re.compile(rf"model:{_RECORD}")


@dataclass(frozen=True)
class ModelRef:
    """A model reference in normal form.

    `kind` says what `id` is: a hub repository, an absolute path, a job or a registered model. The last two may be given
    by name until the service has looked them up. `revision` belongs to the hub, `step` to a job.
    """

    kind: Literal["hub", "path", "job", "model"]
    id: str
    revision: str | None = None
    step: int | None = None

    def __str__(self) -> str:
        if self.kind == "hub":
            return f"{self.id}@{self.revision}" if self.revision else self.id
        if self.kind == "job":
            return f"job:{self.id}/step-{self.step}" if self.step is not None else f"job:{self.id}"
        return f"model:{self.id}" if self.kind == "model" else self.id


def is_hub_id(name: str) -> bool:
    """Whether a base model's name is that of a repository on Hugging Face, without a revision."""
    match = _HUB.fullmatch(name)
    return match is not None and match["revision"] is None and ".." not in name


def parse_model_ref(text: str) -> ModelRef:
    """Raise `InvalidRequestError` with code `invalid_model_id` for anything that is not one of the forms."""
    if match := _JOB.fullmatch(text):
        return ModelRef("job", match["id"], step=int(match["step"]) if match["step"] else None)
    if match := _MODEL.fullmatch(text):
        return ModelRef("model", match["id"])
    if text.startswith("/") and ".." not in PurePosixPath(text).parts and "\0" not in text:
        return ModelRef("path", str(PurePosixPath(text)))
    if (match := _HUB.fullmatch(text)) and ".." not in text:
        return ModelRef("hub", match["repo"], match["revision"])
    raise InvalidRequestError(
        "model must be a hub id like 'org/name', an absolute path, 'job:ID', 'job:ID/step-N' or 'model:ID'; ID may "
        "also be a unique name.",
        "invalid_model_id",
        "model",
    )
