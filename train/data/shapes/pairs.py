"""Preference rows: a better and a worse answer to one prompt, or one answer with a verdict."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from train.data.rows.canonical import Message, Row
from train.data.rows.errors import RowError, Rule
from train.data.shapes.json_cells import from_json_text, objects
from train.data.shapes.message_fields import one_of
from train.data.shapes.messages import MessageReader, is_blank, text

TOOLS = ("tools", "functions")
_LABELS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}
"""Spellings of a verdict in a table; pandas writes 1.0 where some rows have no number."""


def read_preference(row: Row, reader: MessageReader) -> Row:
    """`prompt`, `chosen` and `rejected`; without `prompt`, the messages that both conversations begin with."""
    normal = _read_preference(row, reader)
    joined = joined_where(row, ("prompt", "chosen", "rejected"), reader)
    return normal | {"prompt": with_system(row, normal["prompt"]), **optional_tools(row), **joined}


def read_openai_dpo(row: Row, reader: MessageReader) -> Row:
    """`input` with `messages`, and `preferred_output` and `non_preferred_output`."""
    given = from_json_text(row["input"], "input")
    if not isinstance(given, dict):
        raise RowError(Rule.WRONG_TYPE, "'input' is not an object with 'messages'.")
    prompt = _context(reader.read(given.get("messages"), "input.messages"), "input.messages")
    chosen = _completion(reader.read(row["preferred_output"], "preferred_output"), "preferred_output")
    rejected = _completion(reader.read(row["non_preferred_output"], "non_preferred_output"), "non_preferred_output")
    normal = _pair(prompt, chosen, rejected)
    others = {name: value for name, value in given.items() if name != "messages"}
    reader.report_inside(others, "input", dict.fromkeys(TOOLS, "tools"))
    return normal | optional_tools(given)


def read_unpaired(row: Row, reader: MessageReader) -> Row:
    """`prompt`, `completion` and `label`: whether the completion is desirable."""
    label = verdict(row["label"])
    if label is None:
        raise RowError(Rule.WRONG_LABEL, "label must be true or false.")
    completion = _answer(row["completion"], "completion", reader)
    answer = [_said(completion)] if isinstance(completion, str) else _completion(completion, "completion")
    prompt = with_system(row, prompt_of(row["prompt"], reader))
    joined = joined_where(row, ("prompt", "completion"), reader)
    return {"prompt": prompt, "completion": answer, "label": label, **optional_tools(row), **joined}


def verdict(value: object) -> bool | None:
    """The label that a value stands for; `None` for any other value."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        return bool(value) if value in (0, 1) else None
    return _LABELS.get(value.strip().lower()) if isinstance(value, str) else None


def prompt_of(value: object, reader: MessageReader, name: str = "prompt") -> list[Message]:
    """A prompt, which is a text or a list of messages that ends with the user or a tool."""
    value = reader.from_cell(value, name)
    if isinstance(value, list):
        return _context(reader.read(value, name), name)
    return [{"role": "user", "content": text(value, name)}]


def _read_preference(row: Row, reader: MessageReader) -> Row:
    chosen, rejected = (_answer(row[name], name, reader) for name in ("chosen", "rejected"))
    prompt = reader.from_cell(row.get("prompt"), "prompt")
    if isinstance(chosen, str) or isinstance(rejected, str):
        if not (isinstance(chosen, str) and isinstance(rejected, str)):
            raise RowError(Rule.WRONG_TYPE, "'chosen' and 'rejected' must both be texts or both be lists.")
        if prompt is None:
            raise RowError(
                Rule.MISSING_FIELD,
                "The row has no 'prompt', which 'chosen' and 'rejected' as texts need; if a column holds it, name the "
                "column (--column prompt=COLUMN).",
            )
        return _pair(prompt_of(prompt, reader), [_said(chosen)], [_said(rejected)])
    if chosen[0]["role"] == "assistant" and rejected[0]["role"] == "assistant":
        if prompt is None:
            raise RowError(Rule.MISSING_FIELD, "The row has no 'prompt', and 'chosen' does not begin with it.")
        return _pair(prompt_of(prompt, reader), chosen, rejected)
    return _split(prompt, chosen, rejected, reader)


