"""A row as tokens: those the model reads, those it is trained on, and those that are cut off."""

from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.errors import NotFoundError
from ftlab.schemas.checks import Token, TokenRow
from train.data.rows.canonical import CanonicalFile, Kind
from train.data.tokens.encode import backend_of, conversations, token_ranges
from train.data.tokens.prompts import ANY_ANSWER, prompt_text
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
    max_length: int | None,
    assistant_only_loss: bool,
) -> list[TokenRow]:
    """The tokens of row `number`, counted from 1, of a canonical file: two lists for a pair, one for all others.

    `max_length` is where rows are cut, if they are. A long row is shown in part, see `MAX_TOKENS` and `MAX_CUT_OFF`,
    and counted whole. Raise `NotFoundError` when there is no such row,
    `DatasetInvalidError` when the chat template refuses it, and `InvalidRequestError` with code
    `tokenizer_unsupported` or `chat_template_unsupported`.
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
        text = prompt_text(number, row, [*row["prompt"], ANY_ANSWER], renderer)
        return [_token_row(number, line, "", RenderedRow(text, []), backend, special_ids, max_length)]
    return [
        _token_row(number, line, part, renderer.render(number, conversation), backend, special_ids, max_length)
        for part, conversation in conversations(row, renderer)
    ]


def _token_row(
    number: int,
    line: int,
    part: str,
    rendered: RenderedRow,
    backend: "Tokenizer",
    special_ids: set[int],
    max_length: int | None,
) -> TokenRow:
    encoding = backend.encode(rendered.text, add_special_tokens=False)
    num_tokens = len(encoding)
    kept = num_tokens if max_length is None else min(num_tokens, max_length)
    trained = _trained(encoding, rendered, kept)
    tokens = _tokens(encoding, rendered.text, trained, special_ids, kept)
    return TokenRow(
        row=number,
        line=line,
        part=part,
        num_tokens=num_tokens,
        num_trained=sum(map(len, trained)),
        num_truncated=num_tokens - kept,
        num_hidden=num_tokens - len(tokens),
        tokens=tokens,
    )


def _trained(encoding: "Encoding", rendered: RenderedRow, kept: int) -> list[range]:
    """The positions that the loss counts, in order and each once."""
    places: list[range] = []
    # The model predicts the next token, so the first one of a row is never a target.
    done = 1
    for first, last in token_ranges(encoding, rendered.spans, len(rendered.text)):
        first, last = max(first, done), min(last, kept)
        if first < last:
            places.append(range(first, last))
            done = last
    return places


def _tokens(encoding: "Encoding", text: str, trained: list[range], special_ids: set[int], kept: int) -> list[Token]:
    """The tokens that are shown."""
    shown = min(kept + MAX_CUT_OFF, MAX_TOKENS)
    learned = {place for places in trained for place in range(places.start, min(places.stop, shown))}
    texts = _texts(text, encoding.offsets[:shown], is_whole=len(encoding) <= shown)
    return [
        Token(
            id=token_id,
            text=token_text,
            is_trained=place in learned,
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
