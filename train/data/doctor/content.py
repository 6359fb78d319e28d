"""Checks of messages that need no tokenizer: roles, their order, and scripts."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from ftlab.schemas.check_rules import CheckRule
from ftlab.schemas.checks import RoleFacts
from train.data.rows.canonical import Message, Row
from train.data.shapes.messages import INVISIBLE

Remark = tuple[CheckRule, str]
"""A broken rule, with a sentence about it."""

KNOWN_ROLES = frozenset({"system", "user", "assistant", "tool"})
_ROLE_WORDS = (
    # English and the words of other tools
    "user", "human", "assistant", "gpt", "chatgpt", "bot", "ai", "### instruction", "### response",
    # German, French, Spanish, Portuguese, Italian, Dutch, Polish, Turkish
    "benutzer", "nutzer", "mensch", "assistent", "utilisateur", "utilisatrice", "humain", "usuario", "humano",
    "asistente", "usuário", "assistente", "utente", "umano", "gebruiker", "użytkownik", "asystent",
    "kullanıcı", "asistan",
    # Russian, Ukrainian, Greek, Arabic, Hebrew, Hindi
    "пользователь", "человек", "ассистент", "помощник", "бот", "користувач", "помічник", "χρήστης", "βοηθός",
    "المستخدم", "المساعد", "משתמש", "עוזר", "उपयोगकर्ता", "सहायक",
    # Chinese, Japanese, Korean
    "用户", "用戶", "人类", "助手", "助理", "ユーザー", "アシスタント", "사용자", "어시스턴트",
)  # fmt: skip
_ROLE_WORD = re.compile(
    rf"^[#*>\s]{{0,4}}(?:{'|'.join(_ROLE_WORDS)})\s?[*]{{0,2}}\s?[:：]", re.IGNORECASE | re.MULTILINE
)
_SCRIPTS = (
    (0x0041, 0x024F, "Latin"), (0x0370, 0x03FF, "Greek"), (0x0400, 0x052F, "Cyrillic"), (0x0530, 0x058F, "Armenian"),
    (0x0590, 0x05FF, "Hebrew"), (0x0600, 0x077F, "Arabic"), (0x0900, 0x097F, "Devanagari"), (0x0980, 0x09FF, "Bengali"),
    (0x0B80, 0x0BFF, "Tamil"), (0x0E00, 0x0E7F, "Thai"), (0x10A0, 0x10FF, "Georgian"), (0x1100, 0x11FF, "Hangul"),
    (0x1E00, 0x1EFF, "Latin"), (0x3040, 0x30FF, "Kana"), (0x3400, 0x9FFF, "Han"), (0xAC00, 0xD7AF, "Hangul"),
)  # fmt: skip
SCRIPT_CHARS = 200
"""Number of characters at the beginning of a message that decide its script."""
MISSING_VALUES = frozenset(
    {"nan", "null", "<na>", "undefined", "#n/a", "#ref!", "#value!", "#name?", "[object object]"}
)
"""Written in place of a missing value by pandas, databases, spreadsheets and JavaScript."""
MAX_MISSING_CHARS = 20
"""A longer text is none of these, whatever white space is around it."""
MIN_REPEATED_CHARS = 20
"""Shorter answers, such as a greeting or a class, may well equal the message or the answer before them."""


def messages_of(row: Row) -> list[Message]:
    """All messages of a row of any kind, in order; none of a plain text."""
    return [
        message for key in ("messages", "prompt", "chosen", "rejected", "completion") for message in row.get(key, ())
    ]


def text_of(row: Row) -> tuple[str, str]:
    """The texts that decide whether rows are equal, and near: roles and words, and words without system messages."""
    if "text" in row:
        exact = near = row["text"]
    else:
        messages = messages_of(row)
        exact = "\x1e".join([f"{message['role']}\x1f{message['content']}" for message in messages])
        if any("tool_calls" in message for message in messages):
            exact += repr([message.get("tool_calls") for message in messages])
        near = "\n".join([message["content"] for message in messages if message["role"] != "system"])
    return exact, near


@dataclass(slots=True)
class _Tally:
    num_messages: int = 0
    num_chars: int = 0
    scripts: Counter[str] = field(default_factory=Counter)


class ContentCheck:
    """Checks rows one by one and counts what the roles wrote."""

    def __init__(self, special_tokens: Iterable[str]) -> None:
        tokens = sorted({token for token in special_tokens if len(token.strip()) > 1}, key=len, reverse=True)
        self._special = _pattern(tokens)
        # Searched first, which is much faster than all tokens at every position.
        self._special_start = _pattern({token[0] for token in tokens})
        self._roles: dict[str, _Tally] = {}

    def remarks(self, row: Row) -> list[Remark]:
        """The rules that a row breaks, at most one remark of each rule."""
        messages = messages_of(row)
        found: dict[CheckRule, str] = {}
        for number, message in enumerate(messages, 1):
            for rule, words in self._message_remarks(message):
                found.setdefault(rule, f"Message {number} ({message['role']}) {words}.")
        if "messages" in row and (oddity := _order_oddity(tuple([message["role"] for message in messages]))):
            found[CheckRule.ROLE_ORDER] = oddity
        if not _has_words(row, messages):
            found[CheckRule.EMPTY_ROW] = "The text to train on has no visible characters."
        if repeated := _repeated_answer(row):
            found[CheckRule.REPEATED_ANSWER] = repeated
        if mismatch := _script_mismatch(messages):
            found[CheckRule.SCRIPT_MISMATCH] = mismatch
        return list(found.items())

    def facts(self) -> list[RoleFacts]:
        """What the roles wrote, by descending number of messages."""
        facts = [
            RoleFacts(
                role=role,
                num_messages=tally.num_messages,
                num_chars=tally.num_chars,
                scripts=dict(tally.scripts.most_common()),
            )
            for role, tally in self._roles.items()
        ]
        return sorted(facts, key=lambda fact: -fact.num_messages)

    def _message_remarks(self, message: Message) -> Sequence[Remark]:
        role, content = message["role"], message["content"]
        tally = self._roles.get(role)
        if tally is None:
            tally = self._roles[role] = _Tally()
        tally.num_messages += 1
        tally.num_chars += len(content)
        if script := script_of(content):
            tally.scripts[script] += 1
        remarks: list[Remark] = []
        if role not in KNOWN_ROLES:
            remarks.append((CheckRule.UNKNOWN_ROLE, "has a role that chat templates do not support"))
        if len(content) < MAX_MISSING_CHARS and content.strip().casefold() in MISSING_VALUES:
            remarks.append((CheckRule.MISSING_VALUE, f"is only '{content.strip()}', as programs write a missing value"))
        if (":" in content or "：" in content) and _ROLE_WORD.search(content):
            remarks.append(
                (
                    CheckRule.ROLE_WORD_IN_TEXT,
                    "has a line that begins with the name of a role, as if it contained several turns",
                )
            )
        if self._special_start.search(content) and self._special.search(content):
            remarks.append((CheckRule.SPECIAL_TOKEN_IN_TEXT, "contains one of the tokenizer's special tokens as text"))
        return remarks


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """A pattern for any of the words; without words, it matches nothing."""
    return re.compile("|".join(map(re.escape, words)) or "(?!)")


def script_of(text: str) -> str | None:
    """The script of most letters at the beginning of a text; `None` without letters."""
    head = text[:SCRIPT_CHARS]
    if head.isascii():
        return "Latin" if any(map(str.isalpha, head)) else None
    counts = Counter(map(_script_of_letter, filter(str.isalpha, head)))
    if counts["Kana"]:
        # Japanese text mixes both.
        counts["Kana"] += counts.pop("Han", 0)
    return counts.most_common(1)[0][0] if counts else None


@lru_cache(maxsize=65_536)
def _script_of_letter(letter: str) -> str:
    code = ord(letter)
    return next((name for first, last, name in _SCRIPTS if first <= code <= last), "other")


def _script_mismatch(messages: list[Message]) -> str | None:
    if all(message["content"].isascii() for message in messages):
        return None
    asked = {script_of(message["content"]) for message in messages if message["role"] == "user"} - {None}
    answered = {script_of(message["content"]) for message in messages if message["role"] == "assistant"} - {None}
    if not asked or not answered or asked & answered:
        return None
    return f"The user writes in {_named(asked)} script, the assistant answers in {_named(answered)}."


def _named(scripts: set[str | None]) -> str:
    return " and ".join(sorted(str(script) for script in scripts))


def _has_words(row: Row, messages: list[Message]) -> bool:
    if "text" in row:
        return not INVISIBLE.fullmatch(row["text"])
    answers = [message for message in messages if message["role"] == "assistant" and message.get("weight") != 0]
    # A row without any answer to learn breaks another rule.
    return not answers or any(
        message.get("tool_calls") or not INVISIBLE.fullmatch(message["content"]) for message in answers
    )


def _repeated_answer(row: Row) -> str | None:
    """The first answer to learn that says only what the message before it, or the answer before it, has said."""
    if row.get("label") is False:
        return None
    conversation = row.get("messages") or [
        *row.get("prompt", ()),
        *(row.get("chosen") or row.get("completion") or ()),
    ]
    earlier_answer: int | None = None
    for place, message in enumerate(conversation):
        if message["role"] != "assistant":
            continue
        for before in dict.fromkeys((place - 1, earlier_answer)):
            if before is not None and before >= 0 and _only_repeats(message, conversation[before]):
                return f"Message {place + 1} (assistant) only repeats message {before + 1}."
        earlier_answer = place
    return None


def _only_repeats(answer: Message, before: Message) -> bool:
    if answer.get("weight") == 0 or answer.get("tool_calls"):
        return False
    said, repeated = before["content"].strip(), answer["content"].strip()
    return len(said) == len(repeated) >= MIN_REPEATED_CHARS and said.casefold() == repeated.casefold()


@lru_cache(maxsize=65_536)
def _order_oddity(roles: tuple[str, ...]) -> str | None:
    if "system" in roles[1:]:
        return f"Message {roles.index('system', 1) + 1} is a system message that is not at the beginning."
    turns = [role for role in roles if role != "system"]
    if turns[:1] == ["assistant"]:
        return "The conversation begins with the assistant."
    for number, (before, after) in enumerate(pairwise(turns), 2 + (roles[0] == "system")):
        if before == after and after in ("user", "assistant"):
            return f"Message {number} is the second {after} message in a row."
        if after == "tool" and before not in ("assistant", "tool"):
            return f"Message {number} is from a tool, but no tool was called."
    if turns[-1:] and turns[-1] != "assistant":
        return f"The last message is not the assistant's but the {turns[-1]}'s, and is never trained."
    return None
