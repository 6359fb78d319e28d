"""A row as one text, and the characters of it that the loss counts."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError, TemplateSyntaxError

from ftlab.errors import InvalidRequestError
from train.data.rows.canonical import Message, Row
from train.data.rows.errors import DatasetInvalidError
from train.data.tokens.chat_template import PLAIN, ChatTemplate, Span, TemplateOutline, placeholders, training_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_REFUSALS = (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError, RecursionError)
"""Exceptions of a template that cannot write a conversation."""
MAX_OUTLINES = 256
"""Maximum number of outlines remembered, one for each order of roles and set of tools."""
MANY_MESSAGES = 200
"""A longer row is searched only as far as it is kept, since finding a turn renders all messages before it."""

KeptChars = Callable[[str], int | None]
"""Number of characters of a text that are kept; `None` for all."""
_PROBE: list[Message] = [
    {"role": "user", "content": "One?"},
    {"role": "assistant", "content": "Two."},
    {"role": "user", "content": "Three?"},
    {"role": "assistant", "content": "Four."},
]


@dataclass(frozen=True)
class RenderedRow:
    text: str
    spans: list[Span]
    """Characters that are trained on, in order."""
    turns: dict[int, Span] = field(default_factory=dict)
    """The turns among them by the number of their message, from 0; empty where they were not all searched."""
    is_verbatim: bool = False
    """Whether every message is known to be in the text unchanged."""
    boundary: int | None = None
    """Character at which the completion begins whose prompt has tokens of its own, as it has at inference."""
    has_all_turns: bool = True
    """False for a long row whose turns were searched only as far as the row is kept."""
    bos: int = 0
    """Characters of a bos behind which the tokenizer would split the first word otherwise than at inference, where the
    text is tokenised without it."""


class Renderer:
    """Renders rows with the tokenizer's chat template; without one, one line per message and eos at the end.

    The turn of assistant message i runs from the end of the prompt before it, `render(messages[:i])` with the
    generation prompt, to the end of `render(messages[:i + 1])`. It holds the end-of-turn token, so that the model
    learns to stop. A template that writes earlier turns differently as a conversation grows is replaced by TRL's
    training template for its family, and where that is not enough, the `{% generation %}` marks of a template delimit
    the turns.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", *, assistant_only_loss: bool) -> None:
        self.tokenizer = tokenizer
        self.assistant_only_loss = assistant_only_loss
        self.template = ChatTemplate.of(tokenizer)
        """The template that rows are rendered with."""
        self._outlines: dict[tuple[str | None, ...], TemplateOutline | None] = {}
        self._goes_by_marks = False
        if assistant_only_loss and self._rewrites_turns():
            self.template = training_template(tokenizer) or self.template
            # The same way for all rows, since marks may cover slightly more or less of a turn.
            self._goes_by_marks = self.template.has_marks and self._rewrites_turns()
        self._bos = _leading_bos(tokenizer)
        self._bos_apart = len(self._bos) if self._bos and _splits_otherwise_behind(self._bos, tokenizer) else 0
        self._eos = tokenizer.eos_token or ""

    def render(self, number: int, row: Row, kept_chars: KeptChars | None = None) -> RenderedRow:
        """Render row `number`, counted from 1: a conversation or a text (`train.data.tokens.encode.conversations`).

        With `kept_chars`, spans that begin beyond the kept part of a long row may be missing.

        Raise `DatasetInvalidError` when the template refuses the row, `InvalidRequestError` with code
        `chat_template_unsupported` when the turns cannot be identified.
        """
        if "text" in row:
            return self._render_text(row["text"])
        messages = [self._without_end(with_parsed_calls(message)) for message in row["messages"]]
        # With the loss on everything, the turns of weight 0 are searched instead, to leave them out.
        wanted = [
            i
            for i, message in enumerate(messages)
            if message["role"] == "assistant" and (message.get("weight") != 0) == self.assistant_only_loss
        ]
        limit = boundary = None
        if self.template.origin != "none":
            tools = row.get("tools")
            text = self._render_whole(number, lambda: self._apply(messages, tools))
            limit = kept_chars(text) if kept_chars and wanted and len(messages) > MANY_MESSAGES else None
            known = self._known_turns(text, messages, tools, wanted) if limit is None else None
            turns = self._find_turns(number, text, messages, tools, wanted, limit) if known is None else known
        else:
            known = tools = None
            is_joined = "is_joined" in row
            text, turns = self._join(messages, wanted, separator="" if is_joined else "\n")
            boundary = turns[0][0] if is_joined and turns else None
        # Only the first turn, a greeting, may be missing.
        of_messages = dict(zip(wanted[len(wanted) - len(turns) :], turns, strict=True)) if limit is None else {}
        return RenderedRow(
            text,
            turns if self.assistant_only_loss else _between(turns, len(text)),
            turns=of_messages if self.assistant_only_loss else {},
            is_verbatim=known is not None and tools is None,
            boundary=boundary,
            has_all_turns=limit is None,
            bos=self._bos_apart if self.template.origin == "none" else 0,
        )

    def render_prompt(self, number: int, messages: list[Message], tools: list[Any] | None) -> str:
        """What the model reads at inference before it answers the messages of row `number`, by its own chat template.

        A training template may write earlier turns differently, and leave out how an answer begins. Raise as `render`.
        """
        own = ChatTemplate.of(self.tokenizer)
        parsed = [with_parsed_calls(message) for message in messages]
        return self._render_whole(number, lambda: own.render(self.tokenizer, parsed, tools, add_generation_prompt=True))

    @cached_property
    def answer_start(self) -> str:
        """What the model's own template writes before an answer at inference; empty where it writes nothing."""
        own = ChatTemplate.of(self.tokenizer)
        try:
            question, prompt = (
                own.render(self.tokenizer, _PROBE[:1], None, add_generation_prompt=is_prompt)
                for is_prompt in (False, True)
            )
        except _REFUSALS:
            return ""
        return prompt.removeprefix(question)

    def begins_as_at_inference(self, rendered: RenderedRow) -> bool:
        """Whether the first trained answer of a conversation begins as an answer does at inference."""
        start = next(iter(rendered.turns.values()), None)
        if start is None or not self.answer_start:
            return True
        reach = len(self.answer_start)
        # The turn may begin behind these words or with them.
        return self.answer_start in rendered.text[max(0, start[0] - reach) : start[0] + reach]

    def _without_end(self, message: Message) -> Message:
        """An answer without the eos that it brings along, where the template writes one itself."""
        if message["role"] != "assistant" or not self._eos or not message["content"].endswith(self._eos):
            return message
        return message | {"content": message["content"].removesuffix(self._eos)} if self._writes_end else message

    @cached_property
    def _writes_end(self) -> bool:
        """Whether the template writes eos right after an answer; without a template, only the last one gets it."""
        if self.template.origin == "none":
            return False
        try:
            return _PROBE[1]["content"] + self._eos in self._apply(_PROBE[:2], None)
        except _REFUSALS:
            return False

    def _render_text(self, text: str) -> RenderedRow:
        """Render plain text, which is trained on whole, with its end."""
        whole = "".join([self._bos, *self._without_ends([text]), self._eos])
        return RenderedRow(whole, [(0, len(whole))], bos=self._bos_apart)

    def _without_ends(self, lines: list[str]) -> list[str]:
        """The lines without the bos and eos that they bring along, since each is written once around them."""
        first = lines[0]
        while self._bos and first.lstrip().startswith(self._bos):
            first = first.lstrip().removeprefix(self._bos)
        lines = [first, *lines[1:]]
        last = lines[-1]
        while self._eos and last.rstrip().endswith(self._eos):
            last = last.rstrip().removesuffix(self._eos)
        return [*lines[:-1], last]

    def _join(self, messages: list[Message], wanted: list[int], separator: str) -> tuple[str, list[Span]]:
        contents = self._without_ends([message["content"] for message in messages])
        lines = [content + separator for content in contents[:-1]] + [contents[-1] + self._eos]
        ends = list(accumulate(map(len, lines), initial=len(self._bos)))
        return self._bos + "".join(lines), [(ends[i], ends[i + 1]) for i in wanted]

    def _render_whole(self, number: int, render: Callable[[], str]) -> str:
        try:
            return render()
        except TemplateSyntaxError as error:
            raise InvalidRequestError(
                f"The model's chat template cannot be read ({str(error)[:200].rstrip('.')}). Fetch the model again, or "
                "choose another one.",
                "model_invalid",
                "model",
            ) from error
        except _REFUSALS as error:
            message = f"Row {number} does not fit the model's chat template: {str(error)[:200]}"
            raise DatasetInvalidError(message) from error

    def _known_turns(
        self, text: str, messages: list[Message], tools: list[Any] | None, wanted: list[int]
    ) -> list[Span] | None:
        """The turns, if the text has the outline of rows with the same roles and tools; else `None`."""
        if not all(message.keys() <= PLAIN for message in messages):
            return None
        roles = [message["role"] for message in messages]
        key = (None if tools is None else json.dumps(tools), *roles)
        if key not in self._outlines:
            if len(self._outlines) >= MAX_OUTLINES:
                return None
            self._outlines[key] = self._outline_of(placeholders(roles), tools)
        outline = self._outlines[key]
        return outline.find(text, messages, wanted) if outline else None

    def _outline_of(self, messages: list[Message], tools: list[Any] | None) -> TemplateOutline | None:
        answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        try:
            text = self._apply(messages, tools)
            if self._goes_by_marks:
                turns = dict(zip(answers, self._marked_turns(0, messages, tools, answers), strict=True))
            else:
                turns = {i: turn for i in answers for turn in self._find_turns(0, text, messages, tools, [i])}
        except (*_REFUSALS, InvalidRequestError):
            return None
        return TemplateOutline.of(text, messages, turns)

    def _find_turns(
        self,
        number: int,
        text: str,
        messages: list[Message],
        tools: list[Any] | None,
        wanted: list[int],
        limit: int | None = None,
    ) -> list[Span]:
        """The wanted turns, up to the one that reaches the character `limit`."""
        if self._goes_by_marks:
            return self._marked_turns(number, messages, tools, wanted)
        turns: list[Span] = []
        for i in wanted:
            turn = self._find_turn(text, messages, tools, i)
            if turn is not None:
                turns.append(turn)
                if limit is not None and turn[1] >= limit:
                    break
            # A greeting answers no question; where a template has no prompt for it, it is only context.
            elif i > 0 or not self.assistant_only_loss:
                raise self._unsupported(number)
        return turns

    def _marked_turns(
        self, number: int, messages: list[Message], tools: list[Any] | None, wanted: list[int]
    ) -> list[Span]:
        spans = self.template.marked(self.tokenizer, messages, tools)
        answers = [i for i, message in enumerate(messages) if message["role"] == "assistant"]
        if len(spans) != len(answers):
            raise self._unsupported(number)
        of_wanted = set(wanted)
        return [span for i, span in zip(answers, spans, strict=True) if i in of_wanted]

    def _rewrites_turns(self) -> bool:
        """Whether the first of two answers cannot be found; false for a template that refuses the probe."""
        if self.template.origin == "none":
            return False
        try:
            return self._find_turn(self._apply(_PROBE, None), _PROBE, None, 1) is None
        except _REFUSALS:
            return False

    def _find_turn(self, text: str, messages: list[Message], tools: list[Any] | None, i: int) -> Span | None:
        try:
            before = self._apply(messages[:i], tools, add_generation_prompt=True)
            through = text if i == len(messages) - 1 else self._apply(messages[: i + 1], tools)
        except _REFUSALS:
            return None
        if text.startswith(through) and through.startswith(before):
            return len(before), len(through)
        return None

    def _apply(self, messages: list[Message], tools: list[Any] | None, *, add_generation_prompt: bool = False) -> str:
        return self.template.render(self.tokenizer, messages, tools, add_generation_prompt=add_generation_prompt)

    def _unsupported(self, number: int) -> InvalidRequestError:
        remedy = (
            "set method.assistant_only_loss to false"
            if self.assistant_only_loss
            else "remove the weights of 0 from the dataset"
        )
        return InvalidRequestError(
            "The model's chat template writes earlier messages differently as a conversation grows, so the assistant's "
            f"tokens cannot be identified (row {number}); {remedy}.",
            "chat_template_unsupported",
            "method.assistant_only_loss",
        )


