"""The chat template that training reads rows with, and TRL's training template in place of one that rewrites turns."""

import re
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from train.data.rows.canonical import Message

Span = tuple[int, int]
"""First character, and the one after the last."""

TODAY = datetime(2024, 7, 26, tzinfo=UTC)
"""What training takes for today where a template writes the date (Llama 3.2, gpt-oss), so that the same rows give the
same tokens on any day. It is the date that Llama's own templates name where nobody tells them the day."""

_CLOCK = "strftime_now"
"""What transformers calls the function that tells templates the time."""
_DIRECTIVES = ("a", "A", "b", "B", "d", "-d", "e", "F", "H", "I", "j", "m", "-m", "M", "p", "S", "T", "y", "Y")
"""Of `strftime`, those that templates may ask for."""
_RENDERING = threading.Lock()
"""One conversation at a time: transformers keeps a compiled template for all threads, and in it what was marked."""
_MARKS = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True)
class ChatTemplate:
    """A Jinja template, or none, as some base models have none."""

    origin: Literal["model", "training", "none"]
    text: str | None
    """`None` where the tokenizer has none, or chooses among several by itself."""

    @classmethod
    def of(cls, tokenizer: "PreTrainedTokenizerBase") -> "ChatTemplate":
        """The tokenizer's own."""
        template = tokenizer.chat_template
        return cls("model" if template else "none", template if isinstance(template, str) else None)

    @property
    def has_marks(self) -> bool:
        """Whether the template says with `{% generation %}` which words are the assistant's."""
        return self.text is not None and _MARKS.search(self.text) is not None

    def render(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        messages: "list[Message]",
        tools: list[Any] | None,
        *,
        add_generation_prompt: bool = False,
    ) -> str:
        """The conversation as text. Raise `jinja2.TemplateError` or `TypeError` when the template refuses it."""
        # A tokenizer with several templates chooses by whether there are tools.
        template = tokenizer.get_chat_template(self.text, tools)
        text, _ = _render(tokenizer, template, messages, tools, add_generation_prompt=add_generation_prompt)
        return text

    def marked(
        self, tokenizer: "PreTrainedTokenizerBase", messages: "list[Message]", tools: list[Any] | None
    ) -> list[Span]:
        """What the template marks as the assistant's words in the text that `render` gives, in order."""
        assert self.text is not None  # it has marks
        _, marks = _render(tokenizer, self.text, messages, tools, return_assistant_tokens_mask=True)
        spans: list[Span] = []
        for start, end in marks:
            if spans and spans[-1][1] == start:
                # Some templates mark the end of the last turn on its own.
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        return spans


def _render(
    tokenizer: "PreTrainedTokenizerBase",
    template: str,
    messages: "list[Message]",
    tools: list[Any] | None,
    **options: bool,
) -> tuple[str, list[Span]]:
    """The conversation as text, and what is marked in it where `options` ask for that.

    This is what `apply_chat_template` calls, which takes a third longer and refuses an empty conversation.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    with _RENDERING:
        texts, marks = render_jinja_template(
            [messages], tools=tools, chat_template=_prepared(template), **options, **tokenizer.special_tokens_map
        )
    return str(texts[0]), marks[0] if marks else []


@lru_cache(maxsize=32)
def _prepared(template: str) -> str:
    """The template with a fixed date; transformers compiles it now, and finds it when it renders."""
    from transformers.utils import chat_template_utils

    template = _with_fixed_date(template)
    compile_template = getattr(chat_template_utils, "_compile_jinja_template", None)  # not a public name
    if compile_template is not None:
        compiled = compile_template(template)
        # Jinja copies them for each row, which takes a fifth of the time to render it where they are a ChainMap.
        compiled.globals = dict(compiled.globals)
    return template


def _with_fixed_date(template: str) -> str:
    """The template with a clock of its own that stands at `TODAY`.

    A macro, as transformers hands values to a template but no functions. The line break behind it is eaten with it.
    """
    if _CLOCK not in template:
        return template
    dates = "".join(f" | replace('%{name}', '{TODAY.strftime('%' + name)}')" for name in _DIRECTIVES)
    return f"{{%- macro {_CLOCK}(format) -%}}{{{{ format{dates} }}}}{{%- endmacro %}}\n{template}"


def training_template(tokenizer: "PreTrainedTokenizerBase") -> ChatTemplate | None:
    """TRL's training template for the family of the tokenizer's template; `None` when TRL has none."""
    # Imports torch: only where it is needed.
    from trl.chat_template_utils import get_training_chat_template

    try:
        text = get_training_chat_template(tokenizer)
    except (ValueError, KeyError):
        return None
    return None if text is None else ChatTemplate("training", text)
