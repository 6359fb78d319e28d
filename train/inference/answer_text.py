"""The text of an answer while its tokens arrive: whole characters, and nothing of a stop text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INCOMPLETE = "\ufffd"
"""What a decoder writes for bytes that are not a whole character yet."""
CONTEXT_TOKENS = 6
"""Tokens of the prompt that decide how the first token of a continued text is written."""


class AnswerText:
    """Turns tokens into text, piece by piece; the pieces together are the text of the answer.

    A piece ends with a whole character. Text that may be the beginning of a stop text is held back until it is known
    to be none. `context` are the tokens before the answer, where it continues a text.
    """

    def __init__(
        self, tokenizer: "PreTrainedTokenizerBase", stop_texts: Sequence[str] = (), context: Sequence[int] = ()
    ) -> None:
        self._tokenizer = tokenizer
        self._stop_texts = tuple(stop_texts)
        self._tokens = list(context[-CONTEXT_TOKENS:])
        self._start, self._done = 0, len(self._tokens)
        """The tokens up to `_done` are written; those from `_start` are decoded again with the next ones, whose text
        depends on what is before them."""
        self._held = ""
        self.is_stopped = False
        """Whether a stop text was found. Later tokens add nothing."""

    def push(self, token: int) -> str:
        """Add a token; return the text that is certain now."""
        self._tokens.append(token)
        before = self._decode(self._tokens[self._start : self._done])
        after = self._decode(self._tokens[self._start :])
        if len(after) <= len(before) or after.endswith(INCOMPLETE):
            return ""
        self._start, self._done = self._done, len(self._tokens)
        return self._release(after[len(before) :])

    def finish(self) -> str:
        """Return the rest of the text, once no token follows."""
        before = self._decode(self._tokens[self._start : self._done])
        after = self._decode(self._tokens[self._start :])
        released = self._release(after[len(before) :])
        if self.is_stopped:
            return released
        held, self._held = self._held, ""
        return released + held

    def _release(self, new: str) -> str:
        if self.is_stopped:
            return ""
        text = self._held + new
        found = [place for stop in self._stop_texts if (place := text.find(stop)) >= 0]
        if found:
            self.is_stopped, self._held = True, ""
            return text[: min(found)]
        kept = len(text) - max((overlap(text, stop) for stop in self._stop_texts), default=0)
        self._held = text[kept:]
        return text[:kept]

    def _decode(self, tokens: Sequence[int]) -> str:
        text = self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text


def overlap(text: str, stop: str) -> int:
    """Characters at the end of `text` that may be the beginning of `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)
