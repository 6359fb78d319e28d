"""A row token by token: what the model reads, what it learns, and what is cut off."""

from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.errors import InvalidRequestError, NotFoundError
from ftlab.schemas.checks import Token, TokenRow
from train.data.canonical import CanonicalFile
from train.data.conversations import conversations
from train.data.render import RenderedRow, Renderer
from train.data.token_spans import token_range

if TYPE_CHECKING:
    from tokenizers import Encoding
    from transformers import PreTrainedTokenizerBase


def token_rows(
    rows: Path,
    tokenizer: "PreTrainedTokenizerBase",
    *,
    number: int,
    max_length: int | None,
    assistant_only_loss: bool,
) -> list[TokenRow]:
    """The tokens of row `number`, counted from 1, of a canonical file: two lists for a pair, one for all others.

    `max_length` is where rows are cut, if they are. Raise `NotFoundError` when there is no such row,
    `DatasetInvalidError` when the chat template refuses it, and `InvalidRequestError` with code
    `tokenizer_unsupported` or `chat_template_unsupported`.
    """
    if not tokenizer.is_fast:
        raise InvalidRequestError(
            "The model has no fast tokenizer, which is needed to tell what each token stands for.",
            "tokenizer_unsupported",
            "model",
        )
    with CanonicalFile.open(rows) as file:
        try:
            line, row = file.row(number - 1)
        except IndexError:
            message = f"The dataset has {file.num_rows:,} rows; there is no row {number:,}."
            raise NotFoundError(message, "row_not_found", "row") from None
        kind = file.kind
    renderer = Renderer(tokenizer, assistant_only_loss=assistant_only_loss)
    return [
        _token_row(number, line, part, renderer.render(number, conversation), tokenizer, max_length)
        for part, conversation in conversations(row, kind)
    ]


def _token_row(
    number: int,
    line: int,
    part: str,
    rendered: RenderedRow,
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int | None,
) -> TokenRow:
    backend = tokenizer.backend_tokenizer
    backend.no_truncation()
    backend.no_padding()
    encoding = backend.encode(rendered.text, add_special_tokens=False)
    tokens = _tokens(encoding, rendered, set(tokenizer.all_special_ids), max_length)
    return TokenRow(
        row=number,
        line=line,
        part=part,
        num_tokens=len(tokens),
        num_trained=sum(token.is_trained for token in tokens),
        num_truncated=sum(token.is_truncated for token in tokens),
        tokens=tokens,
    )


def _tokens(encoding: "Encoding", rendered: RenderedRow, special_ids: set[int], max_length: int | None) -> list[Token]:
    offsets = encoding.offsets
    kept = len(offsets) if max_length is None else min(len(offsets), max_length)
    trained: set[int] = set()
    for span in rendered.spans:
        first, last = token_range(offsets, span)
        # The model predicts the next token, so the first one of a row is never a target.
        trained.update(range(max(first, 1), min(last, kept)))
    special = {number for number, token in enumerate(encoding.ids) if token in special_ids}
    return [
        Token(
            id=token_id,
            text=text,
            is_trained=place in trained,
            is_special=place in special,
            is_truncated=place >= kept,
        )
        for place, (token_id, text) in enumerate(zip(encoding.ids, _texts(rendered.text, offsets), strict=True))
    ]


def _texts(text: str, offsets: list[tuple[int, int]]) -> list[str]:
    """What each token stands for. Characters that no token claims go to the next one."""
    texts: list[str] = []
    done = 0
    for start, end in offsets:
        if end <= done < len(text) and end > start:
            # A further part of a character that needs several tokens.
            texts.append("")
            continue
        texts.append(text[done : max(done, end)])
        done = max(done, end)
    if texts and done < len(text):
        texts[-1] += text[done:]
    return texts
