"""A row as tokens: those the model reads, those it is trained on, and those that are cut off."""

from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.errors import NotFoundError
from ftlab.schemas.checks import Token, TokenRow
from train.data.rows.canonical import CanonicalFile, Kind
from train.data.tokens.encode import backend_of, conversations, encode_text, token_ranges
from train.data.tokens.prompts import ANY_ANSWER, rendered_prompt
from train.data.tokens.render import RenderedRow, Renderer
from train.model.tokenizer import special_tokens

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer
    from transformers import PreTrainedTokenizerBase

MAX_TOKENS = 16_384
"""Maximum number of tokens of a row that are shown; all are counted."""
MAX_CUT_OFF = 512
"""Maximum number of tokens shown beyond `max_length`: enough to see what is lost first."""


def token_rows(
    rows: Path,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    number: int,
    max_length: int,
    assistant_only_loss: bool,
    packing: bool = False,
) -> list[TokenRow]:
    """The tokens of row `number`, counted from 1, of a canonical file: two lists for a pair, one for all others.

    Rows are cut at `max_length`; with `packing`, they are split there, and the first token of each piece is not
    trained. A long row is shown in part, see `MAX_TOKENS` and `MAX_CUT_OFF`, and counted whole. Raise `NotFoundError`
    when there is no such row, `DatasetInvalidError` when the chat template refuses it, and `InvalidRequestError` with
    code `tokenizer_unsupported` or `chat_template_unsupported`.
    """
    backend = backend_of(tokenizer)
    with CanonicalFile.open(rows) as file:
        try:
            line, row = file.row(number - 1)
        except IndexError:
            message = f"The dataset has {file.num_rows:,} rows; there is no row {number:,}."
            raise NotFoundError(message, "row_not_found", "row") from None
    renderer = Renderer(tokenizer, assistant_only_loss=assistant_only_loss)
    special_ids = set(special_tokens(tokenizer))
    if file.kind is Kind.PROMPTS:
        texts = [("", rendered_prompt(number, row, [*row["prompt"], ANY_ANSWER], renderer))]
    else:
        texts = [(part, renderer.render(number, each)) for part, each in conversations(row, renderer)]
    return [
        _token_row(number, line, part, text, backend, special_ids, max_length, packing=packing) for part, text in texts
    ]


def _token_row(
    number: int,
    line: int,
    part: str,
    rendered: RenderedRow,
    backend: "Tokenizer",
    special_ids: set[int],
    max_length: int,
    *,
    packing: bool,
) -> TokenRow:
    encoding = encode_text(rendered, backend)
    num_tokens = len(encoding)
    kept = num_tokens if packing else min(num_tokens, max_length)
    trained = _trained(encoding, rendered, kept, max_length)
    tokens = _tokens(encoding, rendered.text, trained, special_ids, kept)
    return TokenRow(
        row=number,
        line=line,
        part=part,
        num_tokens=num_tokens,
        num_trained=len(trained),
        num_truncated=num_tokens - kept,
        num_hidden=num_tokens - len(tokens),
        tokens=tokens,
    )


def _trained(encoding: "Encoding", rendered: RenderedRow, kept: int, piece_length: int) -> set[int]:
    """The positions that the loss counts."""
    ranges = token_ranges(encoding, rendered.spans, len(rendered.text))
    places = {place for first, last in ranges for place in range(first, min(last, kept))}
    # The model predicts the next token, so the first one of a row, or of a piece of it, is never a target.
    return places.difference(range(0, kept, piece_length))


def _tokens(encoding: "Encoding", text: str, trained: set[int], special_ids: set[int], kept: int) -> list[Token]:
    """The tokens that are shown."""
    shown = min(kept + MAX_CUT_OFF, MAX_TOKENS)
    texts = _texts(text, encoding.offsets[:shown], is_whole=len(encoding) <= shown)
    return [
        Token(
            id=token_id,
            text=token_text,
            is_trained=place in trained,
            is_special=token_id in special_ids,
            is_truncated=place >= kept,
        )
        for place, (token_id, token_text) in enumerate(zip(encoding.ids[:shown], texts, strict=True))
    ]


def _texts(text: str, offsets: list[tuple[int, int]], *, is_whole: bool) -> list[str]:
    """The text of each token. Characters that no token covers go to the next one."""
    texts: list[str] = []
    done = 0
    for start, end in offsets:
        if end <= done < len(text) and end > start:
            # Another part of a character that takes several tokens.
            texts.append("")
            continue
        texts.append(text[done : max(done, end)])
        done = max(done, end)
    if is_whole and texts and done < len(text):
        texts[-1] += text[done:]
    return texts
