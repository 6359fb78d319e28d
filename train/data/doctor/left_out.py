"""Detection of what a chat template leaves out of a row, by position: every part must be where its message is."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from train.data.rows.canonical import Message, Row
from train.data.tokens.render import RenderedRow

_THINKING, _THOUGHT = "<think>", "</think>"
"""Around reasoning, as most templates write it, and many rows in the text of an answer."""
_TAKEN = "\0"
"""Placeholder for the characters of a part that was found, so that no other part is found there."""


def first_left_out(conversations: Sequence[tuple[str, Row]], texts: Sequence[RenderedRow]) -> str | None:
    """A sentence about the first thing that the texts of a row lack; `None` where they have everything.

    `conversations` are those of the row (`train.data.tokens.encode.conversations`), which a pair has two of. A row that
    was refused has no texts.
    """
    for (part, conversation), text in zip(conversations, texts, strict=False):
        has_reasoning = any(_THOUGHT in message["content"] for message in conversation.get("messages", ()))
        if (has_reasoning or not text.is_verbatim) and (left_out := left_out_of(conversation, text)):
            return f"In '{part}': {left_out}" if part else left_out
    return None


def without_indentation(conversations: Sequence[tuple[str, Row]], texts: Sequence[RenderedRow]) -> str | None:
    """A sentence about the first trained answer that loses the white space at its beginning; `None` where none does."""
    for (part, conversation), text in zip(conversations, texts, strict=False):
        messages: list[Message] = [] if text.is_verbatim else conversation.get("messages", [])
        for number, turn in text.turns.items():
            said = messages[number]["content"].rstrip() if messages else ""
            start = len(said) - len(said.lstrip())
            if start and said not in text.text[turn[0] : turn[1]]:
                where = f"In '{part}': " if part else ""
                return (
                    f"{where}The chat template leaves out the white space at the beginning of message {number + 1} "
                    "(assistant)."
                )
    return None


def untrained_greeting(conversations: Sequence[tuple[str, Row]], texts: Sequence[RenderedRow]) -> str | None:
    """A sentence about a first message of the assistant that is not trained although it has no weight of 0."""
    for (_, conversation), text in zip(conversations, texts, strict=False):
        first: Message = (conversation.get("messages") or [{}])[0]
        if first.get("role") == "assistant" and first.get("weight") != 0 and 0 not in text.turns:
            return (
                "Message 1 (assistant) is not trained: the chat template has no prompt for an answer before the first "
                "question."
            )
    return None


def left_out_of(row: Row, rendered: RenderedRow) -> str | None:
    """A sentence about the first part of the row that its text lacks; `None` where it has everything.

    The text is divided at the turns of the assistant: a part of an earlier message is not found by chance in a later
    answer, such as a tool's "12" in "12.".
    """
    messages: list[Message] = row.get("messages", [])
    turns = rendered.turns
    start = 0
    for number, message in enumerate(messages):
        turn = turns.get(number)
        place = _with_thinking(rendered.text, message, start, turn[0]) if turn else start
        end = turn[1] if turn else _next_turn(rendered, number)
        part = _Part(rendered.text[place:end])
        if turn and _THOUGHT in message["content"] and part.count(_THOUGHT) > message["content"].count(_THOUGHT):
            return (
                f"The chat template writes reasoning of its own before message {number + 1} (assistant), which has "
                "some in its text; write that as reasoning_content."
            )
        if missing := part.take(message):
            return _sentence(missing, message, number, is_turn=turn is not None)
        # The end of a turn holds what the template writes after the words.
        start = turn[1] if turn else place + part.end
    if (tools := row.get("tools")) and not _has_tools(rendered, messages, tools):
        return "The chat template leaves out the tools that the row offers."
    return None


def _with_thinking(text: str, message: Message, start: int, turn: int) -> int:
    """Where a turn begins with the beginning of its reasoning, which some templates write at the end of the prompt."""
    place = text.rfind(_THINKING, start, turn)
    is_own = message["content"].lstrip().startswith(_THINKING)
    return place if is_own and place >= 0 and text[place:turn].strip() == _THINKING else max(start, turn)


class _Part:
    """The text of one message with what the template writes around it."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.end = 0
        """End position of the last part that was found."""

    def count(self, words: str) -> int:
        return self._text.count(words)

    def take(self, message: Message) -> str | None:
        """Find everything that the message says; the name of the first thing that is missing."""
        if not self._take_text(message["content"].strip()):
            return "words"
        if not self._take_text(message.get("reasoning_content", "").strip()):
            return "reasoning"
        start = 0
        for call in message.get("tool_calls") or ():
            found = self._take_call(call, start)
            if found is None:
                return "tool calls"
            start = found
        return None

    def _take_text(self, words: str) -> bool:
        start = self._text.find(words)
        if start >= 0 and words:
            self._mask(start, start + len(words))
        return start >= 0

    def _take_call(self, call: Any, start: int) -> int | None:
        """End position of the call's name; `None` if the name or anything of its arguments is missing after it."""
        name, values = _call_parts(call)
        found = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)").search(self._text, start)
        if found is None:
            return None
        self._mask(*found.span())
        # The longest first: "1" must not be found in "12".
        for forms in sorted(values, key=lambda forms: -max(map(len, forms))):
            places = [(place, form) for form in forms if (place := self._text.find(form, found.end())) >= 0]
            if not places:
                return None
            place, form = min(places, key=lambda found: (found[0], -len(found[1])))
            self._mask(place, place + len(form))
        return found.end()

    def _mask(self, start: int, end: int) -> None:
        self._text = self._text[:start] + _TAKEN * (end - start) + self._text[end:]
        self.end = max(self.end, end)


