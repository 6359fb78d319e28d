"""What a chat template leaves out of a row, found by position: every part must be where its message is."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from train.data.rows.canonical import Message, Row
from train.data.tokens.render import RenderedRow


def left_out_of(row: Row, rendered: RenderedRow) -> str | None:
    """A sentence about the first part of the row that its text lacks; `None` where it has everything.

    The text is divided at the turns of the assistant: a part of an earlier message is not found by chance in a later
    answer, such as a tool's "12" in "12.".
    """
    messages: list[Message] = row.get("messages", [])
    text = rendered.text
    start = 0
    for number, message in enumerate(messages):
        turn = rendered.turns.get(number)
        end = _next_turn(rendered, number) if turn is None else turn[1]
        place = max(start, turn[0]) if turn else start
        part = text[place:end]
        if (found := _find(part, message)) is None:
            return _sentence(part, message, number, is_turn=turn is not None)
        # The end of a turn holds what the template writes after the words.
        start = turn[1] if turn else place + found
    if (tools := row.get("tools")) and not _has_tools(text, tools):
        return "The chat template leaves out the tools that the row offers."
    return None


def _next_turn(rendered: RenderedRow, number: int) -> int:
    later = (turn[0] for index, turn in rendered.turns.items() if index > number)
    return min(later, default=len(rendered.text))


def _find(part: str, message: Message) -> int | None:
    """Where the message ends in a part of the text; `None` if something of it is missing."""
    end = 0
    words = message["content"].strip()
    if words:
        start = part.find(words)
        if start < 0:
            return None
        end = start + len(words)
        # What has been found is no other part of the message.
        part = part[:start] + "\0" * len(words) + part[end:]
    if message.get("reasoning_content", "").strip() not in part:
        return None
    for call in message.get("tool_calls") or ():
        name, values = _call_parts(call)
        start = part.find(name)
        if start < 0 or any(not any(form in part[start:] for form in forms) for forms in values):
            return None
        part = part[start + len(name) :].rjust(len(part), "\0")
        end = max(end, start + len(name))
    return end


def _call_parts(call: Any) -> tuple[str, list[set[str]]]:
    """The name of a tool call, and of each text and number in its arguments the forms that templates write."""
    function = call.get("function", call) if isinstance(call, dict) else {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with suppress(ValueError):
            arguments = json.loads(arguments)
    return str(function.get("name", "")), [_forms(value) for value in _leaves(arguments)]


def _leaves(value: Any) -> Iterator[str | int | float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield value


def _forms(value: str | int | float) -> set[str]:
    if not isinstance(value, str):
        return {str(value), json.dumps(value)}
    quoted = (json.dumps(value, ensure_ascii=is_ascii)[1:-1] for is_ascii in (False, True))
    return {value, value.strip(), repr(value)[1:-1], *quoted}


def _has_tools(text: str, tools: Any) -> bool:
    functions = [tool.get("function", tool) for tool in tools if isinstance(tool, dict)]
    names = [function["name"] for function in functions if isinstance(function, dict) and "name" in function]
    return all(str(name) in text for name in names)


def _sentence(part: str, message: Message, number: int, *, is_turn: bool) -> str:
    what = f"message {number + 1} ({message['role']})"
    words = message["content"].strip()
    if not words and is_turn:
        return f"The chat template leaves out the tool calls of {what}: an empty answer would be trained."
    if words and words in part:
        kind = "tool calls" if message.get("tool_calls") else "reasoning"
        return f"The chat template leaves out the {kind} of {what}, or writes them differently."
    return f"The chat template leaves out {what}, or writes it differently."
