"""Supervised fine-tuning, over TRL's `SFTTrainer`."""

from typing import Any

from trl import SFTConfig, SFTTrainer

from train.loop.exact_resume import ExactResume
from train.methods.collator import NUM_TOKENS, RowCollator, refuse_contamination
from train.methods.trainer_inputs import TrainerInputs


class SftRunTrainer(ExactResume, SFTTrainer):
    """TRL's trainer with an exact resume. It counts the tokens of packed rows itself."""

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **options: Any) -> Any:
        num_tokens = inputs.pop(NUM_TOKENS, None)
        counted = self._total_train_tokens
        loss = super().compute_loss(model, inputs, *args, **options)
        if num_tokens is not None and self.model.training:
            # TRL would count the places of the longest row of a packed batch.
            self._total_train_tokens = counted + self.accelerator.gather_for_metrics(num_tokens).sum().item()
            self._metrics["train"]["num_tokens"] = [self._total_train_tokens]
        return loss


def make_trainer(inputs: TrainerInputs) -> ExactResume:
    """Make the trainer of prepared rows.

    Raises `InvalidRequestError` (`packing_unsupported`) for packed rows that the model cannot keep apart.
    """
    config = inputs.plan.config
    is_packed = config.method.packing
    collator = RowCollator.for_model(inputs.model, inputs.tokenizer.pad_token_id) if is_packed else None
    args = SFTConfig(
        **inputs.training_arguments(),
        activation_checkpointing=config.training.gradient_checkpointing,
        max_length=config.method.max_length,
        dataset_kwargs={"skip_prepare_dataset": True},
    )
    trainer = SftRunTrainer(inputs.model, args=args, data_collator=collator, **inputs.trainer_options())
    if collator is not None:
        refuse_contamination(trainer.model, collator)
    return trainer
