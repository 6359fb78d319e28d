"""Kahneman-Tversky optimisation on rated answers, over TRL's `KTOTrainer`.

The reference is the model as it was before training. For a new adapter it is computed along the way, with the adapter
switched off. For full fine-tuning, and for an adapter that is trained further, its log-probabilities are computed ahead
of training and kept in the job's folder, also those of the KL term: the schedule says which rows share a batch. No
second model is ever in memory.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from datasets import Dataset, concatenate_datasets
from datasets.fingerprint import Hasher
from peft import PeftModel
from torch.utils.data import DataLoader
from transformers import PreTrainedModel
from transformers.trainer_utils import EvalLoopOutput
from trl import KTOConfig, KTOTrainer

from ftlab.schemas.methods import KtoMethod
from train.data.tokens.encode import IGNORE
from train.loop.dealt_rows import DealtRows
from train.loop.evaluation import (
    Batch,
    BatchSums,
    MetricSums,
    RankBatches,
    eval_loader,
    evaluate_alone,
    sum_batches,
    weighted_mean,
)
from train.loop.exact_resume import ExactResume
from train.loop.memory_probe import longest_rows
from train.methods.rated_batches import KL, OWN, ROW_NUMBER, PairedLogps, PairedRows, RatedCollator, pairs_of
from train.methods.reference import Logps, kept, logps_of
from train.methods.trainer_inputs import TrainerInputs

CHOSEN, REJECTED, MARGINS = "rewards/chosen", "rewards/rejected", "rewards/margins"
EVAL_METRICS = ("loss", "kl", CHOSEN, REJECTED, "logps/chosen", "logps/rejected", "entropy")
"""What an evaluation measures, besides the margin, which is the difference of two means."""
NUM_ROWS, NUM_CHOSEN, NUM_REJECTED, NUM_ANSWER, NUM_CHOSEN_TOKENS, NUM_REJECTED_TOKENS = (
    "num_rows",
    "num_chosen",
    "num_rejected",
    "num_answer_tokens",
    "num_chosen_tokens",
    "num_rejected_tokens",
)
"""Keys in TRL's metrics: the rows and answer tokens of each pass since the last logged step, over all ranks."""


