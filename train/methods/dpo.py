"""Direct preference optimisation, over TRL's `DPOTrainer`.

The reference is the model as it was before training. For a new adapter it is computed along the way, with the adapter
switched off. For full fine-tuning, and for an adapter that is trained further, its log-probabilities are computed ahead
of training and kept in the job's folder: no second model is ever in memory.
"""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import torch
from datasets import Dataset, concatenate_datasets
from datasets.fingerprint import Hasher
from peft import PeftModel
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel
from trl import DPOConfig, DPOTrainer
from trl.trainer.utils import pad

from ftlab.schemas.methods import DpoMethod
from train.data.tokens.encode import IGNORE
from train.loop.dealt_rows import DealtRows
from train.loop.evaluation import Batch, BatchSums, RankBatches, eval_loader, evaluate_alone
from train.loop.exact_resume import ExactResume
from train.methods.reference import kept, logps_of
from train.methods.trainer_inputs import TrainerInputs

PAIR_MEANS = (
    "rewards/chosen",
    "rewards/rejected",
    "rewards/accuracies",
    "rewards/margins",
    "logps/chosen",
    "logps/rejected",
)
"""Metrics of TRL that are means over pairs. A reward is `beta` times the log-ratio of an answer to the reference."""
EVAL_METRICS = ("loss", *PAIR_MEANS, "entropy", "mean_token_accuracy")
REFERENCE_COLUMNS = ("ref_chosen_logps", "ref_rejected_logps")
NUM_PAIRS, NUM_CHOSEN, NUM_REJECTED, NUM_ANSWER = (
    "num_pairs",
    "num_chosen_tokens",
    "num_rejected_tokens",
    "num_answer_tokens",
)
"""Keys in TRL's metrics: the pairs and answer tokens of each pass since the last logged step, over all ranks."""


class PairCollator:
    """Makes TRL's batches of pairs: all chosen answers, then all rejected ones, each after its prompt."""

    def __init__(self, pad_token_id: int) -> None:
        self._pad_token_id = pad_token_id

    def __call__(self, rows: list[dict[str, Any]]) -> Batch:
        ids, labels = (
            [torch.tensor(row[f"{answer}_{what}"]) for answer in ("chosen", "rejected") for row in rows]
            for what in ("ids", "labels")
        )
        batch = {
            "input_ids": pad(ids, padding_value=self._pad_token_id),
            "attention_mask": pad([torch.ones_like(text) for text in ids], padding_value=0),
            "completion_mask": pad([(text != IGNORE).long() for text in labels], padding_value=0),
        }
        known = {name: torch.tensor([row[name] for row in rows]) for name in REFERENCE_COLUMNS if name in rows[0]}
        return batch | known


class DpoRunTrainer(DealtRows, DPOTrainer):
    """TRL's trainer with an exact resume, on prepared rows, with metrics that are means over pairs or tokens."""

    eval_metrics = EVAL_METRICS
    texts_per_row: ClassVar[int] = 2
    metric_weights: ClassVar[dict[str, str]] = dict.fromkeys(PAIR_MEANS, NUM_PAIRS) | {
        "entropy": NUM_ANSWER,
        "mean_token_accuracy": NUM_CHOSEN,
        "logits/chosen": NUM_CHOSEN,
        "logits/rejected": NUM_REJECTED,
    }

    train_dataset: Dataset
    eval_dataset: Dataset | None

    def __init__(self, *args: Any, method: DpoMethod, reference_folder: Path, **options: Any) -> None:
        self._method = method
        self._reference_folder = reference_folder
        super().__init__(*args, **options)
        # A step's loss is the mean over its pairs. TRL's is the mean over passes and ranks, where the pairs of a short
        # one count for more.
        self.loss_is_scaled_for_ga = True
        if isinstance(self.model, PeftModel) and "ref" in self.model.peft_config:
            # TRL's copy of an adapter that is trained further; it would be saved.
            self.model.delete_adapter("ref")
        if self.precompute_ref_logps:
            self.train_dataset = self._with_reference(self.train_dataset, "train")
            if self.eval_dataset is not None:
                self.eval_dataset = self._with_reference(self.eval_dataset, "eval")

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """The rows as they are: they have their tokens."""
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        """The rows as they are: TRL calls this before `ExactResume` has set the weights."""
        return dataset

    def _with_reference(self, dataset: Dataset, name: str) -> Dataset:
        """The rows with the log-probabilities of the reference: those in the job's folder, or computed now."""
        key = Hasher.hash((dataset._fingerprint, self._precompute_model_hash))
        file = self._reference_folder / f"{name}-{key}.npy"
        logps = kept(file, lambda: self._reference_logps(dataset))
        columns = {column: logps[:, number] for number, column in enumerate(REFERENCE_COLUMNS)}
        return concatenate_datasets([dataset, Dataset.from_dict(columns)], axis=1)

    def _reference_logps(self, dataset: Dataset) -> torch.Tensor:
        """Log-probabilities that the model gives both answers of every pair (pairs x 2)."""

        def measure(batch: Batch) -> torch.Tensor:
            answers = self.model(**labelled(batch), use_cache=False, fused_lm_head=True).log_probs.sum(dim=1)
            return torch.stack(answers.chunk(2), dim=1)

        return logps_of(self, dataset, self.data_collator, measure, self._run_callback.check_in, (2,))

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> torch.Tensor:
        """Number of pairs of a step, over all passes and ranks."""
        return self._rows_of_step(batch_samples)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        assert num_items_in_batch is not None
        num_tokens = inputs["completion_mask"][:, 1:].sum(dim=1).chunk(2)
        with self._joining(inputs) as pairs:
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            num_chosen, num_rejected = (self.accelerator.gather(each.sum()).sum().item() for each in num_tokens)
        numbers = {NUM_PAIRS: sum(pairs), NUM_CHOSEN: num_chosen, NUM_REJECTED: num_rejected}
        for name, number in (numbers | {NUM_ANSWER: num_chosen + num_rejected}).items():
            self._metrics["train"][name].append(number)
        return self._by_rows(loss, pairs[self.args.process_index], num_items_in_batch)

    def measure_batch(self, batch: Batch) -> BatchSums:
        return measure_batch(self.model, batch, self._method)


