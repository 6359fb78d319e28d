"""Lists of messages in the forms that people use, converted to one form."""

import json
import math
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from train.data.formats.json_text import decode_whole
from train.data.rows.canonical import Message
from train.data.rows.errors import RowError, Rule

MAX_DEPTH = 64
"""Maximum nesting of `tools` and `tool_calls`, so that every later reader and chat template can process them."""
MAX_MESSAGES = 2000
"""Maximum length of a list: each answer is found by rendering all messages before it, so the work is quadratic."""

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
"""Role as OpenAI writes it -> role that chat templates know."""

_SHAREGPT_ROLES = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "tool": "tool",
    "observation": "tool",
}

ROLES = frozenset(_ROLES.values())

_LIST_OF_OBJECTS = re.compile(r"\s*\[\s*\{")


class MessageReader:
    """Reads messages with `role` and `content`, or with `from` and `value`, or with keys named by the user.

    `roles` maps more names to roles. With `is_table`, the rows come from a table, whose cells may hold lists as JSON.
    """

    def __init__(
        self,
        roles: Mapping[str, str] | None = None,
        role_key: str | None = None,
        content_key: str | None = None,
        *,
        is_table: bool = False,
    ) -> None:
        self._is_table = is_table
        self._openai = (role_key or "role", content_key or "content", _ROLES | dict(roles or {}))
        self._sharegpt = ("from", "value", _SHAREGPT_ROLES | dict(roles or {}))
        self._is_plain = not (roles or role_key or content_key)

    def read(self, value: object, name: str) -> list[Message]:
        """The messages of the field `name`; raise `RowError`."""
        value = from_json_text(value, name)
        if not isinstance(value, list):
            raise RowError(Rule.WRONG_TYPE, f"'{name}' is not a list.")
        if not value:
            raise RowError(Rule.NO_MESSAGES, f"'{name}' is empty.")
        if len(value) > MAX_MESSAGES:
            raise RowError(
                Rule.TOO_MANY_MESSAGES,
                f"'{name}' has {len(value):,} messages, and {MAX_MESSAGES:,} are the most; make several rows of it.",
            )
        if self._is_plain:
            return [
                item if _is_normal(item) else self._message(item, f"{name}[{number}]")
                for number, item in enumerate(value, 1)
            ]
        return [self._message(item, f"{name}[{number}]") for number, item in enumerate(value, 1)]

    def from_cell(self, value: object, name: str) -> object:
        """The messages that a cell of a table holds as JSON; raise `RowError` where that is broken.

        Any other value is returned unchanged, also JSON without messages: the field `name` may be plain text.
        """
        if not (self._is_table and isinstance(value, str) and _LIST_OF_OBJECTS.match(value)):
            return value
        try:
            found = from_json_text(value, name)
        except RowError:
            # For example a list printed by Python, with single quotes.
            if self._said_by.search(value):
                raise
            return value
        return found if isinstance(found, list) and any(map(self._is_message, found)) else value

    def _is_message(self, value: object) -> bool:
        (role, content, _), (sender, words, _) = self._openai, self._sharegpt
        known = ({role, content}, {role, "tool_calls"}, {sender, words})
        return isinstance(value, dict) and any(keys <= value.keys() for keys in known)

    @cached_property
    def _said_by(self) -> re.Pattern[str]:
        """A key and a value that name a role."""
        keys = "|".join(re.escape(key) for key, _, _ in (self._openai, self._sharegpt))
        roles = "|".join(map(re.escape, self._openai[2] | self._sharegpt[2]))
        return re.compile(rf"""["']({keys})["']\s*:\s*["']({roles})["']""")

    def _message(self, value: object, where: str) -> Message:
        if not isinstance(value, dict):
            raise RowError(Rule.WRONG_TYPE, f"{where} is not an object.")
        is_openai = self._openai[0] in value or "from" not in value
        role_key, content_key, roles = self._openai if is_openai else self._sharegpt
        role = _role(value.get(role_key), roles, f"{where}.{role_key}")
        calls = objects(value["tool_calls"], f"{where}.tool_calls") if value.get("tool_calls") else []
        # A call needs no text, a tool may return nothing, and an empty system message prevents the chat template
        # from inserting a default one.
        may_be_empty = role in ("tool", "system") or (role == "assistant" and bool(calls))
        message: Message = {"role": role}
        message["content"] = _content(value.get(content_key), f"{where}.{content_key}", may_be_empty)
        if role == "assistant" and calls:
            message["tool_calls"] = calls
        if role == "assistant" and value.get("weight") is not None:
            message["weight"] = _weight(value["weight"], f"{where}.weight")
        if role == "tool":
            message |= {key: value[key] for key in ("name", "tool_call_id") if isinstance(value.get(key), str)}
        return message


