"""The row shapes people bring, and the one shape they all become.

A normal row is `{"messages": [{"role", "content"}, ...]}`, with `tools` where the row brought some. An
assistant message may also have `tool_calls`, and `weight` 0 or 1: the loss skips a message of weight 0.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

Row = dict[str, Any]
Message = dict[str, Any]

MAX_DEPTH = 64
"""Nesting of `tools` and `tool_calls`, so that every later reader and chat template can follow."""


class Shape(StrEnum):
    """How a row is written down."""

    MESSAGES = "messages"
    """OpenAI chat: `messages` with `role` and `content`."""
    SHAREGPT = "sharegpt"
    """`conversations` with `from` and `value`."""
    ALPACA = "alpaca"
    """`instruction`, `output` and, if wanted, `input` and `system`."""
    PROMPT_COMPLETION = "prompt_completion"
    """`prompt` and `completion`: two texts, or two lists of messages."""


class Rule(StrEnum):
    """What a row, or the text that holds it, must obey."""

    INVALID_UTF8 = "invalid_utf8"
    BROKEN_JSON = "broken_json"
    NON_FINITE_NUMBER = "non_finite_number"
    LONE_SURROGATE = "lone_surrogate"
    TOO_DEEP = "too_deep"
    ROW_TOO_LONG = "row_too_long"
    NOT_AN_ARRAY = "not_an_array"
    NOT_AN_OBJECT = "not_an_object"
    UNKNOWN_SHAPE = "unknown_shape"
    MIXED_SHAPES = "mixed_shapes"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    WRONG_ROLE = "wrong_role"
    WRONG_WEIGHT = "wrong_weight"
    EMPTY_CONTENT = "empty_content"
    NO_MESSAGES = "no_messages"
    NO_ASSISTANT = "no_assistant"
    PROMPT_LAST_MESSAGE = "prompt_last_message"
    COMPLETION_FIRST_MESSAGE = "completion_first_message"


class RowError(Exception):
    """One row breaks one rule; `message` is a sentence that does not quote the row."""

    def __init__(self, rule: Rule, message: str) -> None:
        super().__init__(rule, message)
        self.rule = rule
        self.message = message

    def __str__(self) -> str:
        return self.message


_KEYS: dict[Shape, tuple[str, ...]] = {
    Shape.MESSAGES: ("messages",),
    Shape.SHAREGPT: ("conversations",),
    Shape.ALPACA: ("instruction", "output"),
    Shape.PROMPT_COMPLETION: ("prompt", "completion"),
}

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""Role as written -> role that chat templates know."""

_SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
}


def detect_shape(row: object) -> Shape | None:
    """The shape whose keys the row has; `None` when there is none."""
    if not isinstance(row, dict):
        return None
    return next((shape for shape, keys in _KEYS.items() if all(key in row for key in keys)), None)


def normalise(row: object, shape: Shape) -> Row:
    """Bring a row of the given shape into the normal form; raise `RowError` when it breaks a rule."""
    if not isinstance(row, dict):
        raise RowError(Rule.NOT_AN_OBJECT, "The row is not a JSON object.")
    for key in _KEYS[shape]:
        if key not in row:
            raise RowError(Rule.MISSING_FIELD, f"The row has no '{key}'.")
    messages = _READERS[shape](row)
    if not any(message["role"] == "assistant" for message in messages):
        raise RowError(Rule.NO_ASSISTANT, "The row has no assistant message to learn from.")
    normal: Row = {"messages": messages}
    if row.get("tools"):
        normal["tools"] = _objects(row["tools"], "tools")
    return normal


def _read_messages(row: Row) -> list[Message]:
    return _messages(row["messages"], "messages")


def _read_sharegpt(row: Row) -> list[Message]:
    turns = row["conversations"]
    if not isinstance(turns, list):
        raise RowError(Rule.WRONG_TYPE, "'conversations' is not a list.")
    messages = _optional_message(row, "system")
    for number, turn in enumerate(turns, 1):
        where = f"conversations[{number}]"
        if not isinstance(turn, dict):
            raise RowError(Rule.WRONG_TYPE, f"{where} is not an object.")
        role = _role(turn.get("from"), _SHAREGPT_ROLES, f"{where}.from")
        messages.append({"role": role, "content": _text(turn.get("value"), f"{where}.value")})
    if not turns:
        raise RowError(Rule.NO_MESSAGES, "'conversations' is empty.")
    return messages


def _read_alpaca(row: Row) -> list[Message]:
    messages = _optional_message(row, "system")
    question = _text(row["instruction"], "instruction")
    if row.get("input"):
        question += "\n\n" + _text(row["input"], "input")
    messages.append({"role": "user", "content": question})
    messages.append({"role": "assistant", "content": _text(row["output"], "output")})
    return messages


