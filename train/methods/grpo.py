"""Reinforcement learning with verifiable rewards, over TRL's `GRPOTrainer`.

The model in training generates the answers itself, with transformers. The reference of the KL divergence is the model
with its adapter switched off: no second model is ever in memory. Answers that are trained for several steps are part of
a checkpoint between those steps.

An evaluation generates one answer to each prompt, with random numbers that follow from the seed of the job and the
prompt alone: whatever shares its batch, the answer is the same, up to rounding. Its `loss` is the negative mean reward,
so that the checkpoint with the lowest eval loss is the one with the highest reward.
"""

from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import torch
from peft import PeftModel
from trl import GRPOConfig, GRPOTrainer

from ftlab.errors import InvalidRequestError
from ftlab.schemas.events import RunPart
from ftlab.schemas.methods import GrpoMethod
from train.loop.evaluation import Batch, BatchSums, Extreme
from train.loop.exact_resume import ExactResume
from train.methods.trainer_inputs import TrainerInputs
from train.model.generation import READS_PADDING, RowDraws, row_seed
from train.model.preflight import check_divergence_of_adapter
from train.rewards import FileReward, RewardFunction, reward_functions
from train.row_order import GenerationSampler

NUM_ANSWER, NUM_ENDED = "num_answer_tokens", "num_ended_answers"
"""Keys in TRL's metrics, over all ranks: the answer tokens of each pass since the last logged step, and the answers of
each generation that were not cut off."""
CLIPPED = "completions/clipped_ratio"
OF_ENDED = (
    "completions/mean_terminated_length",
    "completions/min_terminated_length",
    "completions/max_terminated_length",
)
"""Lengths of the answers that were not cut off. TRL notes 0 for a generation without one."""


class GrpoRunTrainer(ExactResume, GRPOTrainer):
    """TRL's trainer with an exact resume, on prepared prompts, with metrics that are means over tokens or answers."""

    metric_weights: ClassVar[dict[str, str]] = {
        "entropy": NUM_ANSWER,
        "kl": NUM_ANSWER,
        "clip_ratio/low_mean": NUM_ANSWER,
        "clip_ratio/high_mean": NUM_ANSWER,
        "clip_ratio/region_mean": NUM_ANSWER,
        OF_ENDED[0]: NUM_ENDED,
    }
    metric_extremes: ClassVar[dict[str, Extreme]] = {
        "clip_ratio/low_min": "min",
        "clip_ratio/high_max": "max",
        "completions/min_length": "min",
        "completions/max_length": "max",
        OF_ENDED[1]: "min",
        OF_ENDED[2]: "max",
    }
    preparation: ClassVar[RunPart | None] = RunPart.GENERATION

    def __init__(self, *args: Any, rewards: list[RewardFunction | FileReward], **options: Any) -> None:
        names = (f"rewards/{reward.__name__}/mean" for reward in rewards)
        self.eval_metrics = ("loss", "reward", *names, "completions/mean_length", "completions/clipped_ratio")
        super().__init__(*args, reward_funcs=list(rewards), **options)
        for reward in rewards:
            if isinstance(reward, RewardFunction):
                reward.ends_with({*self.eos_token_ids, self.processing_class.pad_token_id})

    def _get_train_sampler(self, train_dataset: Any = None) -> GenerationSampler:
        return GenerationSampler(self._schedule, self._segment, self.args.seed)

    def _init_training_state(self, *args: Any) -> tuple[int, int]:
        state = super()._init_training_state(*args)
        steps = self.state.global_step - self._schedule.start_step
        self._step = steps * self.args.gradient_accumulation_steps
        if steps % self.num_iterations:
            assert self._resume_from is not None
            file = _answers_file(self._resume_from, self.args.process_index)
            self._buffered_inputs = torch.load(file, map_location=self.args.device, weights_only=True)
        return state

    def _try_longest_rows(self, model: Any) -> None:
        """Nothing: the rows have no answers before they are generated."""

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        steps = self.state.global_step - self._schedule.start_step
        if steps % self.num_iterations:
            torch.save(self._buffered_inputs, _answers_file(Path(output_dir), self.args.process_index))

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """The inputs of a pass. Those of an evaluation remain the rows, which `measure_batch` answers."""
        return super()._prepare_inputs(generation_batch) if self.model.training else generation_batch

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [{"prompt": row["prompt_ids"], "reference": row["reference"]} for row in inputs]
        answers: dict[str, Any] = super()._generate_and_score_completions(rows)
        self._note_ended(len(rows) * self.args.world_size)
        return answers

    def _note_ended(self, num_answers: int) -> None:
        """Count the answers of a generation that were not cut off; without one, they have no length."""
        metrics = self._metrics["train"]
        if num_ended := round((1 - metrics[CLIPPED][-1]) * num_answers):
            metrics[NUM_ENDED].append(num_ended)
            return
        for name in OF_ENDED:
            metrics[name].pop()
            if not metrics[name]:
                del metrics[name]

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Any:
        loss = super()._compute_loss(model, inputs)
        num_tokens = self.accelerator.gather(inputs["completion_mask"].sum()).sum().item()
        self._metrics["train"][NUM_ANSWER].append(num_tokens)
        return loss

    def _get_per_token_logps_and_entropies(self, model: Any, *args: Any, **options: Any) -> Any:
        # TRL names no positions: a model with absolute ones, such as GPT-2, would count the padding before a prompt.
        base = self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model
        if "position_ids" not in signature(base.forward).parameters:
            return super()._get_per_token_logps_and_entropies(model, *args, **options)
        hook = self.model.register_forward_pre_hook(_without_padding, with_kwargs=True)
        try:
            return super()._get_per_token_logps_and_entropies(model, *args, **options)
        finally:
            hook.remove()

    def _tokenize_prompts(self, prompts: list[list[int]]) -> tuple[list[list[int]], None, dict[str, Any]]:
        return prompts, None, {}

    def _generate_single_turn(self, *args: Any, **options: Any) -> Any:
        # Every token is a sign of life: a step may generate for longer than a hung one is waited for.
        hook = self.model.get_input_embeddings().register_forward_pre_hook(lambda *_: self._run_callback.beat())
        try:
            return super()._generate_single_turn(*args, **options)
        finally:
            hook.remove()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        # The time of a step is a series of its own, and no part of what a resume repeats.
        metrics = self._metrics["train"]
        metrics.pop("step_time", None)
        if self.model.training:
            # TRL counts them only at a step that generates.
            metrics["num_tokens"] = [self.state.num_input_tokens_seen]
        super().log(logs, start_time)

    def measure_batch(self, batch: Any) -> BatchSums:
        """Sums over one generated answer to each row of `batch`."""
        prompts = [row["prompt_ids"] for row in batch]
        with RowDraws([row_seed(self.args.seed, prompt) for prompt in prompts]):
            answers, _ = self._generate_single_turn(prompts, None, {}, 1)
        texts = self.processing_class.batch_decode(answers, skip_special_tokens=True)
        references = [row["reference"] for row in batch]
        scores = torch.tensor(
            [reward(completions=texts, completion_ids=answers, reference=references) for reward in self.reward_funcs],
            dtype=torch.float64,
        )
        ends = {*self.eos_token_ids, self.processing_class.pad_token_id}
        totals = self.reward_weights.double().cpu() @ scores
        values: Batch = {
            "loss": -totals,
            "reward": totals,
            **{f"rewards/{name}/mean": row for name, row in zip(self.reward_func_names, scores, strict=True)},
            "completions/mean_length": torch.tensor([len(ids) for ids in answers]),
            "completions/clipped_ratio": torch.tensor([ids[-1] not in ends for ids in answers]),
        }
        num_rows = torch.tensor(len(batch), device=self.args.device)
        return {name: (value.double().sum().to(self.args.device), num_rows) for name, value in values.items()}


