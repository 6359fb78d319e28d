"""What `ExactResume` overrides or calls of transformers, accelerate and TRL, compared with the installed versions.

Any of them may change without notice. A failing test names what to look at, before any run computes other numbers.
"""

import ast
import inspect
import re
import textwrap
from dataclasses import fields
from typing import Any, get_args

import pytest
import torch
from accelerate import Accelerator
from accelerate.data_loader import DataLoaderShard
from peft.utils.constants import SEQ_CLS_HEAD_NAMES
from transformers import Trainer, TrainerState
from trl import DPOTrainer, GRPOTrainer, KTOTrainer, RewardTrainer, SFTTrainer
from trl.trainer.reward_trainer import DataCollatorForPreference
from trl.trainer.utils import FusedCausalLMOutput, add_fused_lm_head

from train.loop.dealt_rows import DealtRows
from train.loop.exact_resume import ExactResume
from train.loop.sharded_training import ShardedTraining
from train.methods.dpo import DpoRunTrainer
from train.methods.grpo import NUM_ANSWER, OF_ENDED, GrpoRunTrainer
from train.methods.kto import MARGINS, KtoRunTrainer
from train.methods.reward import RewardRunTrainer
from train.methods.sft import TOKEN_MEANS, SftRunTrainer
from train.model.reward_head import PEFT_HEADS

TRL_TRAINERS: list[type[Trainer]] = [SFTTrainer, DPOTrainer, KTOTrainer, RewardTrainer, GRPOTrainer]

OVERRIDDEN = {
    "get_train_dataloader": "(self)",
    "get_batch_samples": "(self, epoch_iterator, num_batches, device)",
    "get_eval_dataloader": "(self, eval_dataset=None)",
    "evaluation_loop": "(self, dataloader, description, prediction_loss_only=None, ignore_keys=None, "
    "metric_key_prefix='eval')",
    "set_initial_training_values": "(self, args, dataloader)",
    "create_scheduler": "(self, num_training_steps, optimizer=None)",
    "_load_optimizer_and_scheduler": "(self, checkpoint)",
    "_get_train_sampler": "(self, train_dataset=None)",
    "_init_training_state": "(self, max_steps, num_update_steps_per_epoch, num_train_epochs, resume_from_checkpoint, "
    "trial)",
    "_run_epoch": "(self, model, epoch, train_dataloader, steps_in_epoch, num_update_steps_per_epoch, trial, "
    "ignore_keys_for_eval, start_time, resume_from_checkpoint, epochs_trained, steps_trained_in_current_epoch)",
    "training_step": "(self, model, inputs, num_items_in_batch=None)",
    "compute_loss_context_manager": "(self)",
    "log": "(self, logs, start_time=None)",
    "_maybe_log_save_evaluate": "(self, tr_loss, grad_norm, model, trial, epoch, ignore_keys_for_eval, start_time, "
    "learning_rate=None)",
    "_evaluate": "(self, trial, ignore_keys_for_eval, skip_scheduler=False)",
    "_save_checkpoint": "(self, model, trial)",
    "create_model_card": "(self, language=None, license=None, tags=None, model_name=None, finetuned_from=None, "
    "tasks=None, dataset_tags=None, dataset=None, dataset_args=None)",
    "_save": "(self, output_dir=None, state_dict=None)",
    "_load_from_checkpoint": "(self, resume_from_checkpoint, model=None)",
    "_save_rng_state": "(self, output_dir)",
    "_load_rng_state": "(self, checkpoint)",
    "_move_model_to_device": "(self, model, device)",
    "_prepare_for_training": "(self, max_steps, train_dataloader, resume_from_checkpoint)",
    "_save_optimizer_and_scheduler": "(self, output_dir)",
    "_defer_fsdp_gradient_reduction": "(self)",
}
"""Methods of `Trainer` by their names, with their parameters."""
RETURNED_VALUES = {"set_initial_training_values": 7, "_init_training_state": 2}
OTHER_NAMES = {
    (GRPOTrainer, "_get_train_sampler"): "(self, dataset=None)",
    (GRPOTrainer, "training_step"): "(self, model, inputs, num_items_in_batch)",
    **{(trainer, "training_step"): "(self, *args, **kwargs)" for trainer in TRL_TRAINERS if trainer is not GRPOTrainer},
    **{
        (trainer, "create_model_card"): "(self, model_name=None, dataset_name=None, tags=None)"
        for trainer in TRL_TRAINERS
    },
}
"""Where a trainer of TRL names a parameter differently. Transformers passes it by position."""
PASSED_BY_NAME = {"epoch", "train_dataloader", "steps_in_epoch", "num_update_steps_per_epoch"}
"""Arguments of `_run_epoch` that are read or replaced by their names."""
ADVICE = "Adapt train/loop/exact_resume.py, dealt_rows.py or sharded_training.py, then this list."
GRPO_SEAMS = {
    "_prepare_inputs": "(self, generation_batch)",
    "_generate_and_score_completions": "(self, inputs)",
    "_tokenize_prompts": "(self, prompts)",
    "_generate_single_turn": "(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False)",
    "_compute_loss": "(self, model, inputs)",
    "_get_per_token_logps_and_entropies": "(self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, "
    "compute_entropy=False, compute_aux_loss=False, pixel_values=None, image_grid_thw=None, num_images=None, "
    "pixel_attention_mask=None, spatial_shapes=None, num_tiles=None, image_sizes=None, token_type_ids=None, "
    "mm_token_type_ids=None, image_position_ids=None)",
}
"""Methods of `GRPOTrainer` that `GrpoRunTrainer` overrides or calls."""
SFT_ADVICE = "Adapt train/methods/sft.py, then this test."


