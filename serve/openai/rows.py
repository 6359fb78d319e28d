"""How files for OpenAI's other methods are read, where the shape of the rows alone does not say it."""

import json
from pathlib import Path
from typing import Any

from ftlab.schemas.requests import UploadEnd
from train.data.formats.source import open_plain
from train.data.shapes.shapes import Shape

MAX_LINE_BYTES = 16 * 1024**2
_OF_A_CHAT = frozenset({"messages", "tools", "parallel_tool_calls", "functions"})
_OLD_DPO = {"preferred_output": "preferred_completion", "non_preferred_output": "non_preferred_completion"}


def options_of(source: Path) -> UploadEnd:
    """The shape and the columns of a file, by its first row; nothing where the usual detection reads it.

    Rows for reinforcement have messages that end with the user, and other fields, which graders read as `item.NAME`. A
    single text among these is the reference answer.
    """
    row = _first_row(source)
    if all(name in row for name in ("input", *_OLD_DPO.values())):
        return UploadEnd(shape=Shape.OPENAI_DPO, columns=_OLD_DPO)
    if not _is_prompt(row.get("messages")):
        return UploadEnd()
    texts = [name for name, value in row.items() if name not in _OF_A_CHAT and isinstance(value, str)]
    if len(texts) == 1:
        return UploadEnd(shape=Shape.PROMPT_COMPLETION, columns={"prompt": "messages", "completion": texts[0]})
    return UploadEnd(shape=Shape.PROMPT, columns={"prompt": "messages"})


def _first_row(source: Path) -> dict[str, Any]:
    try:
        with open_plain(source) as file:
            row = json.loads(file.readline(MAX_LINE_BYTES))
    except (ValueError, OSError, EOFError, RecursionError):
        return {}  # what is wrong with the file is said when it is read as a whole
    return row if isinstance(row, dict) else {}


def _is_prompt(messages: object) -> bool:
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") in ("user", "tool")