def make_trainer(inputs: TrainerInputs) -> ExactResume:
    """Make the trainer of prepared prompts.

    Raises `InvalidRequestError`: `invalid_config` for a KL divergence of an adapter that is trained further,
    `unsupported_model` for a model that reads padding as text.
    """
    config = inputs.plan.config
    method = config.method
    assert isinstance(method, GrpoMethod)
    if isinstance(inputs.model, PeftModel):
        check_divergence_of_adapter(config)
    if (model_type := inputs.model.config.model_type) in READS_PADDING:
        raise InvalidRequestError(
            f"grpo pads prompts, and this model ({model_type}) reads the padding as text. Choose another base model.",
            "unsupported_model",
            "model",
        )
    args = GRPOConfig(
        **inputs.training_arguments(),
        activation_checkpointing=config.training.gradient_checkpointing,
        max_completion_length=method.max_completion_length,
        num_generations=method.num_generations,
        num_generations_eval=1,
        num_iterations=method.num_iterations,
        temperature=method.temperature,
        top_p=method.top_p,
        top_k=method.top_k,
        beta=method.beta,
        epsilon=method.epsilon,
        loss_type=method.loss_type,
        scale_rewards=method.scale_rewards,
        reward_weights=[reward.weight for reward in method.rewards],
        disable_dropout=True,
        remove_unused_columns=False,
    )
    return GrpoRunTrainer(inputs.model, args=args, rewards=reward_functions(method), **inputs.trainer_options())


def _without_padding(_: torch.nn.Module, args: Any, inputs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Add the position of each token in its own row to the inputs of a model, as in the generation of answers."""
    positions = inputs["attention_mask"].cumsum(dim=1) - 1
    return args, inputs | {"position_ids": positions.clamp(min=0)}


def _answers_file(folder: Path, rank: int) -> Path:
    return folder / f"answers_{rank}.pt"
