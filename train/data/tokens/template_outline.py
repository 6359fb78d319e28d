"""What a chat template puts around the messages, learned once for every order of roles.

Most templates write each message as it is between words that depend on the roles only. Where a text is made so, its
turns are where they were in a conversation of stand-ins, and need not be searched for again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from train.data.rows.canonical import Message
from train.data.tokens.chat_template import Span

PLAIN = frozenset({"role", "content", "weight"})
"""Fields of a message that a template writes as it is, or not at all."""


@dataclass(frozen=True)
class Skeleton:
    """`pieces` stand before, between and after the messages. `turns` has, for each message that is a turn, how many
    characters of the piece before it, and of the piece behind it, do not belong and belong to the turn."""

    pieces: tuple[str, ...]
    turns: dict[int, Span]

    @classmethod
    def of(cls, text: str, messages: Sequence[Message], turns: dict[int, Span]) -> "Skeleton | None":
        """Take a rendered conversation apart; `None` when its messages cannot be told from the rest."""
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
        """The wanted turns in the text of a conversation of the same roles; `None` when it is made otherwise."""
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


def stand_ins(roles: Sequence[str]) -> list[Message]:
    """A conversation of these roles in which every message is one of a kind."""
    return [{"role": role, "content": f"Stand{number}in"} for number, role in enumerate(roles)]
