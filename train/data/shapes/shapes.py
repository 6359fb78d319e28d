"""The shapes of uploaded rows, and their conversion to the normal form (see `train.data.rows.canonical`)."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from train.data.rows.canonical import Kind, Message, Row
from train.data.rows.errors import RowError, Rule
from train.data.shapes.json_cells import from_json_text
from train.data.shapes.message_fields import LOSS_FLAGS, refuse_media
from train.data.shapes.messages import MAX_MESSAGES, MessageReader, is_blank, text
from train.data.shapes.pairs import (
    TOOLS,
    optional_tools,
    prompt_of,
    read_openai_dpo,
    read_preference,
    read_unpaired,
    verdict,
    with_system,
)

__all__ = ["FORMS", "Message", "Row", "RowError", "Rule", "Shape", "fit", "normalise"]


class Shape(StrEnum):
    """How an uploaded row is written."""

    MESSAGES = "messages"
    """OpenAI chat: `messages` with `role` and `content`."""
    SHAREGPT = "sharegpt"
    """`conversations` with `from` and `value`."""
    ALPACA = "alpaca"
    """`instruction`, `output` and optionally `input`, `system` and `history`."""
    PROMPT_COMPLETION = "prompt_completion"
    """`prompt` and `completion`: two texts, two lists of messages, or a list of messages and the answer as a text."""
    TEXT = "text"
    """`text`: trained unchanged."""
    PREFERENCE = "preference"
    """`prompt`, `chosen` and `rejected`, or two conversations `chosen` and `rejected` that begin alike."""
    OPENAI_DPO = "openai_dpo"
    """`input` with `messages`, `preferred_output` and `non_preferred_output`."""
    UNPAIRED = "unpaired"
    """`prompt`, `completion` and `label`, true where the completion is desirable."""
    PROMPT = "prompt"
    """Only `prompt`: a text, or a list of messages that ends with the user or a tool."""


@dataclass(frozen=True)
class Form:
    """Requirements of a shape for a row."""

    kind: Kind
    required: tuple[str, ...]
    read: Callable[[Row, MessageReader], Row]
    optional: tuple[str, ...] = ()
    has_right_types: Callable[[Row], bool] = field(default=lambda row: True)
    is_whole_row: bool = False
    """Whether a row of this shape has no other fields: one of these may be an answer."""

    @property
    def fields(self) -> frozenset[str]:
        return frozenset((*self.required, *self.optional))


def normalise(row: object, shape: Shape, reader: MessageReader | None = None) -> Row:
    """Convert a row of the given shape to the normal form; raise `RowError` when it breaks a rule."""
    if not isinstance(row, dict):
        raise RowError(Rule.NOT_AN_OBJECT, "The row is not a JSON object.")
    form = FORMS[shape]
    for key in form.required:
        if key not in row:
            raise _without(key, row, shape)
    refuse_media(row, "The row")
    return form.read(row, reader or _DEFAULT_READER)


def fit(row: Row, shape: Shape) -> float:
    """How well a row fits a shape: 1 when it has its fields with the right types, 0.5 when only the fields, or 0."""
    form = FORMS[shape]
    if not all(key in row for key in form.required) or (form.is_whole_row and not row.keys() <= form.fields):
        return 0.0
    return 1.0 if form.has_right_types(row) else 0.5


def _without(key: str, row: Row, shape: Shape) -> RowError:
    others = (other for other in Shape if other is not shape and not FORMS[other].is_whole_row)
    other = next((other for other in others if fit(row, other) == 1.0), None)
    if other is not None:
        return RowError(Rule.MIXED_SHAPES, f"The row has shape '{other}', the others have '{shape}'.")
    return RowError(Rule.MISSING_FIELD, f"The row has no '{key}'.")


def _read_messages(row: Row, reader: MessageReader) -> Row:
    return _conversation(row, with_system(row, reader.read(row["messages"], "messages")))


def _read_sharegpt(row: Row, reader: MessageReader) -> Row:
    return _conversation(row, with_system(row, reader.read(row["conversations"], "conversations")))


def _read_alpaca(row: Row, _: MessageReader) -> Row:
    question = text(row["instruction"], "instruction")
    context = row.get("input")
    if context is not None and not (isinstance(context, str) and is_blank(context)):
        question += "\n\n" + text(context, "input")
    answer = text(row["output"], "output")
    return _conversation(row, with_system(row, [*_earlier_turns(row.get("history")), *_turn(question, answer)]))


def _earlier_turns(history: object) -> list[Message]:
    """The messages of `history`, a list of pairs of a user's and an assistant's text."""
    pairs = from_json_text(history, "history")
    if pairs is None or pairs == "":
        return []
    if not isinstance(pairs, list):
        raise RowError(Rule.WRONG_TYPE, "history is not a list of pairs of texts, a user's and an assistant's.")
    if len(pairs) > MAX_MESSAGES // 2:
        raise RowError(Rule.TOO_MANY_MESSAGES, f"history has more than {MAX_MESSAGES // 2:,} pairs; split the row.")
    messages: list[Message] = []
    for number, pair in enumerate(pairs, 1):
        if not isinstance(pair, list) or len(pair) != 2:
            raise RowError(Rule.WRONG_TYPE, f"history[{number}] is not a pair of texts, a user's and an assistant's.")
        messages += _turn(*(text(item, f"history[{number}]") for item in pair))
    return messages


def _turn(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _read_prompt_completion(row: Row, reader: MessageReader) -> Row:
    prompt, completion = (reader.from_cell(row[name], name) for name in ("prompt", "completion"))
    if isinstance(completion, list) and not isinstance(prompt, list):
        raise RowError(Rule.WRONG_TYPE, "'prompt' must be a list of messages where 'completion' is one.")
    before = prompt_of(prompt, reader)
    if not isinstance(prompt, list):
        after = [{"role": "assistant", "content": text(completion, "completion")}]
        return _conversation(row, with_system(row, before + after)) | {"is_joined": True}
    answer = completion if isinstance(completion, list) else [_said(text(completion, "completion"))]
    after = reader.read(answer, "completion")
    if after[0]["role"] != "assistant":
        raise RowError(Rule.COMPLETION_FIRST_MESSAGE, "'completion' must start with an assistant message.")
    # Only the completion is learned, even where the prompt contains earlier answers.
    context = [_as_context(message, f"prompt[{number}]") for number, message in enumerate(before, 1)]
    return _conversation(row, with_system(row, context + after))


def _said(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _as_context(message: Message, where: str) -> Message:
    if message.get("weight") == 1:
        flags = " or ".join(f"'{name}'" for name in LOSS_FLAGS)
        raise RowError(
            Rule.CONFLICTING_FIELDS,
            f"{where} has {flags} set to 1 or true, but a prompt is never trained; remove the field, or write the row "
            "as 'messages'.",
        )
    return message | {"weight": 0} if message["role"] == "assistant" else message


def _read_prompt(row: Row, reader: MessageReader) -> Row:
    given = reader.from_cell(row["prompt"], "prompt")
    normal = {"prompt": with_system(row, prompt_of(given, reader)), **optional_tools(row)}
    return normal if isinstance(given, list) else normal | {"is_joined": True}


def _read_text(row: Row, _: MessageReader) -> Row:
    return {"text": text(row["text"], "text")}


def _conversation(row: Row, messages: list[Message]) -> Row:
    for message in messages:
        if message["role"] == "assistant":
            return {"messages": messages, **optional_tools(row)}
    raise RowError(Rule.NO_ASSISTANT, "The row has no assistant message to train on.")


def _is_list(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(_looks_like_list(row[name]) for name in names)


def _is_text(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(isinstance(row[name], str) for name in names)


def _is_text_or_list(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(isinstance(row[name], str | list) for name in names)


def _looks_like_list(value: object) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and value.lstrip().startswith("["))


def _is_preference(row: Row) -> bool:
    names = ("chosen", "rejected")
    return _is_list(*names)(row) or ("prompt" in row and _is_text_or_list("prompt", *names)(row))


def _is_unpaired(row: Row) -> bool:
    return _is_text_or_list("prompt", "completion")(row) and verdict(row["label"]) is not None


FORMS: dict[Shape, Form] = {
    Shape.MESSAGES: Form(Kind.MESSAGES, ("messages",), _read_messages, ("system", *TOOLS), _is_list("messages")),
    Shape.SHAREGPT: Form(
        Kind.MESSAGES, ("conversations",), _read_sharegpt, ("system", *TOOLS), _is_list("conversations")
    ),
    Shape.ALPACA: Form(
        Kind.MESSAGES,
        ("instruction", "output"),
        _read_alpaca,
        ("input", "system", "history", *TOOLS),
        _is_text("instruction", "output"),
    ),
    Shape.PROMPT_COMPLETION: Form(
        Kind.MESSAGES,
        ("prompt", "completion"),
        _read_prompt_completion,
        ("system", *TOOLS),
        _is_text_or_list("prompt", "completion"),
    ),
    Shape.TEXT: Form(Kind.TEXT, ("text",), _read_text, (), _is_text("text")),
    Shape.PREFERENCE: Form(
        Kind.PREFERENCE,
        ("chosen", "rejected"),
        read_preference,
        ("prompt", "system", *TOOLS),
        _is_preference,
    ),
    Shape.OPENAI_DPO: Form(
        Kind.PREFERENCE,
        ("input", "preferred_output", "non_preferred_output"),
        read_openai_dpo,
        (),
        _is_list("preferred_output", "non_preferred_output"),
    ),
    Shape.UNPAIRED: Form(
        Kind.UNPAIRED,
        ("prompt", "completion", "label"),
        read_unpaired,
        ("system", *TOOLS),
        _is_unpaired,
    ),
    Shape.PROMPT: Form(
        Kind.PROMPTS, ("prompt",), _read_prompt, ("system", *TOOLS), _is_text_or_list("prompt"), is_whole_row=True
    ),
}
"""Every shape; where a row fits several equally well, the first one wins."""

_DEFAULT_READER = MessageReader()
