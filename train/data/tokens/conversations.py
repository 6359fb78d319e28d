"""Rows of any kind as conversations, or plain texts, to be rendered."""

from train.data.rows.canonical import Kind, Message, Row


def conversations(row: Row, kind: Kind) -> list[tuple[str, Row]]:
    """What to render for a row: two for a pair, each with its name, and otherwise one without."""
    if kind is Kind.PREFERENCE:
        return [(part, _answered(row, row[part])) for part in ("chosen", "rejected")]
    if kind is Kind.UNPAIRED:
        return [("", _answered(row, row["completion"]))]
    return [("", row)]


def _answered(row: Row, answer: list[Message]) -> Row:
    """Prompt and answer as one conversation of which only the answer is learned."""
    prompt = [message | {"weight": 0} if message["role"] == "assistant" else message for message in row["prompt"]]
    conversation: Row = {"messages": prompt + answer}
    if "tools" in row:
        conversation["tools"] = row["tools"]
    return conversation