def tree_of(source: Any) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(source)))


def parameters_of(function: Any) -> str:
    signature = inspect.signature(function)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def check_method(cls: type, name: str, expected: str) -> None:
    assert hasattr(cls, name), f"{cls.__name__}.{name} is gone. {ADVICE}"
    found = parameters_of(getattr(cls, name))
    assert found == expected, f"{cls.__name__}.{name} takes {found}, and no longer {expected}. {ADVICE}"


def assigned_attributes(cls: type) -> set[str]:
    """Names that the methods of `cls` itself assign on `self`."""
    targets = (
        node for node in ast.walk(tree_of(cls)) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    )
    return {node.attr for node in targets if isinstance(node.value, ast.Name) and node.value.id == "self"}


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_transformers_has_every_overridden_method(name: str) -> None:
    check_method(Trainer, name, OVERRIDDEN[name])


@pytest.mark.parametrize(("name", "num_values"), RETURNED_VALUES.items())
def test_transformers_returns_as_many_values(name: str, num_values: int) -> None:
    found = len(get_args(inspect.signature(getattr(Trainer, name)).return_annotation))
    assert found == num_values, f"Trainer.{name} returns {found} values, and no longer {num_values}. {ADVICE}"


@pytest.mark.parametrize("trainer", TRL_TRAINERS)
@pytest.mark.parametrize("name", OVERRIDDEN)
def test_every_trainer_of_trl_has_every_overridden_method(trainer: type[Trainer], name: str) -> None:
    check_method(trainer, name, OTHER_NAMES.get((trainer, name), OVERRIDDEN[name]))


def test_the_list_names_every_override() -> None:
    ours = vars(ExactResume) | vars(DealtRows) | vars(ShardedTraining)
    overrides = {name for name in ours if name != "__init__" and hasattr(Trainer, name)}
    assert overrides - {"__doc__", "__module__", "__annotations__"} == set(OVERRIDDEN)


def test_a_model_that_owns_its_placement_is_not_wrapped() -> None:
    """`ShardedTraining` sets the attribute before this method of transformers runs."""
    read = {node.attr for node in ast.walk(tree_of(Trainer._prepare_for_training)) if isinstance(node, ast.Attribute)}
    assert "is_distributed_loading_by_transformers" in read, f"The seam is gone. {ADVICE}"


def test_the_training_loop_passes_what_a_segment_replaces_by_name() -> None:
    [call] = [
        node
        for node in ast.walk(tree_of(Trainer._inner_training_loop))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "_run_epoch"
    ]
    by_name = {keyword.arg for keyword in call.keywords}
    assert not call.args, f"Trainer calls _run_epoch with arguments by position. {ADVICE}"
    assert by_name >= PASSED_BY_NAME, f"Trainer no longer passes {PASSED_BY_NAME - by_name} to _run_epoch. {ADVICE}"


@pytest.mark.parametrize("name", ["_tr_loss", "_globalstep_last_logged", "optimizer", "lr_scheduler", "model_wrapped"])
def test_transformers_keeps_its_state_where_it_is_saved_from(name: str) -> None:
    assert name in assigned_attributes(Trainer), f"Trainer no longer sets {name}. {ADVICE}"


