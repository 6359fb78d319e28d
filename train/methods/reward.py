"""Reward models, over TRL's `RewardTrainer`: a head that gives one number for a text, trained on pairs of answers."""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from datasets import Dataset
from peft import PeftModel
from torch.nn.functional import logsigmoid
from transformers import PreTrainedModel
from trl import RewardConfig, RewardTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference

from ftlab.schemas.methods import RewardMethod
from train.loop.dealt_rows import DealtRows
from train.loop.evaluation import Batch, BatchSums, Extreme, MetricSums, RankBatches, eval_loader, measure_all
from train.loop.exact_resume import ExactResume
from train.methods.trainer_inputs import TrainerInputs

PAIR_MEANS = ("mean_reward", "accuracy", "margin")
"""Metrics of TRL that are means over pairs; the mean reward is that of both answers."""
EXTREMES: dict[str, Extreme] = {"min_reward": "min", "max_reward": "max"}
EVAL_METRICS = ("loss", *PAIR_MEANS, *EXTREMES)
NUM_PAIRS = "num_pairs"
"""Key in TRL's metrics: the pairs of each pass since the last logged step, over all ranks."""


class RewardRunTrainer(DealtRows, RewardTrainer):
    """TRL's trainer with an exact resume, on prepared rows, with metrics that are means over pairs."""

    eval_metrics = EVAL_METRICS
    texts_per_row: ClassVar[int] = 2
    metric_weights: ClassVar[dict[str, str]] = dict.fromkeys(PAIR_MEANS, NUM_PAIRS)
    metric_extremes: ClassVar[dict[str, Extreme]] = EXTREMES

    def __init__(self, *args: Any, method: RewardMethod, **options: Any) -> None:
        self._method = method
        super().__init__(*args, **options)
        # A step's loss is the mean over its pairs. TRL's is the mean over passes and ranks, where the pairs of a short
        # one count for more.
        self.loss_is_scaled_for_ga = True

    def _prepare_dataset(self, dataset: Dataset, *_: Any) -> Dataset:
        """The rows as they are: they have their tokens, and are cut to `max_length`, where TRL would drop them."""
        return dataset

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
        metrics = self._metrics["train"]
        with self._joining(inputs) as pairs:
            loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
            chosen, rejected = outputs.logits.detach().squeeze(-1).chunk(2)
            # TRL notes the mean over the workers of their means, where the pairs of a short batch count for more.
            metrics["accuracy"][-1] = self.accelerator.gather((chosen > rejected).float()).mean().item()
            metrics["margin"][-1] = self.accelerator.gather(chosen - rejected).mean().item()
        metrics[NUM_PAIRS].append(sum(pairs))
        return self._by_rows(loss, pairs[self.args.process_index], num_items_in_batch)

    def measure_batch(self, batch: Batch) -> BatchSums:
        return measure_batch(self.model, batch, self._method)


def make_trainer(inputs: TrainerInputs) -> ExactResume:
    """Make the trainer of prepared pairs."""
    config = inputs.plan.config
    assert isinstance(config.method, RewardMethod)
    args = RewardConfig(
        **inputs.training_arguments(),
        activation_checkpointing=config.training.gradient_checkpointing,
        max_length=config.method.max_length,
        center_rewards_coefficient=config.method.center_rewards_coefficient,
        remove_unused_columns=False,
    )
    return RewardRunTrainer(
        inputs.model,
        args=args,
        data_collator=DataCollatorForPreference(inputs.tokenizer.pad_token_id),
        method=config.method,
        **inputs.trainer_options(),
    )


def measure_batch(model: Any, batch: Batch, method: RewardMethod) -> BatchSums:
    """Sums over the pairs of `batch`, and the lowest and the highest of their rewards."""
    rewards = model(**batch, use_cache=False).logits.squeeze(-1).float()
    chosen, rejected = rewards.chunk(2)
    rows = {
        "loss": pair_losses(rewards, method),
        "mean_reward": (chosen + rejected) / 2,
        "accuracy": chosen > rejected,
        "margin": chosen - rejected,
    }
    num_pairs = torch.tensor(len(chosen), device=rewards.device)
    sums = {name: (values.double().sum(), num_pairs) for name, values in rows.items()}
    return sums | {"min_reward": (rewards.min(), num_pairs), "max_reward": (rewards.max(), num_pairs)}


def pair_losses(rewards: torch.Tensor, method: RewardMethod) -> torch.Tensor:
    """The loss of each pair, equal to that of `RewardTrainer`: of Bradley and Terry, and the term that centres.

    `rewards` are those of all chosen answers, then of all rejected ones.
    """
    chosen, rejected = rewards.chunk(2)
    losses = -logsigmoid(chosen - rejected)
    if method.center_rewards_coefficient is None:
        return losses
    return losses + method.center_rewards_coefficient * (chosen + rejected) ** 2


def evaluate(
    model: PreTrainedModel | PeftModel,
    rows: Dataset,
    method: RewardMethod,
    *,
    pad_token_id: int,
    batch_size: int,
    after_pass: Callable[[], None],
) -> dict[str, float]:
    """Evaluate a loaded model by itself, with the batches and the sums of an evaluation during training."""
    if isinstance(model, PeftModel):
        # The config of the base model, which may name no padding token or another one.
        model.config.get_text_config().pad_token_id = pad_token_id
    loader = eval_loader(rows, RankBatches(len(rows), batch_size), DataCollatorForPreference(pad_token_id))
    sums = MetricSums(EVAL_METRICS, model.device, EXTREMES)
    measure_all(model, loader, lambda batch: measure_batch(model, batch, method), sums, after_pass)
    return sums.means()