def make_trainer(inputs: TrainerInputs) -> ExactResume:
    """Make the trainer of prepared pairs."""
    config = inputs.plan.config
    assert isinstance(config.method, DpoMethod)
    is_new_adapter = config.tuning == "lora" and not isinstance(inputs.model, PeftModel)
    args = DPOConfig(
        **inputs.training_arguments(),
        activation_checkpointing=config.training.gradient_checkpointing,
        max_length=config.method.max_length,
        beta=config.method.beta,
        loss_type=[config.method.loss_type],
        label_smoothing=config.method.label_smoothing,
        precompute_ref_log_probs=not is_new_adapter,
        remove_unused_columns=False,
    )
    return DpoRunTrainer(
        inputs.model,
        args=args,
        data_collator=PairCollator(inputs.tokenizer.pad_token_id),
        method=config.method,
        reference_folder=inputs.plan.job_folder / "reference",
        **inputs.trainer_options(),
    )


def labelled(batch: Batch) -> Batch:
    """The inputs of a model for a batch of pairs; the places outside the answers are not labelled."""
    inputs = dict(batch)
    mask = inputs.pop("completion_mask")
    return inputs | {"labels": inputs["input_ids"].masked_fill(mask == 0, IGNORE)}


def measure_batch(model: Any, batch: Batch, method: DpoMethod) -> BatchSums:
    """Sums over the pairs of `batch`, or over its answer tokens."""
    known = [batch.pop(name) for name in REFERENCE_COLUMNS if name in batch]
    num_places = batch["completion_mask"].sum(dim=1)
    inputs = labelled(batch)
    outputs = model(**inputs, use_cache=False, fused_lm_head=True)
    logps = outputs.log_probs.sum(dim=1)
    if known:
        reference = torch.cat(known)
    else:
        with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
            reference = model(**inputs, use_cache=False, fused_lm_head=True).log_probs.sum(dim=1)
    ratios = logps - reference
    rewards = method.beta * ratios
    chosen, rejected = rewards.chunk(2)
    rows = {
        "loss": pair_losses(ratios, num_places, method),
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/accuracies": chosen > rejected,
        "rewards/margins": chosen - rejected,
        **dict(zip(("logps/chosen", "logps/rejected"), logps.chunk(2), strict=True)),
    }
    num_pairs = torch.tensor(len(chosen), device=logps.device)
    sums = {name: (values.double().sum(), num_pairs) for name, values in rows.items()}
    num_tokens = outputs.label_mask.sum(dim=1)
    return sums | {
        "entropy": (outputs.entropy.double().sum(), num_tokens.sum()),
        "mean_token_accuracy": (outputs.is_top1.chunk(2)[0].double().sum(), num_tokens.chunk(2)[0].sum()),
    }


def pair_losses(ratios: torch.Tensor, num_tokens: torch.Tensor, method: DpoMethod) -> torch.Tensor:
    """The loss of each pair, equal to that of `DPOTrainer`.

    `ratios` are the log-ratios of all chosen answers, then of all rejected ones, and `num_tokens` their tokens.
    """
    chosen, rejected = ratios.chunk(2)
    margins = method.beta * (chosen - rejected)
    match method.loss_type:
        case "hinge":
            return torch.relu(1 - margins)
        case "ipo":
            mean_chosen, mean_rejected = (ratios / num_tokens.clamp(min=1)).chunk(2)
            return (mean_chosen - mean_rejected - 1 / (2 * method.beta)) ** 2
        case "robust":
            kept, flipped = 1 - method.label_smoothing, method.label_smoothing
            return (flipped * logsigmoid(-margins) - kept * logsigmoid(margins)) / (kept - flipped)
        case _:
            return -logsigmoid(margins)


def evaluate(
    model: PreTrainedModel | PeftModel,
    rows: Dataset,
    method: DpoMethod,
    *,
    pad_token_id: int,
    batch_size: int,
    after_pass: Callable[[], None],
) -> dict[str, float]:
    """Evaluate a loaded model by itself (`train.loop.evaluation.evaluate_alone`).

    `rows` have the log-probabilities of the reference, except where it is the base model below a new adapter.
    """
    loader = eval_loader(rows, RankBatches(len(rows), batch_size), PairCollator(pad_token_id))
    return evaluate_alone(model, loader, lambda batch: measure_batch(model, batch, method), EVAL_METRICS, after_pass)
