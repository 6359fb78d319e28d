"""Calls of tools in the text of an answer.

Recognised is the form of Hermes, Qwen and SmolLM2, `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`, if the
model's chat template has it. Calls in any other form stay text.
"""

import json
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ftlab.schemas.chat import FunctionCall, ToolCall
from train.inference.answer_text import overlap

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPENING, CLOSING = "<tool_call>", "</tool_call>"
_BLOCK = re.compile(rf"\s*{OPENING}(.*?){CLOSING}", re.DOTALL)


def has_known_form(tokenizer: "PreTrainedTokenizerBase", tools: list[dict[str, Any]]) -> bool:
    """Whether the chat template asks for calls in the form that is recognised."""
    return OPENING in tokenizer.get_chat_template(None, tools)


@dataclass
class ToolCallText:
    """Separates the calls of a growing answer from its text. The text before the first call is passed on at once."""

    held: str = ""

    def push(self, text: str) -> str:
        """Add a piece of the answer; return what is certainly no part of a call."""
        self.held += text
        start = self.held.find(OPENING)
        kept = start if start >= 0 else len(self.held) - overlap(self.held, OPENING)
        passed, self.held = self.held[:kept], self.held[kept:]
        return passed

    def finish(self) -> tuple[str, list[ToolCall]]:
        """The rest of the text, and the calls. A call that is cut off or not valid JSON makes all of it text."""
        blocks = _BLOCK.findall(self.held)
        if not blocks or _BLOCK.sub("", self.held).strip():
            return self.held, []
        try:
            calls = [call for block in blocks for call in _calls(json.loads(block))]
        except (ValueError, TypeError, KeyError, RecursionError):
            return self.held, []
        return "", calls


def _calls(value: Any) -> list[ToolCall]:
    found = []
    for call in value if isinstance(value, list) else [value]:
        name, arguments = call["name"], call.get("arguments", {})
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise TypeError(name)
        text = json.dumps(arguments, ensure_ascii=False)
        found.append(ToolCall(id=f"call_{secrets.token_hex(12)}", function=FunctionCall(name=name, arguments=text)))
    return found
