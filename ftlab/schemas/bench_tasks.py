"""Tasks of lm-evaluation-harness, which an evaluation names and whose files are in a folder of the service."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from ftlab.schemas.common import StrictModel

MAX_TASKS = 100
MAX_FEWSHOT = 100
TASK_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}$"


class BenchTask(StrictModel):
    """A task, or at the submission a group or a tag that stands for several."""

    name: str = Field(pattern=TASK_NAME)
    """Name of a task, a group or a tag in the folder that the setting `lm_eval_tasks` names."""
    num_fewshot: int | None = Field(default=None, ge=0, le=MAX_FEWSHOT)
    """Solved examples before each question. Default: as many as the task says."""
    apply_chat_template: bool = True
    """Whether a model reads the questions in its chat template, if it has one; otherwise as plain text."""
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of the files of the task; filled in at the submission. A job does not run with files of other content."""


def _as_task(value: object) -> object:
    return {"name": value} if isinstance(value, str) else value


NamedTask = Annotated[BenchTask, BeforeValidator(_as_task, json_schema_input_type=str | BenchTask)]
"""A task; its name alone stands for a task with the default settings."""
