"""Content that a model's chat template leaves out of the first rows of a dataset, for a preview."""

from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ftlab.errors import InvalidRequestError
from train.data.doctor.left_out import first_left_out
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
    parts = conversations(row, renderer)
    try:
        texts = [renderer.render(number, conversation) for _, conversation in parts]
    except InvalidRequestError as error:
        return error.message
    return first_left_out(parts, texts)
