"""Supervised fine-tuning, over TRL's `SFTTrainer`."""

from collections.abc import Callable
from typing import Any, ClassVar

from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from ftlab.schemas import Method, SftMethod
from train.data.tokens.encode import IGNORE
from train.loop.dealt_rows import DealtRows
from train.loop.evaluation import Batch, BatchSums, RankBatches, eval_loader, evaluate_alone
from train.loop.exact_resume import ExactResume
from train.loop.label_smoothing import LabelSmoothing
from train.methods.collator import NUM_TOKENS, RowCollator, refuse_contamination
from train.methods.trainer_inputs import TrainerInputs

TOKEN_MEANS = ("entropy", "mean_token_accuracy")
"""Metrics of TRL that are means over the trained tokens of a pass."""
EVAL_METRICS = ("loss", *TOKEN_MEANS)
NUM_TRAINED_TOKENS = "num_trained_tokens"
"""Key in TRL's metrics: the trained tokens of each pass since the last logged step, over all ranks."""


class SftRunTrainer(DealtRows, SFTTrainer):
    """TRL's trainer with an exact resume and metrics that are means over tokens. It counts packed tokens itself."""

    eval_metrics = EVAL_METRICS
    metric_weights: ClassVar[dict[str, str]] = dict.fromkeys(TOKEN_MEANS, NUM_TRAINED_TOKENS)
    data_collator: RowCollator

    def __init__(self, *args: Any, label_smoothing_factor: float = 0.0, **options: Any) -> None:
        super().__init__(*args, **options)
        # TRL would compute it from the logits of the whole vocabulary, with another forward pass in each step.
        self._smoothing = LabelSmoothing(self.model, label_smoothing_factor) if label_smoothing_factor else None
        # TRL computes the loss itself, from log-probabilities, shifted labels and the number of trained tokens in the
        # whole step. Transformers decides by the model's own loss whether and how to count them: without a number
        # (Gemma 4), or with the first token of a row (GPT-2), the loss would not be the mean over the trained tokens.
        self.model_accepts_loss_kwargs = True
        self._loss_shifts_labels = True

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        num_tokens = inputs.pop(NUM_TOKENS)
        labels = inputs["labels"]
        num_trained = (labels[..., 1:] != IGNORE).sum()
        counted = self._total_train_tokens
        loss = super().compute_loss(model, inputs, *args, **options)
        if self._smoothing is not None:
            # The gradients of the ranks are averaged, and the number of tokens is that of all ranks.
            loss = loss + self._smoothing.excess(labels) * (self.args.world_size / options["num_items_in_batch"])
        metrics = self._metrics["train"]
        metrics[NUM_TRAINED_TOKENS].append(self.accelerator.gather(num_trained).sum().item())
        # TRL would count the places of the longest row of a packed batch.
        self._total_train_tokens = counted + self.accelerator.gather(num_tokens).sum().item()
        metrics["num_tokens"] = [self._total_train_tokens]
        return loss

    def stand_in(self) -> Batch:
        return self.data_collator.without_rows(self.train_dataset[0])

    def measure_batch(self, batch: Batch) -> BatchSums:
        return measure_batch(self.model, batch)


def make_trainer(inputs: TrainerInputs) -> ExactResume:
    """Make the trainer of prepared rows.

    Raises `InvalidRequestError` (`packing_unsupported`) for packed rows that the model cannot keep apart.
    """
    config = inputs.plan.config
    assert isinstance(config.method, SftMethod)
    collator = RowCollator.for_model(inputs.model, inputs.tokenizer.pad_token_id)
    args = SFTConfig(
        **inputs.training_arguments(),
        activation_checkpointing=config.training.gradient_checkpointing,
        max_length=config.method.max_length,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    smoothed = {"label_smoothing_factor": config.method.label_smoothing_factor}
    trainer = SftRunTrainer(inputs.model, args=args, data_collator=collator, **smoothed, **inputs.trainer_options())
    if config.method.packing:
        refuse_contamination(trainer.model, collator)
    return trainer


def measure_batch(model: Any, batch: Batch) -> BatchSums:
    """Sums over the trained tokens of `batch`; the loss is that of the words alone, without a router's extra loss."""
    del batch[NUM_TOKENS]
    outputs = model(**batch, use_cache=False, fused_lm_head=True)
    num_trained = outputs.label_mask.sum()
    sums = {"loss": -outputs.log_probs, "entropy": outputs.entropy, "mean_token_accuracy": outputs.is_top1}
    return {name: (values.double().sum(), num_trained) for name, values in sums.items()}


def measure_rows(model: Any, batch: Batch) -> list[tuple[float, int]]:
    """For each row of `batch`, the sum of the loss over its trained tokens, and their number."""
    del batch[NUM_TOKENS]
    outputs = model(**batch, use_cache=False, fused_lm_head=True)
    losses: list[float] = (-outputs.log_probs).double().sum(dim=1).tolist()
    counts: list[int] = outputs.label_mask.sum(dim=1).tolist()
    return list(zip(losses, counts, strict=True))


def evaluate(
    model: PreTrainedModel | PeftModel,
    rows: Dataset,
    _: Method,
    *,
    pad_token_id: int,
    batch_size: int,
    after_pass: Callable[[], None],
) -> dict[str, float]:
    """Evaluate a loaded model by itself (`train.loop.evaluation.evaluate_alone`)."""
    collator = RowCollator.for_model(model, pad_token_id)
    loader = eval_loader(rows, RankBatches(len(rows), batch_size), collator)
    return evaluate_alone(model, loader, lambda batch: measure_batch(model, batch), EVAL_METRICS, after_pass)
