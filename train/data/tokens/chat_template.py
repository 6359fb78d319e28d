"""The chat template that training reads rows with, and TRL's training template in place of one that rewrites turns."""

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from train.data.rows.canonical import Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Span = tuple[int, int]
"""First character, and the one after the last."""

TODAY = datetime(2024, 7, 26, tzinfo=UTC)
"""The date that training gives to templates that write today's date (Llama 3.2, gpt-oss), so that the same rows give
the same tokens on any day. It is the default date of Llama's own templates."""

PLAIN = frozenset({"role", "content", "weight"})
"""Fields of a message that a template writes unchanged, or not at all."""

_CLOCK = "strftime_now"
"""Name that transformers gives templates for its date function."""
_DIRECTIVES = ("a", "A", "b", "B", "d", "-d", "e", "F", "H", "I", "j", "m", "-m", "M", "p", "S", "T", "y", "Y")
"""The `strftime` directives that templates may use."""
_RENDERING = threading.Lock()
"""Held while rendering: transformers shares a compiled template, with its marked spans, between all threads."""
_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja chat template; some base models have none."""

    origin: Literal["model", "training", "none"]
    text: str | None
    """`None` where the tokenizer has none, or chooses among several itself."""

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> "ChatTemplate":
        """The tokenizer's own template."""
        template = tokenizer.chat_template
        return cls("model" if template else "none", template if isinstance(template, str) else None)

    @property
    def has_marks(self) -> bool:
        """Whether the template marks the assistant's words with `{% generation %}`."""
        return self.text is not None and _MARKS.search(self.text) is not None

    def render(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        messages: list[Message],
        tools: list[Any] | None,
        *,
        add_generation_prompt: bool = False,
    ) -> str:
        """The conversation as text. Raise `jinja2.TemplateError` or `TypeError` when the template refuses it."""
        # A tokenizer with several templates chooses one depending on whether there are tools.
        template = tokenizer.get_chat_template(self.text, tools)
        text, _ = _render(tokenizer, template, messages, tools, add_generation_prompt=add_generation_prompt)
        return text

    def marked(
        self, tokenizer: "PreTrainedTokenizerBase", messages: list[Message], tools: list[Any] | None
    ) -> list[Span]:
        """The spans that the template marks as the assistant's words, in the text that `render` gives, in order."""
        assert self.text is not None  # it has marks
        _, marks = _render(tokenizer, self.text, messages, tools, return_assistant_tokens_mask=True)
        spans: list[Span] = []
        for start, end in marks:
            if spans and spans[-1][1] == start:
                # Some templates mark the end of the last turn separately.
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        return spans


def _render(
    tokenizer: "PreTrainedTokenizerBase",
    template: str,
    messages: list[Message],
    tools: list[Any] | None,
    **options: bool,
) -> tuple[str, list[Span]]:
    """The conversation as text, and the marked spans where `options` request them.

    This is what `apply_chat_template` calls, which takes a third longer and refuses an empty conversation.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    with _RENDERING:
        texts, marks = render_jinja_template(
            [messages],
            tools=_as_functions(tools),
            chat_template=_prepared(template),
            **options,
            **tokenizer.special_tokens_map,
        )
    return str(texts[0]), marks[0] if marks else []


def _as_functions(tools: list[Any] | None) -> list[Any] | None:
    """The tools in OpenAI's form, which templates expect; a function alone, as in ShareGPT, gets its wrapper."""
    return None if tools is None else [_as_function(tool) for tool in tools]


def _as_function(tool: Any) -> Any:
    is_alone = isinstance(tool, dict) and "function" not in tool and isinstance(tool.get("name"), str)
    if not is_alone or tool.get("type", "function") != "function":
        return tool
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


@lru_cache(maxsize=32)
def _prepared(template: str) -> str:
    """The template with a fixed date; compiled now, so that transformers finds it in its cache when it renders."""
    from transformers.utils import chat_template_utils

    template = _with_fixed_date(template)
    compile_template = getattr(chat_template_utils, "_compile_jinja_template", None)  # not a public name
    if compile_template is not None:
        compiled = compile_template(template)
        # Jinja copies the globals for each row; copying a ChainMap takes a fifth of the rendering time.
        compiled.globals = dict(compiled.globals)
    return template


def _with_fixed_date(template: str) -> str:
    """The template with its clock replaced by a macro that always gives `TODAY`.

    A macro, since transformers passes values to templates but no functions. The line break after it is removed with it.
    """
    if _CLOCK not in template:
        return template
    dates = "".join(f" | replace('%{name}', '{TODAY.strftime('%' + name)}')" for name in _DIRECTIVES)
    return f"{{%- macro {_CLOCK}(format) -%}}{{{{ format{dates} }}}}{{%- endmacro %}}\n{template}"


def training_template(tokenizer: "PreTrainedTokenizerBase") -> ChatTemplate | None:
    """TRL's training template for the family of the tokenizer's template; `None` when TRL has none."""
    # Imports torch, so only where it is needed.
    from trl.chat_template_utils import get_training_chat_template

    try:
        text = get_training_chat_template(tokenizer)
    except (ValueError, KeyError):
        return None
    return None if text is None else ChatTemplate("training", text)


@dataclass(frozen=True)
class TemplateOutline:
    """The pieces that a template writes around the messages, extracted once for every order of roles.

    Most templates write each message unchanged between pieces that depend on the roles only. In such a text, the turns
    are where they are in a conversation of placeholders, and need not be searched again.

    `pieces` come before, between and after the messages. `turns` maps the number of each message that is a turn to two
    counts of characters: of the piece before it, those ahead of the turn; of the piece after it, those of the turn.
    """

    pieces: tuple[str, ...]
    turns: dict[int, Span]

    @classmethod
    def of(cls, text: str, messages: Sequence[Message], turns: dict[int, Span]) -> "TemplateOutline | None":
        """Split a rendered conversation; `None` when its messages cannot be located with certainty."""
        pieces: list[str] = []
        done = 0
        starts: list[int] = []
        for message in messages:
            content = message["content"]
            start = text.find(content, done)
            if start < 0 or text.count(content) != 1:
                return None
            pieces.append(text[done:start])
            starts.append(start)
            done = start + len(content)
        pieces.append(text[done:])
        places: dict[int, Span] = {}
        for i, (first, last) in turns.items():
            before = first - (starts[i] - len(pieces[i]))
            behind = last - (starts[i] + len(messages[i]["content"]))
            if not (0 <= before <= len(pieces[i]) and 0 <= behind <= len(pieces[i + 1])):
                return None
            places[i] = before, behind
        return cls(tuple(pieces), places)

    def find(self, text: str, messages: Sequence[Message], wanted: Sequence[int]) -> list[Span] | None:
        """The wanted turns in the text of a conversation with the same roles; `None` if it has another outline."""
        contents = [message["content"] for message in messages]
        parts = [part for pair in zip(self.pieces, contents, strict=False) for part in pair]
        parts.append(self.pieces[-1])
        if "".join(parts) != text:
            return None
        spans: list[Span] = []
        start = number = 0
        for i in wanted:
            while number < i:
                start += len(self.pieces[number]) + len(contents[number])
                number += 1
            if i in self.turns:
                before, behind = self.turns[i]
                spans.append((start + before, start + len(self.pieces[i]) + len(contents[i]) + behind))
        return spans


def placeholders(roles: Sequence[str]) -> list[Message]:
    """A conversation of these roles in which every message is unique."""
    return [{"role": role, "content": f"Stand{number}in"} for number, role in enumerate(roles)]