@pytest.mark.parametrize("trainer", TRL_TRAINERS)
@pytest.mark.parametrize("name", ["_metrics", "_total_train_tokens"])
def test_every_trainer_of_trl_keeps_its_state_where_it_is_saved_from(trainer: type[Trainer], name: str) -> None:
    assert name in assigned_attributes(trainer), f"{trainer.__name__} no longer sets {name}. {ADVICE}"


@pytest.mark.parametrize("trainer", TRL_TRAINERS)
def test_no_trainer_uses_an_attribute_of_the_mixin(trainer: type[Trainer]) -> None:
    ours = assigned_attributes(ExactResume) - assigned_attributes(Trainer) - {"_metrics", "_total_train_tokens"}
    taken = ours & set.union(*(assigned_attributes(cls) | set(vars(cls)) for cls in trainer.__mro__[:-1]))
    assert ours
    assert not taken, f"{trainer.__name__} has attributes of its own named {taken}; rename those of ExactResume."


@pytest.mark.parametrize("trainer", TRL_TRAINERS)
def test_the_mixin_comes_before_any_trainer_of_trl_and_takes_its_arguments(trainer: type[Trainer]) -> None:
    combined = type("Combined", (ExactResume, trainer), {})
    assert combined.__mro__.index(ExactResume) < combined.__mro__.index(trainer) < combined.__mro__.index(Trainer)
    needed = {"model", "args", "train_dataset", "eval_dataset", "processing_class", "callbacks", "peft_config"}
    missing = needed - inspect.signature(trainer.__init__).parameters.keys()
    assert not missing, f"{trainer.__name__} no longer takes {missing}. Adapt train/methods/trainer_inputs.py."


@pytest.mark.parametrize("trainer", TRL_TRAINERS)
def test_an_evaluation_of_any_trainer_runs_through_the_loop_of_the_mixin(trainer: type[Trainer]) -> None:
    called = {node.attr for node in ast.walk(tree_of(Trainer.evaluate)) if isinstance(node, ast.Attribute)}
    assert called >= {"get_eval_dataloader", "evaluation_loop", "log"}, f"Trainer.evaluate works otherwise. {ADVICE}"
    assert trainer.evaluation_loop is Trainer.evaluation_loop, f"{trainer.__name__} has a loop of its own. {ADVICE}"
    taken = {"measure_batch", "eval_metrics"} & set(dir(trainer))
    assert not taken, f"{trainer.__name__} has attributes of its own named {taken}; rename those of ExactResume."


def test_what_is_called_elsewhere_is_there() -> None:
    scheduler = torch.optim.lr_scheduler.LambdaLR(torch.optim.SGD([torch.zeros(1)], lr=1.0), lambda step: 1.0)
    for name in ("lr_lambdas", "base_lrs", "_last_lr", "last_epoch"):
        assert hasattr(scheduler, name), f"LambdaLR.{name} is gone. {ADVICE}"
    loader = DataLoaderShard([0])
    assert hasattr(loader, "_drop_last"), f"DataLoaderShard._drop_last is gone. {ADVICE}"
    check_method(TrainerState, "compute_steps", "(self, args, max_steps)")
    check_method(Trainer, "remove_callback", "(self, callback)")


@pytest.mark.parametrize("trainer", TRL_TRAINERS)
def test_the_rows_of_workers_are_counted_under_names_of_our_own(trainer: type[Trainer]) -> None:
    ours = {name for name in vars(DealtRows) if not name.startswith("__")} - OVERRIDDEN.keys()
    taken = ours & set(dir(trainer))
    assert "_joining" in ours
    assert not taken, f"{trainer.__name__} has attributes of its own named {taken}; rename those of DealtRows."


def test_accelerate_gathers_metrics_by_the_method_that_is_replaced() -> None:
    """Batches that accelerate did not deal are never cut to the length of a dataset."""
    source = inspect.getsource(Accelerator.gather_for_metrics)
    assert "data = self.gather(input_data)" in source, f"Accelerate gathers metrics otherwise. {ADVICE}"
    assert "if self.gradient_state.end_of_dataloader:" in source, f"Accelerate cuts metrics otherwise. {ADVICE}"