class KtoRunTrainer(DealtRows, KTOTrainer):
    """TRL's trainer with an exact resume, on prepared rows, with metrics that are means over rows or tokens."""

    eval_metrics = EVAL_METRICS
    has_row_before: ClassVar[bool] = True
    metric_weights: ClassVar[dict[str, str]] = {
        "kl": NUM_ROWS,
        CHOSEN: NUM_CHOSEN,
        REJECTED: NUM_REJECTED,
        "logps/chosen": NUM_CHOSEN,
        "logps/rejected": NUM_REJECTED,
        "entropy": NUM_ANSWER,
        "logits/chosen": NUM_CHOSEN_TOKENS,
        "logits/rejected": NUM_REJECTED_TOKENS,
    }

    train_dataset: Dataset
    eval_dataset: Dataset | None
    data_collator: RatedCollator

    def __init__(self, *args: Any, method: KtoMethod, reference_folder: Path, **options: Any) -> None:
        self._method = method
        self._reference_folder = reference_folder
        self._eval_kl = 0.0
        self._kl_weight = 1.0
        super().__init__(*args, **options)
        # A step's loss is the mean over its rows. TRL's is the mean over passes and ranks, where the rows of a short
        # one count for more.
        self.loss_is_scaled_for_ga = True
        if isinstance(self.model, PeftModel) and "ref" in self.model.peft_config:
            # TRL's copy of an adapter that is trained further; it would be saved.
            self.model.delete_adapter("ref")
        if self.precompute_ref_logps:
            self._find_train_reference()
            if self.eval_dataset is not None:
                self.eval_dataset = self._with_eval_reference(self.eval_dataset)

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """The rows as they are: they have their tokens, and their batches decide on the KL term."""
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any) -> Dataset:
        """The rows as they are: TRL calls this before `ExactResume` has set the weights."""
        return dataset

    def _find_train_reference(self) -> None:
        rows = self.train_dataset
        numbers = np.arange(len(rows))
        own = self._reference("train", rows, np.stack([numbers, numbers], axis=1), OWN)
        if self._method.estimates_kl:
            tried, _ = longest_rows(rows, self.args.per_device_train_batch_size)
            pairs = pairs_of(self._schedule, self.args.seed, tried)
            self.data_collator.reference = PairedLogps(pairs, self._reference("train-kl", rows, pairs, KL))
        columns = Dataset.from_dict({"ref_logps": own, ROW_NUMBER: numbers})
        self.train_dataset = concatenate_datasets([rows, columns], axis=1)

    def _with_eval_reference(self, rows: Dataset) -> Dataset:
        numbers = np.arange(len(rows))
        pairs = np.stack([numbers, np.roll(numbers, 1)], axis=1)
        columns = {"ref_logps": self._reference("eval", rows, pairs, OWN)}
        if self._method.estimates_kl:
            columns["ref_KL_logps"] = self._reference("eval-kl", rows, pairs, KL)
        return concatenate_datasets([rows, Dataset.from_dict(columns)], axis=1)

    def _reference(self, name: str, rows: Dataset, pairs: Any, prefix: str) -> Logps:
        """What the reference gives the answers of `pairs`: the numbers in the job's folder, or computed now."""
        key = Hasher.hash((rows._fingerprint, self._precompute_model_hash, pairs.tobytes()))
        file = self._reference_folder / f"{name}-{key}.npy"
        return kept(file, lambda: self._reference_logps(PairedRows(rows, pairs), prefix))

    def _reference_logps(self, rows: PairedRows, prefix: str) -> torch.Tensor:
        """Log-probabilities that the model gives the answers."""

        def measure(batch: Batch) -> torch.Tensor:
            logps: torch.Tensor = _forward(self.model, batch, prefix).log_probs.sum(dim=1)
            return logps

        return logps_of(self, rows, self.data_collator.of_pairs, measure, self._run_callback.check_in)

    def _get_num_items_in_batch(self, batch_samples: list[Batch], device: torch.device) -> torch.Tensor:
        """Number of rows of a step, over all passes and ranks."""
        return self._rows_of_step(batch_samples)

    @property
    def dealt_collator(self) -> Callable[[list[Any]], Batch]:
        return self.data_collator.preceded

    def _compute_kl_logps(self, model: Any, batch: Batch) -> torch.Tensor | None:
        """Log-probabilities that only the KL term is computed from, weighted by the rows of this rank."""
        logps = super()._compute_kl_logps(model, batch)
        return None if logps is None else logps * self._kl_weight

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | None = None,
    ) -> Any:
        assert num_items_in_batch is not None
        is_chosen, num_tokens = inputs["label"], inputs["completion_mask"][:, 1:].sum(dim=1)
        counts = (is_chosen.sum(), (~is_chosen).sum(), num_tokens[is_chosen].sum(), num_tokens.sum())
        with self._joining(inputs) as rows:
            num_rows = rows[self.args.process_index]
            # TRL takes the mean over the workers of their means, where the rows of a short batch count for more.
            self._kl_weight = num_rows * sum(map(bool, rows)) / sum(rows)
            if "ref_KL_logps" in inputs:
                inputs["ref_KL_logps"] = inputs["ref_KL_logps"] * self._kl_weight
            loss = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
            chosen, rejected, chosen_tokens, tokens = (self.accelerator.gather(each).sum().item() for each in counts)
        self._metrics["train"][NUM_ROWS].append(chosen + rejected)
        self._metrics["train"][NUM_ANSWER].append(tokens)
        # TRL appends the metrics of good answers only in passes that have one, and so for bad ones.
        if chosen:
            self._metrics["train"][NUM_CHOSEN].append(chosen)
            self._metrics["train"][NUM_CHOSEN_TOKENS].append(chosen_tokens)
        if rejected:
            self._metrics["train"][NUM_REJECTED].append(rejected)
            self._metrics["train"][NUM_REJECTED_TOKENS].append(tokens - chosen_tokens)
        return self._by_rows(loss, num_rows, num_items_in_batch)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        metrics = self._metrics["train"]
        if self.model.training and CHOSEN in metrics and REJECTED in metrics:
            # TRL notes no margin for a pass without a good or a bad answer, whose mean still counts.
            good, bad = (
                weighted_mean(metrics[name], metrics[self.metric_weights[name]]) for name in (CHOSEN, REJECTED)
            )
            metrics[MARGINS] = [good - bad]
        super().log(logs, start_time)

    def get_eval_dataloader(self, eval_dataset: Any = None) -> DataLoader[Any]:
        rows: Dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        args = self.args
        batches = RankBatches(len(rows), args.per_device_eval_batch_size, args.process_index, args.world_size)
        return eval_loader(PairedRows.by_index(rows), batches, self.data_collator.of_pairs)

    def evaluation_loop(
        self,
        dataloader: DataLoader[Any],
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Estimate the KL term over the whole eval dataset first, since the loss of every row depends on it."""
        if self._method.estimates_kl:
            self.model.eval()
            sums = MetricSums(("kl",), self.args.device)

            def after_pass() -> None:
                self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)

            sum_batches(dataloader, lambda batch: measure_kl(self.model, self._prepare_inputs(batch)), sums, after_pass)
            sums.add_other_ranks()
            self._eval_kl = max(0.0, sums.means()["kl"])
        output = super().evaluation_loop(dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        assert output.metrics is not None
        prefix = f"{metric_key_prefix}_"
        output.metrics[prefix + MARGINS] = output.metrics[prefix + CHOSEN] - output.metrics[prefix + REJECTED]
        return output

    def measure_batch(self, batch: Batch) -> BatchSums:
        return measure_batch(self.model, batch, self._method, self._eval_kl)


def make_trainer(inputs: TrainerInputs) -> ExactResume:
    """Make the trainer of prepared rated answers."""
    config = inputs.plan.config
    assert isinstance(config.method, KtoMethod)
    is_new_adapter = config.tuning == "lora" and not isinstance(inputs.model, PeftModel)
    args = KTOConfig(
        **inputs.training_arguments(),
        activation_checkpointing=config.training.gradient_checkpointing,
        max_length=config.method.max_length,
        beta=config.method.beta,
        loss_type=config.method.loss_type,
        desirable_weight=config.method.desirable_weight,
        undesirable_weight=config.method.undesirable_weight,
        precompute_ref_log_probs=not is_new_adapter,
        remove_unused_columns=False,
    )
    return KtoRunTrainer(
        inputs.model,
        args=args,
        data_collator=RatedCollator(inputs.tokenizer.pad_token_id, config.method.max_length),
        method=config.method,
        reference_folder=inputs.plan.job_folder / "reference",
        **inputs.trainer_options(),
    )


def measure_kl(model: Any, batch: Batch) -> BatchSums:
    """Sum of the log-ratios of answers that do not belong to their prompts."""
    logps = _forward(model, batch, KL).log_probs.sum(dim=1)
    ratios = logps - _reference_of(model, batch, KL)
    return {"kl": (ratios.double().sum(), torch.tensor(len(ratios), device=ratios.device))}


def measure_batch(model: Any, batch: Batch, method: KtoMethod, kl: float) -> BatchSums:
    """Sums over the rows of `batch`, over those with one label, or over its answer tokens."""
    is_chosen = batch["label"]
    outputs = _forward(model, batch, OWN)
    logps = outputs.log_probs.sum(dim=1)
    ratios = logps - _reference_of(model, batch, OWN)
    every = torch.ones_like(is_chosen)
    of_rows = {
        "loss": (row_losses(ratios, is_chosen, method, kl), every),
        "kl": (torch.full_like(ratios, kl, dtype=torch.float64), every),
        CHOSEN: (method.beta * ratios, is_chosen),
        REJECTED: (method.beta * ratios, ~is_chosen),
        "logps/chosen": (logps, is_chosen),
        "logps/rejected": (logps, ~is_chosen),
    }
    sums = {name: (values.double()[rows].sum(), rows.sum()) for name, (values, rows) in of_rows.items()}
    return sums | {"entropy": (outputs.entropy.double().sum(), outputs.label_mask.sum())}


def row_losses(ratios: torch.Tensor, is_chosen: torch.Tensor, method: KtoMethod, kl: float) -> torch.Tensor:
    """The weighted loss of each row, equal to that of `KTOTrainer`; without a KL term, `kl` is 0.

    Args:
        ratios: log-ratios of the answers to the reference.
        is_chosen: whether they are rated good.
    """
    signs = torch.where(is_chosen, 1.0, -1.0)
    weights = torch.where(is_chosen, method.desirable_weight, method.undesirable_weight)
    return weights * (1 - torch.sigmoid(method.beta * signs * (ratios - kl)))


def evaluate(
    model: PreTrainedModel | PeftModel,
    rows: Dataset,
    method: KtoMethod,
    *,
    pad_token_id: int,
    batch_size: int,
    after_pass: Callable[[], None],
) -> dict[str, float]:
    """Evaluate a loaded model by itself (`train.loop.evaluation.evaluate_alone`).

    `rows` have the log-probabilities of the reference, except where it is the base model below a new adapter.
    """
    collator = RatedCollator(pad_token_id, method.max_length)
    loader = eval_loader(PairedRows.by_index(rows), RankBatches(len(rows), batch_size), collator.of_pairs)

    def means(measure: Callable[[Batch], BatchSums], metrics: Sequence[str]) -> dict[str, float]:
        return evaluate_alone(model, loader, measure, metrics, after_pass)

    kl = max(0.0, means(lambda batch: measure_kl(model, batch), ("kl",))["kl"]) if method.estimates_kl else 0.0
    return means(lambda batch: measure_batch(model, batch, method, kl), EVAL_METRICS)


def _reference_of(model: Any, batch: Batch, prefix: str) -> torch.Tensor:
    """Log-probabilities of the reference: those in the batch, or of the base model below the adapter."""
    known = batch.get(f"ref_{prefix}logps")
    if known is not None:
        return torch.as_tensor(known)
    with model.disable_adapter() if isinstance(model, PeftModel) else nullcontext():
        return _forward(model, batch, prefix).log_probs.sum(dim=1)


def _forward(model: Any, batch: Batch, prefix: str) -> Any:
    """Outputs of the model for the texts of a batch; the places outside the answers are not labelled."""
    ids = batch[f"{prefix}input_ids"]
    labels = ids.masked_fill(batch[f"{prefix}completion_mask"] == 0, IGNORE)
    mask = batch[f"{prefix}attention_mask"]
    return model(input_ids=ids, attention_mask=mask, labels=labels, use_cache=False, fused_lm_head=True)
