"""The chat template that training reads rows with, and TRL's training template in place of one that rewrites turns."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from train.data.canonical import Message

Span = tuple[int, int]
"""First character, and the one after the last."""

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
        # As a batch of one, because an empty conversation on its own is refused.
        texts = tokenizer.apply_chat_template(
            [messages],
            tools=tools,
            chat_template=self.text,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
        )
        return str(texts[0])

    def marked(
        self, tokenizer: "PreTrainedTokenizerBase", messages: "list[Message]", tools: list[Any] | None
    ) -> list[Span]:
        """What the template marks as the assistant's words in the text that `render` gives, in order."""
        from transformers.utils.chat_template_utils import render_jinja_template

        _, marks = render_jinja_template(
            [messages],
            tools=tools,
            chat_template=self.text,
            return_assistant_tokens_mask=True,
            **tokenizer.special_tokens_map,
        )
        spans: list[Span] = []
        for start, end in marks[0]:
            if spans and spans[-1][1] == start:
                # Some templates mark the end of the last turn on its own.
                spans[-1] = (spans[-1][0], end)
            else:
                spans.append((start, end))
        return spans


def training_template(tokenizer: "PreTrainedTokenizerBase") -> ChatTemplate | None:
    """TRL's training template for the family of the tokenizer's template; `None` when TRL has none."""
    # Imports torch: only where it is needed.
    from trl.chat_template_utils import get_training_chat_template

    try:
        text = get_training_chat_template(tokenizer)
    except (ValueError, KeyError):
        return None
    return None if text is None else ChatTemplate("training", text)