def _read_prompt_completion(row: Row) -> list[Message]:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) != isinstance(completion, list):
        raise RowError(Rule.WRONG_TYPE, "'prompt' and 'completion' must both be texts or both be lists.")
    if not isinstance(prompt, list):
        question, answer = _text(prompt, "prompt"), _text(completion, "completion")
        return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    before, after = _messages(prompt, "prompt"), _messages(completion, "completion")
    if before[-1]["role"] not in ("user", "tool"):
        raise RowError(Rule.PROMPT_LAST_MESSAGE, "'prompt' must end with a message of the user or a tool.")
    if after[0]["role"] != "assistant":
        raise RowError(Rule.COMPLETION_FIRST_MESSAGE, "'completion' must start with an assistant message.")
    # Only the completion is to be learned, also where the prompt holds earlier answers.
    context = [message | {"weight": 0} if message["role"] == "assistant" else message for message in before]
    return context + after


_READERS: dict[Shape, Callable[[Row], list[Message]]] = {
    Shape.MESSAGES: _read_messages,
    Shape.SHAREGPT: _read_sharegpt,
    Shape.ALPACA: _read_alpaca,
    Shape.PROMPT_COMPLETION: _read_prompt_completion,
}


def _messages(value: object, name: str) -> list[Message]:
    if not isinstance(value, list):
        raise RowError(Rule.WRONG_TYPE, f"'{name}' is not a list.")
    if not value:
        raise RowError(Rule.NO_MESSAGES, f"'{name}' is empty.")
    return [_message(item, f"{name}[{number}]") for number, item in enumerate(value, 1)]


def _message(value: object, where: str) -> Message:
    if not isinstance(value, dict):
        raise RowError(Rule.WRONG_TYPE, f"{where} is not an object.")
    role = _role(value.get("role"), _ROLES, f"{where}.role")
    calls = _objects(value["tool_calls"], f"{where}.tool_calls") if value.get("tool_calls") else []
    # A call needs no words around it, and a tool may answer with nothing.
    may_be_empty = role == "tool" or (role == "assistant" and bool(calls))
    content = _content(value.get("content"), f"{where}.content", may_be_empty)
    message: Message = {"role": role, "content": content}
    if role == "assistant" and calls:
        message["tool_calls"] = calls
    if role == "assistant" and value.get("weight") is not None:
        message["weight"] = _weight(value["weight"], f"{where}.weight")
    if role == "tool":
        message |= {key: value[key] for key in ("name", "tool_call_id") if isinstance(value.get(key), str)}
    return message


def _role(value: object, known: dict[str, str], where: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise RowError(Rule.WRONG_ROLE, f"{where} must be one of {', '.join(known)}.")
    return known[value]


def _content(value: object, where: str, may_be_empty: bool) -> str:
    if isinstance(value, list):
        value = "".join(_part(part, f"{where}[{number}]") for number, part in enumerate(value, 1))
    if may_be_empty and (value is None or value == ""):
        return ""
    return _text(value, where)


def _part(value: object, where: str) -> str:
    if isinstance(value, dict) and value.get("type") == "text" and isinstance(value.get("text"), str):
        return str(value["text"])
    raise RowError(Rule.WRONG_TYPE, f"{where} is not a text part; only parts of type 'text' can be used.")


def _weight(value: object, where: str) -> int:
    if isinstance(value, bool) or value not in (0, 1):
        raise RowError(Rule.WRONG_WEIGHT, f"{where} must be 0 or 1.")
    return 1 if value else 0


def _text(value: object, where: str) -> str:
    if value is None:
        raise RowError(Rule.EMPTY_CONTENT, f"{where} is missing or null.")
    if not isinstance(value, str):
        raise RowError(Rule.WRONG_TYPE, f"{where} is not a text.")
    if not value.strip():
        raise RowError(Rule.EMPTY_CONTENT, f"{where} is empty.")
    return value


def _optional_message(row: Row, role: str) -> list[Message]:
    return [{"role": role, "content": _text(row[role], role)}] if row.get(role) else []


def _objects(value: object, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowError(Rule.WRONG_TYPE, f"{where} is not a list of objects.")
    if _is_deeper(value, MAX_DEPTH):
        raise RowError(Rule.TOO_DEEP, f"{where} is nested more than {MAX_DEPTH} levels deep.")
    return value


def _is_deeper(value: object, levels: int) -> bool:
    if not isinstance(value, list | dict):
        return False
    items = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(item, levels - 1) for item in items)