def test_the_sft_trainer_counts_tokens_in_the_loss() -> None:
    check_method(SFTTrainer, "compute_loss", "(self, model, inputs, return_outputs=False, num_items_in_batch=None)")
    assert SftRunTrainer.__mro__[1:5] == (DealtRows, ExactResume, ShardedTraining, SFTTrainer)


def test_the_sft_trainer_notes_one_mean_a_pass_and_averages_them_when_it_logs() -> None:
    appended = [
        node.func.value.slice.value
        for node in ast.walk(tree_of(SFTTrainer.compute_loss))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "append"
        and isinstance(node.func.value, ast.Subscript)
        and isinstance(node.func.value.slice, ast.Constant)
    ]
    assert sorted(appended) == ["aux_loss", *TOKEN_MEANS], f"SFTTrainer.compute_loss notes {appended}. {SFT_ADVICE}"
    for name in ("model_accepts_loss_kwargs", "_loss_shifts_labels"):
        assert name in assigned_attributes(Trainer), f"Trainer no longer sets {name}. {SFT_ADVICE}"


def test_the_dpo_trainer_has_what_its_run_overrides() -> None:
    check_method(Trainer, "_get_num_items_in_batch", "(self, batch_samples, device)")
    check_method(DPOTrainer, "compute_loss", "(self, model, inputs, return_outputs=False, num_items_in_batch=None)")
    check_method(DPOTrainer, "_prepare_dataset", "(self, dataset, processing_class, args, dataset_name)")
    check_method(DPOTrainer, "_precompute_ref_logps", "(self, dataset, name, batch_size)")
    assert hasattr(Trainer, "loss_is_scaled_for_ga"), "Adapt train/methods/dpo.py."
    missing = {"_precompute_model_hash", "precompute_ref_logps"} - assigned_attributes(DPOTrainer)
    assert not missing, "Adapt train/methods/dpo.py."


def test_the_dpo_trainer_notes_the_means_that_are_weighted_when_it_logs() -> None:
    source = inspect.getsource(DPOTrainer._compute_loss)
    noted = set(re.findall(r'_metrics\[mode\]\["([^"]+)"\]\.append', source)) - {"aux_loss"}
    assert noted == set(DpoRunTrainer.metric_weights), "Adapt train/methods/dpo.py, then this test."


def test_the_kto_trainer_has_what_its_run_overrides() -> None:
    check_method(KTOTrainer, "compute_loss", "(self, model, inputs, return_outputs=False, num_items_in_batch=None)")
    check_method(KTOTrainer, "_prepare_dataset", "(self, dataset, processing_class, args, dataset_name)")
    check_method(KTOTrainer, "_precompute_ref_logps", "(self, dataset, name, batch_size)")
    missing = {"_precompute_model_hash", "precompute_ref_logps"} - assigned_attributes(KTOTrainer)
    assert not missing, "Adapt train/methods/kto.py."
    check_method(KTOTrainer, "_compute_kl_logps", "(self, model, batch)")
    source = inspect.getsource(KTOTrainer._compute_loss)
    assert "kl = (KL_logps - ref_KL_logps).mean().detach()" in source, "Adapt train/methods/kto.py."
    taken = {"_method", "_reference_folder", "_eval_kl", "_kl_weight"} & (
        assigned_attributes(KTOTrainer) | set(dir(KTOTrainer))
    )
    assert not taken, f"KTOTrainer has attributes of its own named {taken}; rename those of KtoRunTrainer."


def test_the_kto_trainer_notes_the_means_that_are_weighted_when_it_logs() -> None:
    source = inspect.getsource(KTOTrainer._compute_loss)
    noted = set(re.findall(r'_metrics\[mode\]\["([^"]+)"\]\.append', source)) - {"aux_loss", MARGINS}
    assert noted == set(KtoRunTrainer.metric_weights), "Adapt train/methods/kto.py, then this test."


def test_the_kto_trainer_pairs_prompts_with_other_answers_before_it_makes_batches() -> None:
    """So do the batches of `train.methods.rated_batches`, whose keys it passes to the model or knows."""
    source = inspect.getsource(KTOTrainer._prepare_dataset)
    shift = '[examples["completion_ids"][-1]] + examples["completion_ids"][:-1]'
    assert shift in source, "Adapt train/methods/rated_batches.py."
    assert "batch_size=args.per_device_train_batch_size" in source, "Adapt train/methods/rated_batches.py."


