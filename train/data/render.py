"""A row as one text, and the characters of it that the loss counts."""

import json
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from ftlab.errors import InvalidRequestError
from train.data.errors import DatasetInvalidError
from train.data.shapes import Message, Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
"""First character, and the one after the last."""


@dataclass(frozen=True)
class RenderedRow:
    text: str
    spans: list[Span]
    """What is learned, in order."""


class Renderer:
    """Writes rows with the tokenizer's chat template; without one, a line a message and eos at the end.

    The turn of assistant message i runs from the end of the prompt before it, `render(messages[:i])` with the
    generation prompt, to the end of `render(messages[:i + 1])`. It holds the end-of-turn token, so that the
    model learns to stop.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", *, assistant_only_loss: bool) -> None:
        self._tokenizer = tokenizer
        self._assistant_only_loss = assistant_only_loss
        self._has_template = bool(tokenizer.chat_template)
        self._bos = _leading_bos(tokenizer)
        self._eos = tokenizer.eos_token or ""

    def render(self, number: int, row: Row) -> RenderedRow:
        """Render row `number`, counted from 1.

        Raise `DatasetInvalidError` when the template refuses the row, `InvalidRequestError` with code
        `chat_template_unsupported` when the turns cannot be told apart.
        """
        messages = [_with_parsed_calls(message) for message in row["messages"]]
        # With the loss on everything, the turns of weight 0 are looked for instead, to leave them out.
        wanted = [
            i
            for i, message in enumerate(messages)
            if message["role"] == "assistant" and (message.get("weight") != 0) == self._assistant_only_loss
        ]
        if self._has_template:
            text = self._render_whole(number, messages, row.get("tools"))
            turns = self._find_turns(number, text, messages, row.get("tools"), wanted)
        else:
            text, turns = self._join(messages, wanted)
        return RenderedRow(text, turns if self._assistant_only_loss else _between(turns, len(text)))

    def _join(self, messages: list[Message], wanted: list[int]) -> tuple[str, list[Span]]:
        lines = [message["content"] + "\n" for message in messages]
        lines[-1] = messages[-1]["content"] + self._eos
        ends = list(accumulate(map(len, lines), initial=len(self._bos)))
        return self._bos + "".join(lines), [(ends[i], ends[i + 1]) for i in wanted]

    def _render_whole(self, number: int, messages: list[Message], tools: list[Any] | None) -> str:
        try:
            return self._apply(messages, tools)
        except (TemplateError, TypeError) as error:
            message = f"Row {number} does not fit the model's chat template: {str(error)[:200]}"
            raise DatasetInvalidError(message) from error

    def _find_turns(
        self, number: int, text: str, messages: list[Message], tools: list[Any] | None, wanted: list[int]
    ) -> list[Span]:
        turns: list[Span] = []
        for i in wanted:
            turn = self._find_turn(text, messages, tools, i)
            if turn is not None:
                turns.append(turn)
            # A greeting answers nothing: a template may have no prompt for it, then it is only context.
            elif i > 0 or not self._assistant_only_loss:
                raise self._unsupported(number)
        return turns

    def _find_turn(self, text: str, messages: list[Message], tools: list[Any] | None, i: int) -> Span | None:
        try:
            before = self._apply(messages[:i], tools, add_generation_prompt=True)
            through = text if i == len(messages) - 1 else self._apply(messages[: i + 1], tools)
        except (TemplateError, TypeError):
            return None
        if text.startswith(through) and through.startswith(before):
            return len(before), len(through)
        return None

    def _apply(self, messages: list[Message], tools: list[Any] | None, *, add_generation_prompt: bool = False) -> str:
        # As a batch of one, because an empty conversation on its own is refused.
        texts = self._tokenizer.apply_chat_template(
            [messages], tools=tools, add_generation_prompt=add_generation_prompt, tokenize=False
        )
        return str(texts[0])

    def _unsupported(self, number: int) -> InvalidRequestError:
        remedy = (
            "set method.assistant_only_loss to false"
            if self._assistant_only_loss
            else "take the weights of 0 out of the dataset"
        )
        return InvalidRequestError(
            "The model's chat template writes earlier messages differently as a conversation grows, so the "
            f"assistant's words cannot be told apart (row {number}); {remedy}.",
            "chat_template_unsupported",
            "method.assistant_only_loss",
        )


def _leading_bos(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The bos token as text where the tokenizer itself would put one in front."""
    bos: str | None = tokenizer.bos_token
    return bos if bos and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id] else ""


def _with_parsed_calls(message: Message) -> Message:
    """OpenAI writes the arguments of a tool call as a JSON text, chat templates expect the object."""
    if "tool_calls" not in message:
        return message
    return message | {"tool_calls": [_with_parsed_arguments(call) for call in message["tool_calls"]]}


def _with_parsed_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return call
    try:
        arguments = json.loads(function["arguments"])
        json.dumps(arguments, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return call
    return call | {"function": function | {"arguments": arguments}}


def _between(left_out: list[Span], length: int) -> list[Span]:
    """What remains of `(0, length)` without some spans, given in order."""
    edges = [0, *(edge for span in left_out for edge in span), length]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]
