"""The tokens of a row as a page."""

from collections.abc import Iterator, Sequence

from ftlab.pages.document import page, text
from ftlab.schemas.checks import Token, TokenRow

VISIBLE = {"\n": "⏎\n", "\t": "⇥\t", "\r": "␍"}
"""Visible signs for white space."""
REST = "▫"
"""Stands for a token that is a further part of the character before it."""


def token_page(rows: Sequence[TokenRow]) -> str:
    """One row, or the two sides of a pair, as one HTML document."""
    first = rows[0]
    return page(f"Row {first.row} of {first.dataset_id}", _body(rows))


def hidden_tokens(row: TokenRow) -> str:
    """The number of tokens that are not shown, in one sentence."""
    more = "1 more token is" if row.num_hidden == 1 else f"{row.num_hidden:,} more tokens are"
    return f"{more} counted but not shown."


def _body(rows: Sequence[TokenRow]) -> Iterator[str]:
    first = rows[0]
    yield f"<h1>Row {first.row:,} of {text(first.dataset_id)}</h1>"
    yield f'<p class="soft">Line {first.line:,} of the file, as <code>{text(first.model)}</code> reads it.</p>'
    yield (
        '<p>A token is <span class="trained">trained</span>, <span class="special">special</span>, '
        '<span class="cut">cut off</span>, or context only.</p>'
    )
    for row in rows:
        name = f"{row.part}: " if row.part else ""
        counts = f"{row.num_tokens:,} tokens, {row.num_trained:,} trained, {row.num_truncated:,} cut off"
        yield f"<h2>{text(name)}{counts}</h2>"
        yield '<div class="tokens">' + "".join(map(_token, row.tokens)) + "</div>"
        if row.num_hidden:
            yield f'<p class="soft">{text(hidden_tokens(row))}</p>'


def _token(token: Token) -> str:
    names = [
        name
        for name, is_it in (("trained", token.is_trained), ("special", token.is_special), ("cut", token.is_truncated))
        if is_it
    ]
    kind = f' class="{" ".join(names)}"' if names else ""
    shown = "".join(f"<i>{VISIBLE[char]}</i>" if char in VISIBLE else text(char) for char in token.text or REST)
    return f'<span{kind} title="{token.id}">{shown}</span>'
