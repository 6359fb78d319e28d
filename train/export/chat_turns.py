"""The turns of a chat template: what is written before and after the messages of each role.

Found by rendering, and proven by rendering: a template that is more than its turns has none.
"""

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from jinja2 import TemplateError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_SYSTEM, _USER, _ANSWER, _NEXT = "SYSTEM-TEXT", "USER-TEXT", "ANSWER-TEXT", "NEXT-TEXT"
_TEXTS = ("Be brief.", "What is a queue?\n\nExplain it.", "A queue has 2 ends.", "Why?")
_Messages = list[dict[str, str]]


@dataclass(frozen=True)
class ChatTurns:
    """The texts around messages."""

    begin: str
    """The text of the token that begins every text, if there is one."""
    around: dict[str, tuple[str, str]]
    """Before and after the message of a role: `system`, `user` and `assistant`."""
    answer: str
    """What comes before an answer that is to be written."""

    def render(self, messages: _Messages) -> str:
        """The prompt of a conversation."""
        turns = (f"{self.around[each['role']][0]}{each['content']}{self.around[each['role']][1]}" for each in messages)
        return self.begin + "".join(turns) + self.answer


def chat_turns(tokenizer: "PreTrainedTokenizerBase") -> ChatTurns | None:
    """The turns of the tokenizer's chat template; `None` where it has no template, or one that does more."""
    if not isinstance(tokenizer.chat_template, str):
        return None
    try:
        turns = _find(tokenizer)
        is_proven = all(turns.render(each) == _render(tokenizer, each) for each in _conversations())
    except (TemplateError, ValueError, TypeError):
        return None
    return turns if is_proven else None


def _find(tokenizer: "PreTrainedTokenizerBase") -> ChatTurns:
    alone = [{"role": "user", "content": _USER}]
    before_user, after_user = _split(_render(tokenizer, alone), _USER)
    begin = tokenizer.bos_token if tokenizer.bos_token and before_user.startswith(tokenizer.bos_token) else ""
    user_begin = before_user.removeprefix(begin)
    user_end = _split(_render(tokenizer, alone, add_generation_prompt=False), _USER)[1]
    whole = _render(tokenizer, _conversation(_SYSTEM, _USER, _ANSWER, _NEXT))
    before_system, rest = _split(whole, _SYSTEM)
    before_user, rest = _split(rest, _USER)
    before_answer, rest = _split(rest, _ANSWER)
    before_next, _ = _split(rest, _NEXT)
    around = {
        "system": (before_system.removeprefix(begin), before_user.removesuffix(user_begin)),
        "user": (user_begin, user_end),
        "assistant": (before_answer.removeprefix(user_end), before_next.removesuffix(user_begin)),
    }
    return ChatTurns(begin, around, after_user.removeprefix(user_end))


def _conversations() -> list[_Messages]:
    """Conversations with and without a system message, of one and of two questions."""
    whole = _conversation(*_TEXTS)
    return [whole[first:last] for first, last in product((0, 1), (2, 4))]


def _conversation(system: str, user: str, answer: str, following: str) -> _Messages:
    roles = ("system", "user", "assistant", "user")
    texts = (system, user, answer, following)
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]


def _render(tokenizer: "PreTrainedTokenizerBase", messages: _Messages, *, add_generation_prompt: bool = True) -> str:
    return str(tokenizer.apply_chat_template(messages, add_generation_prompt=add_generation_prompt, tokenize=False))


def _split(text: str, mark: str) -> tuple[str, str]:
    """The text before and after a mark; raises `ValueError` where it is not there once."""
    before, after = text.split(mark)
    return before, after