def _split(prompt: object, chosen: list[Message], rejected: list[Message], reader: MessageReader) -> Row:
    """The row of two whole conversations: the messages that both begin with are the prompt."""
    num_shared = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one != other:
            break
        num_shared += 1
    # Of two equal conversations, the last message is still an answer.
    num_shared = min(num_shared, len(chosen) - 1, len(rejected) - 1)
    while num_shared and chosen[num_shared - 1]["role"] == "assistant":
        num_shared -= 1
    context = chosen[:num_shared]
    if prompt is not None and not _agrees(prompt, context, reader):
        raise RowError(Rule.PROMPT_MISMATCH, "'chosen' and 'rejected' do not begin with 'prompt'.")
    if not context:
        raise RowError(Rule.PROMPT_MISMATCH, "'chosen' and 'rejected' do not begin with the same messages.")
    return _pair(
        _context(context, "chosen"),
        _completion(chosen[num_shared:], "chosen", "after the prompt"),
        _completion(rejected[num_shared:], "rejected", "after the prompt"),
    )


def _agrees(prompt: object, context: list[Message], reader: MessageReader) -> bool:
    if isinstance(prompt, str):
        return any(message["content"].strip() == prompt.strip() for message in context)
    given = reader.read(prompt, "prompt")
    # Turns after the prompt that both conversations share are context as well.
    return context[: len(given)] == given


def _pair(prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> Row:
    if chosen == rejected:
        raise RowError(Rule.EQUAL_PAIR, "The preferred answer and the other one are equal.")
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected}


def _answer(value: object, name: str, reader: MessageReader) -> str | list[Message]:
    """An answer: a text, a list of messages, or a single message."""
    value = reader.from_cell(value, name)
    if isinstance(value, dict):
        value = [value]
    return reader.read(value, name) if isinstance(value, list) else text(value, name)


def _said(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _context(messages: list[Message], name: str) -> list[Message]:
    if messages[-1]["role"] not in ("user", "tool"):
        raise RowError(Rule.PROMPT_LAST_MESSAGE, f"'{name}' must end with a message of the user or a tool.")
    return messages


def _completion(messages: list[Message], name: str, place: str = "") -> list[Message]:
    if messages[0]["role"] != "assistant":
        where = f" {place}" if place else ""
        raise RowError(Rule.COMPLETION_FIRST_MESSAGE, f"'{name}' must start with an assistant message{where}.")
    return messages


def with_system(row: Row, messages: list[Message]) -> list[Message]:
    """The messages, with the row's `system` text in front; raise `RowError` where they begin with another one."""
    said = row.get("system")
    if said is None or (isinstance(said, str) and is_blank(said)):
        return messages
    said = text(said, "system")
    if messages[0]["role"] != "system":
        return [{"role": "system", "content": said}, *messages]
    if messages[0]["content"] != said:
        raise RowError(
            Rule.CONFLICTING_FIELDS,
            "The row has 'system', and its messages begin with another system message; keep one.",
        )
    return messages


def joined_where(row: Row, names: Sequence[str], reader: MessageReader) -> dict[str, Any]:
    """`{"is_joined": True}` where all these fields are texts, else an empty dict."""
    is_joined = all(isinstance(reader.from_cell(row.get(name), name), str) for name in names)
    return {"is_joined": True} if is_joined else {}


def optional_tools(row: Row) -> dict[str, Any]:
    """`{"tools": [...]}` if the row has tools or legacy functions, else an empty dict."""
    name = one_of(row, TOOLS, "The row")
    if name is None:
        return {}
    tools = objects(row[name], name)
    if name == "functions":
        tools = [{"type": "function", "function": function} for function in tools]
    return {"tools": tools} if tools else {}