def _leading_bos(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The bos token as text if the tokenizer itself would prepend it."""
    bos: str | None = tokenizer.bos_token
    return bos if bos and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id] else ""


def _splits_otherwise_behind(bos: str, tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether a word has other tokens behind a written bos than at the beginning of a text.

    A Metaspace tokenizer with the scheme `first` (Llama 2, early Mistral) puts a space before the first word of a text
    only, and takes the bos for that.
    """
    behind, alone, word = (tokenizer(text, add_special_tokens=False)["input_ids"] for text in (f"{bos}a", bos, "a"))
    return bool(behind != alone + word)


def with_parsed_calls(message: Message) -> Message:
    """Parse arguments of tool calls, which OpenAI writes as JSON text where chat templates expect the object."""
    if "tool_calls" not in message:
        return message
    return message | {"tool_calls": [_with_parsed_arguments(call) for call in message["tool_calls"]]}


def _with_parsed_arguments(call: dict[str, Any]) -> dict[str, Any]:
    if "function" not in call and "name" in call:
        # The flat form, which some templates take for a call without name and arguments.
        flat = {name: call[name] for name in ("name", "arguments") if name in call}
        call = {"type": "function", **{key: call[key] for key in call if key not in flat}, "function": flat}
    function = call.get("function")
    if not isinstance(function, dict):
        return call
    written = function.get("arguments", {})
    if written is None or (isinstance(written, str) and not written.strip()):
        return call | {"function": function | {"arguments": {}}}
    if not isinstance(written, str):
        return call
    try:
        arguments = json.loads(written)
        json.dumps(arguments, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        return call
    return call | {"function": function | {"arguments": arguments}}


def _between(left_out: list[Span], length: int) -> list[Span]:
    """The spans that remain of `(0, length)` without those of `left_out`, which are in order."""
    edges = [0, *(edge for span in left_out for edge in span), length]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]