def test_the_reward_trainer_has_what_its_run_overrides() -> None:
    check_method(RewardTrainer, "compute_loss", "(self, model, inputs, return_outputs=False, num_items_in_batch=None)")
    check_method(RewardTrainer, "_prepare_dataset", "(self, dataset, processing_class, args, dataset_name)")
    assert RewardRunTrainer.__mro__[1:5] == (DealtRows, ExactResume, ShardedTraining, RewardTrainer)
    batch = DataCollatorForPreference(0)([{"chosen_ids": [1, 2], "rejected_ids": [3], "chosen_labels": [1, 2]}])
    assert batch.keys() == {"input_ids", "attention_mask"}, "Adapt train/methods/reward.py."
    assert batch["input_ids"].tolist() == [[1, 2], [3, 0]], "Adapt train/methods/reward.py."


def test_the_reward_trainer_notes_the_metrics_that_are_joined_when_it_logs() -> None:
    source = inspect.getsource(RewardTrainer.compute_loss)
    noted = set(re.findall(r'_metrics\[mode\]\["([^"]+)"\]\.append', source))
    joined = RewardRunTrainer.metric_weights.keys() | RewardRunTrainer.metric_extremes.keys()
    assert noted == joined, "Adapt train/methods/reward.py, then this test."


def test_peft_trains_the_head_of_a_reward_model_as_a_whole() -> None:
    assert set(SEQ_CLS_HEAD_NAMES) == PEFT_HEADS, "Adapt train/model/reward_head.py."


def test_the_fused_head_of_trl_gives_what_an_evaluation_measures() -> None:
    takes = inspect.signature(add_fused_lm_head).parameters.keys()
    assert takes >= {"model", "outputs"}, f"add_fused_lm_head takes {set(takes)}. {SFT_ADVICE}"
    gives = {field.name for field in fields(FusedCausalLMOutput)}
    needed = {"log_probs", "entropy", "is_top1", "label_mask"}
    assert gives >= needed, f"FusedCausalLMOutput no longer has {needed - gives}. {SFT_ADVICE}"


@pytest.mark.parametrize("name", GRPO_SEAMS)
def test_grpo_generates_through_the_methods_that_are_overridden(name: str) -> None:
    found = parameters_of(getattr(GRPOTrainer, name))
    assert found == GRPO_SEAMS[name], f"GRPOTrainer.{name} takes {found}. Adapt train/methods/grpo.py, then this test."


@pytest.mark.parametrize("name", ["_step", "_buffered_inputs", "reward_func_names", "reward_weights", "eos_token_ids"])
def test_grpo_keeps_its_state_where_it_is_restored(name: str) -> None:
    assert name in assigned_attributes(GRPOTrainer), f"GRPOTrainer no longer sets {name}. Adapt train/methods/grpo.py."


def test_metrics_of_a_checkpoint_without_their_weights_are_logged_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GRPOTrainer, "log", lambda *_: None)
    trainer = object.__new__(GrpoRunTrainer)
    trainer.model = torch.nn.Identity()
    trainer._metrics = {"train": {"entropy": [1.0, 3.0], NUM_ANSWER: [4]}}
    ExactResume.log(trainer, {})
    assert trainer._metrics["train"] == {"entropy": [1.0, 3.0]}
    trainer._metrics["train"][NUM_ANSWER] = [3, 1]
    ExactResume.log(trainer, {})
    assert trainer._metrics["train"] == {"entropy": [1.5]}


def test_the_grpo_trainer_notes_the_metrics_that_are_joined_when_it_logs() -> None:
    noted = {
        name
        for method in (GRPOTrainer._compute_loss, GRPOTrainer._generate)
        for name in re.findall(r'_metrics\[mode\]\["([^"]+)"\]\.append', inspect.getsource(method))
    }
    means_of_generations = {"completions/mean_length", "completions/clipped_ratio"}
    switched_off = {"policy_loss", "entropy_coef", "cispo_clip_ratio", "vespo/phi_seq_mean"}
    switched_off |= {name for name in noted if name.startswith("tools/")}
    joined = GrpoRunTrainer.metric_weights.keys() | GrpoRunTrainer.metric_extremes.keys()
    assert noted - means_of_generations - switched_off - {"aux_loss"} == joined, "Adapt train/methods/grpo.py."
    assert set(OF_ENDED) <= joined
