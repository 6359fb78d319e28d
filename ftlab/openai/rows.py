"""How files for OpenAI's other methods are read, where the usual detection of the shape does not find it."""

import json
from typing import Any

MAX_LINE_BYTES = 16 * 1024**2
_OF_A_CHAT = frozenset({"messages", "tools", "parallel_tool_calls", "functions"})
_OLD_DPO = {"preferred_output": "preferred_completion", "non_preferred_output": "non_preferred_completion"}


def options_of(first_line: bytes) -> dict[str, Any]:
    """The `shape` and the `columns` of a file by its first line; nothing where the usual detection reads it.

    Rows for reinforcement have messages that end with the user, and other fields, which graders read as `item.NAME`. A
    single text among these is the reference answer.
    """
    try:
        row = json.loads(first_line)
    except (ValueError, RecursionError):
        return {}  # what is wrong with the file is said when it is read as a whole
    if not isinstance(row, dict):
        return {}
    if all(name in row for name in ("input", *_OLD_DPO.values())):
        return {"shape": "openai_dpo", "columns": dict(_OLD_DPO)}
    if not _is_prompt(row.get("messages")):
        return {}
    texts = [name for name, value in row.items() if name not in _OF_A_CHAT and isinstance(value, str)]
    if len(texts) == 1:
        return {"shape": "prompt_completion", "columns": {"prompt": "messages", "completion": texts[0]}}
    return {"shape": "prompt", "columns": {"prompt": "messages"}}


def _is_prompt(messages: object) -> bool:
    last = messages[-1] if isinstance(messages, list) and messages else None
    return isinstance(last, dict) and last.get("role") in ("user", "tool")
