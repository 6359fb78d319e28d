"""Content that a model's chat template leaves out of the first rows of a dataset, for a preview."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.errors import InvalidRequestError
from train.data.doctor.left_out import left_out_of
from train.data.rows.canonical import CanonicalFile, Row
from train.data.tokens.encode import conversations
from train.data.tokens.render import Renderer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def template_problems(
    rows: Path, tokenizer: "PreTrainedTokenizerBase", num_rows: int, *, assistant_only_loss: bool
) -> dict[int, str]:
    """Line in the uploaded file -> what the template leaves out of its row, or why it refuses the row.

    Reads the first `num_rows` rows of a canonical file; rows without a problem have no entry. Raise
    `InvalidRequestError` with code `tokenizer_unsupported`, and `DatasetInvalidError` for a damaged file.
    """
    renderer = Renderer(tokenizer, assistant_only_loss=assistant_only_loss)
    problems: dict[int, str] = {}
    with CanonicalFile.open(rows) as file:
        for number, (line, row) in enumerate(islice(file.rows(), num_rows), 1):
            if problem := _problem(renderer, number, row):
                problems[line] = problem
    return problems


def _problem(renderer: Renderer, number: int, row: Row) -> str | None:
    for _, conversation in conversations(row, renderer):
        try:
            rendered = renderer.render(number, conversation)
        except InvalidRequestError as error:
            return error.message
        if not rendered.is_verbatim and (left_out := left_out_of(conversation, rendered)):
            return left_out
    return None