def text(value: object, where: str) -> str:
    """A text that holds more than white space; raise `RowError`."""
    if value is None:
        raise RowError(Rule.EMPTY_CONTENT, f"{where} is missing or null.")
    if not isinstance(value, str):
        raise RowError(Rule.WRONG_TYPE, f"{where} is not a text.")
    if not value or value.isspace():
        raise RowError(Rule.EMPTY_CONTENT, f"{where} is empty.")
    return value


def objects(value: object, where: str) -> list[dict[str, Any]]:
    """A list of objects, not nested deeper than `MAX_DEPTH`; raise `RowError`."""
    value = from_json_text(value, where)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RowError(Rule.WRONG_TYPE, f"{where} is not a list of objects.")
    _check_json(value, MAX_DEPTH, where)
    return value


def from_json_text(value: object, where: str) -> object:
    """The value of JSON in a text, which tables have in place of lists; anything else unchanged."""
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return decode_whole(value)
    except json.JSONDecodeError as error:
        raise RowError(Rule.BROKEN_JSON, f"{where} is broken JSON at character {error.pos + 1}.") from None


def _is_normal(value: object) -> bool:
    """Whether a message already has its final form, as most do."""
    if type(value) is not dict or len(value) != 2:
        return False
    content = value.get("content")
    if type(content) is not str or not content or content.isspace():
        return False
    role = value.get("role")
    return role == "user" or role == "assistant" or role == "system"


def _role(value: object, known: dict[str, str], where: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise RowError(Rule.WRONG_ROLE, f"{where} must be one of {', '.join(known)}.")
    return known[value]


def _content(value: object, where: str, may_be_empty: bool) -> str:
    if isinstance(value, list):
        value = "".join(_part(part, f"{where}[{number}]") for number, part in enumerate(value, 1))
    if may_be_empty and (value is None or value == ""):
        return ""
    return text(value, where)


def _part(value: object, where: str) -> str:
    if isinstance(value, dict) and value.get("type") == "text" and isinstance(value.get("text"), str):
        return str(value["text"])
    raise RowError(Rule.WRONG_TYPE, f"{where} is not a text part; only parts of type 'text' can be used.")


def _weight(value: object, where: str) -> int:
    if isinstance(value, bool) or value not in (0, 1):
        raise RowError(Rule.WRONG_WEIGHT, f"{where} must be 0 or 1.")
    return 1 if value else 0


def _check_json(value: object, levels: int, where: str) -> None:
    """Refuse what JSON cannot hold, or what is nested more than `levels` deep."""
    if isinstance(value, list | dict):
        if not levels:
            raise RowError(Rule.TOO_DEEP, f"{where} is nested more than {MAX_DEPTH} levels deep.")
        for item in value.values() if isinstance(value, dict) else value:
            _check_json(item, levels - 1, where)
    elif isinstance(value, float) and not math.isfinite(value):
        raise RowError(Rule.NON_FINITE_NUMBER, f"{where} holds NaN or Infinity.")
    elif not isinstance(value, str | int | float | None):
        raise RowError(Rule.WRONG_TYPE, f"{where} holds a value that JSON has no form for.")
