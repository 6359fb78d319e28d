"""Rows of several documents as batches in which no document sees another, or a refusal.

The position of each token in its own document is handed to the model with the batch, and no attention mask: from that
transformers makes a mask with one block per document (sdpa, eager), or the boundaries for flash attention. A model
whose attention does neither is detected by a trial.
"""

from typing import Any

import torch
from transformers import PreTrainedModel
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from ftlab.errors import InvalidRequestError
from train.data.tokens.encode import IGNORE
from train.loop.run_state import preserve_rng
from train.model.load import precision_of_attention

NUM_TOKENS = "num_tokens"
"""Key of a batch: how many of its places hold a token. `SftRunTrainer` removes it."""
ROUNDING = 4
"""Steps of the type's precision by which the logits of a document may differ: experts are computed in groups."""

Batch = dict[str, Any]


class RowCollator:
    """Makes batches of rows. Packed rows, which have `seq_lengths`, come with the positions of their documents.

    For flash attention they become one long row. For the others they stay below each other: a mask is as large as the
    square of a row, so one long row would cost several times as much.
    """

    def __init__(self, pad_token_id: int, *, uses_flash_attention: bool) -> None:
        self._pad_token_id = pad_token_id
        self._plain = DataCollatorForLanguageModeling(pad_token_id)
        self._flat = DataCollatorForLanguageModeling(pad_token_id, padding_free=True)
        self._uses_flash_attention = uses_flash_attention

    @classmethod
    def for_model(cls, model: PreTrainedModel, pad_token_id: int) -> "RowCollator":
        return cls(pad_token_id, uses_flash_attention="flash" in (model.config._attn_implementation or ""))

    def __call__(self, rows: list[dict[str, list[int]]]) -> Batch:
        return self._batch(rows) | {NUM_TOKENS: torch.tensor(sum(len(row["input_ids"]) for row in rows))}

    def without_rows(self, row: dict[str, list[int]]) -> Batch:
        """A batch that trains nothing and counts no token. A model needs an input: it is the beginning of `row`."""
        start = row["input_ids"][:2]
        lengths = {"seq_lengths": [len(start)]} if "seq_lengths" in row else {}
        batch = self._batch([{"input_ids": start, "labels": [IGNORE] * len(start)} | lengths])
        return batch | {NUM_TOKENS: torch.tensor(0)}

    def _batch(self, rows: list[dict[str, list[int]]]) -> Batch:
        if "seq_lengths" not in rows[0]:
            return dict(self._plain(rows))
        return dict(self._flat(rows)) if self._uses_flash_attention else self._below_each_other(rows)

    def _below_each_other(self, rows: list[dict[str, list[int]]]) -> Batch:
        width = max(len(row["input_ids"]) for row in rows)
        input_ids = torch.full((len(rows), width), self._pad_token_id)
        labels = torch.full((len(rows), width), IGNORE)
        # Position 0 begins a document: each place of the padding is one of its own, which no other attends to.
        positions = torch.zeros((len(rows), width), dtype=torch.long)
        for number, row in enumerate(rows):
            length = len(row["input_ids"])
            input_ids[number, :length] = torch.tensor(row["input_ids"])
            labels[number, :length] = torch.tensor(row["labels"])
            positions[number, :length] = torch.cat([torch.arange(part) for part in row["seq_lengths"]])
        # The first token of a document is never predicted.
        labels[positions == 0] = IGNORE
        return {"input_ids": input_ids, "labels": labels, "position_ids": positions}


def refuse_contamination(model: PreTrainedModel, collator: RowCollator) -> None:
    """Raise `InvalidRequestError` (`packing_unsupported`) when one document of a row changes what follows it.

    The trial runs on the model itself: two rows that differ only in their first document must give the same logits for
    the second one, up to the rounding of their type. It draws no random numbers.
    """
    vocabulary = model.get_input_embeddings().weight.shape[0]
    second = [number % vocabulary for number in range(3, 11)]
    was_training = model.training
    model.eval()
    with preserve_rng(), torch.no_grad(), precision_of_attention(model):
        one, other = (_logits(model, collator, [first % vocabulary] * 8, second) for first in (1, 2))
    model.train(was_training)
    if (one - other).abs().max() > ROUNDING * torch.finfo(one.dtype).eps * one.abs().max():
        raise InvalidRequestError(
            f"The attention of this model ({model.config.model_type}, {model.config._attn_implementation}) does not "
            "separate documents that share a row. Set method.packing to false.",
            "packing_unsupported",
            "method.packing",
        )


def _logits(model: PreTrainedModel, collator: RowCollator, first: list[int], second: list[int]) -> torch.Tensor:
    """Logits of the second document, which begins at the end of the first."""
    ids = first + second
    batch = collator([{"input_ids": ids, "labels": ids, "seq_lengths": [len(first), len(second)]}])
    del batch["labels"], batch[NUM_TOKENS]
    inputs = {name: value.to(model.device) if torch.is_tensor(value) else value for name, value in batch.items()}
    logits: torch.Tensor = model(**inputs, use_cache=False).logits[0, len(first) :]
    return logits