def _next_turn(rendered: RenderedRow, number: int) -> int:
    later = (turn[0] for index, turn in rendered.turns.items() if index > number)
    return min(later, default=len(rendered.text))


def _call_parts(call: Any) -> tuple[str, list[set[str]]]:
    """The name of a tool call, and for each name and value in its arguments the forms that templates write."""
    function = call.get("function", call) if isinstance(call, dict) else {}
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        with suppress(ValueError):
            arguments = json.loads(arguments)
    return str(function.get("name", "")), [forms for leaf in _leaves(arguments) if "" not in (forms := _forms(leaf))]


def _leaves(value: Any) -> Iterator[Any]:
    """The names and values of nested arguments; an object without any has none."""
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif value is not None:  # templates may leave out what is null
        yield value


def _forms(value: Any) -> set[str]:
    if not isinstance(value, str):
        return {str(value), json.dumps(value)}
    quoted = (json.dumps(value, ensure_ascii=is_ascii)[1:-1] for is_ascii in (False, True))
    return {value, value.strip(), repr(value)[1:-1], *quoted}


def _has_tools(rendered: RenderedRow, messages: list[Message], tools: Any) -> bool:
    """Whether every tool is named ahead of the first trained turn, outside of the messages."""
    before = rendered.text[: _next_turn(rendered, -1)]
    for message in messages:
        if content := message["content"].strip():
            before = before.replace(content, _TAKEN)
    functions = [tool.get("function", tool) for tool in tools if isinstance(tool, dict)]
    names = [function["name"] for function in functions if isinstance(function, dict) and "name" in function]
    return all(re.search(rf"(?<!\w){re.escape(str(name))}(?!\w)", before) for name in names)


def _sentence(missing: str, message: Message, number: int, *, is_turn: bool) -> str:
    what = f"message {number + 1} ({message['role']})"
    if missing == "words":
        return f"The chat template leaves out {what}, or writes it differently."
    is_empty = is_turn and missing == "tool calls" and not message["content"].strip()
    end = ": an answer without them would be trained." if is_empty else ", or writes them differently."
    return f"The chat template leaves out the {missing} of {what}{end}"
