"""Lists of messages in the forms that people use, converted to one form."""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from train.data.rows.canonical import Message
from train.data.rows.errors import RowError, Rule, shown_name
from train.data.shapes.json_cells import from_json_text
from train.data.shapes.message_fields import (
    CALLS,
    LOSS_FLAGS,
    REASONING,
    TOOL_FIELDS,
    calls_in,
    calls_of,
    reasoning_of,
    refuse_media,
    tool_fields_of,
    weight_of,
)

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
    "function_call": "assistant",
    "tool_call": "assistant",
}
_SHAREGPT_CALLS = ("function_call", "tool_call")
"""ShareGPT roles whose text is a call of a tool as JSON."""

_USES_OF: Mapping[str, Mapping[str, str]] = {
    "assistant": dict.fromkeys(CALLS, "tool_calls")
    | dict.fromkeys(REASONING, "reasoning_content")
    | dict.fromkeys(LOSS_FLAGS, "weight"),
    "tool": {name: name for name in TOOL_FIELDS},
}
"""Role -> the fields that are read in addition to the role and the content, and what each becomes."""
_PART_KEYS = ("type", "text")

OnField = Callable[[str, str, str | None], None]
"""Takes a field of the row, the path of a field inside it, and what that becomes; `None` where it is not used."""

ROLES = frozenset(_ROLES.values())

INVISIBLE = re.compile(r"[\s\u00ad\u200b-\u200f\u2060\ufeff]*")
_LIST_OF_OBJECTS = re.compile(r"\s*\[\s*\{")


class MessageReader:
    """Reads messages with `role` and `content`, or with `from` and `value`, or with keys named by the user.

    `roles` maps more names to roles. With `is_table`, the rows come from a table, whose cells may hold lists as JSON.
    `on_field` is called for each field inside messages and their parts that holds something, except a message's role
    and content.
    """

    def __init__(
        self,
        roles: Mapping[str, str] | None = None,
        role_key: str | None = None,
        content_key: str | None = None,
        *,
        is_table: bool = False,
        on_field: OnField | None = None,
    ) -> None:
        self._is_table = is_table
        self._on_field = on_field
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
                f"'{name}' has {len(value):,} messages, and {MAX_MESSAGES:,} are the maximum; split the row.",
            )
        if self._is_plain:
            return [
                item if _is_normal(item) else self._message(item, name, number) for number, item in enumerate(value, 1)
            ]
        return [self._message(item, name, number) for number, item in enumerate(value, 1)]

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

    def report_inside(self, value: dict[str, Any], path: str, uses: Mapping[str, str]) -> None:
        """Report the fields of an object inside a row, at `path`, and what they become according to `uses`."""
        if self._on_field is None:
            return
        start = re.search(r"[.\[]|$", path)
        assert start is not None
        field, below = path[: start.start()], path[start.start() :]
        for name, item in value.items():
            if item is not None and item != "":
                self._on_field(field, f"{below}.{name}", uses.get(name))

    def _message(self, value: object, name: str, number: int) -> Message:
        where = f"{name}[{number}]"
        if not isinstance(value, dict):
            raise RowError(Rule.WRONG_TYPE, f"{where} is not an object.")
        is_openai = self._openai[0] in value or "from" not in value
        role_key, content_key, roles = self._openai if is_openai else self._sharegpt
        role = _role(value.get(role_key), roles, f"{where}.{role_key}")
        refuse_media(value, where)
        others = {key: item for key, item in value.items() if key not in (role_key, content_key)}
        self.report_inside(others, f"{name}[]", _USES_OF.get(role, {}))
        calls = calls_of(value, where) if role == "assistant" else []
        content = value.get(content_key)
        if not is_openai and value[role_key] in _SHAREGPT_CALLS:
            calls, content = [*calls, *calls_in(content, f"{where}.{content_key}")], None
        weight = weight_of(value, where) if role == "assistant" else None
        # A call needs no text, an answer that is not trained may be empty, a tool may return nothing, and an empty
        # system message prevents the chat template from inserting a default one.
        may_be_empty = role in ("tool", "system") or bool(calls) or weight == 0
        content = self._joined(content, f"{where}.{content_key}", f"{name}[].{content_key}[]")
        message: Message = {"role": role}
        message["content"] = _content(content, f"{where}.{content_key}", role, may_be_empty)
        if role == "assistant":
            rare = {"weight": weight, "reasoning_content": reasoning_of(value, where)}
            message |= {"tool_calls": calls} if calls else {}
            message |= {key: found for key, found in rare.items() if found is not None}
        if role == "tool":
            message |= tool_fields_of(value, where)
        return message

    def _joined(self, content: object, where: str, path: str) -> object:
        """A content's text parts as one text; any other content unchanged."""
        if not isinstance(content, list):
            return content
        texts = [_text_of_part(part, f"{where}[{number}]") for number, part in enumerate(content, 1)]
        for part in content:
            self.report_inside({key: item for key, item in part.items() if key not in _PART_KEYS}, path, {})
        return "".join(texts)


def text(value: object, where: str) -> str:
    """A text with a visible character; raise `RowError`."""
    if value is None:
        raise RowError(Rule.EMPTY_CONTENT, f"{where} is missing or null.")
    if not isinstance(value, str):
        raise RowError(Rule.WRONG_TYPE, f"{where} is not a text.")
    if is_blank(value):
        raise RowError(Rule.EMPTY_CONTENT, f"{where} is empty.")
    return value


def is_blank(value: str) -> bool:
    """Whether a text has no visible character: nothing, white space, or characters such as a zero-width space."""
    return not value or value.isspace() or (not value.isascii() and INVISIBLE.fullmatch(value) is not None)


def _is_normal(value: object) -> bool:
    """Whether a message already has its final form, as most do."""
    if type(value) is not dict or len(value) != 2:
        return False
    content = value.get("content")
    if type(content) is not str or is_blank(content):
        return False
    role = value.get("role")
    return role == "user" or role == "assistant" or role == "system"


def _role(value: object, known: dict[str, str], where: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise RowError(Rule.WRONG_ROLE, f"{where} must be one of {', '.join(known)}.")
    return known[value]


def _content(value: object, where: str, role: str, may_be_empty: bool) -> str:
    is_empty = value is None or (isinstance(value, str) and is_blank(value))
    if is_empty and may_be_empty:
        return str(value or "")
    if is_empty and role == "assistant":
        raise RowError(
            Rule.EMPTY_CONTENT,
            f"{where} is empty, which would train the model to say nothing; remove the message, or set its weight to "
            "0.",
        )
    return text(value, where)


def _text_of_part(value: object, where: str) -> str:
    if isinstance(value, dict) and value.get("type") == "text" and isinstance(value.get("text"), str):
        return str(value["text"])
    named = value.get("type") if isinstance(value, dict) else None
    kind = f" but of type {shown_name(named)}" if isinstance(named, str) else ""
    raise RowError(Rule.WRONG_TYPE, f"{where} is not a text part{kind}; only parts of type 'text' can be used.")
