"""Settings that cannot work with a model, found from its files alone."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from ftlab.schemas.lora import LoraConfig
from tests.support.model_folders import CONFIG, weights, write_model
from train.model.folder import facts_of
from train.model.layers import ModelLayers
from train.model.preflight import (
    ModelUse,
    adapter_settings,
    check_devices,
    check_modules,
    check_rows,
    check_sharding_of_adapter,
    check_use,
    unused_settings,
    with_adapter_settings,
)

LAYER = "model.layers.0"
SHAPES = {
    "model.embed_tokens.weight": [32, 4],
    f"{LAYER}.self_attn.q_proj.weight": [4, 4],
    f"{LAYER}.self_attn.v_proj.weight": [4, 4],
    f"{LAYER}.mlp.up_proj.weight": [8, 4],
    f"{LAYER}.input_layernorm.weight": [4],
}


GRPO = {"type": "grpo", "rewards": [{"type": "json_schema"}]}


def config(**values) -> JobConfig:
    return JobConfig.model_validate({"model": "org/tiny", "dataset": "ds-1"} | values)


def model(tmp_path: Path, *, tokens: dict[str, int] | None = None, template: str = "", **values) -> Path:
    folder = write_model(tmp_path / "model", config=CONFIG | values)
    (folder / "model.safetensors").write_bytes(weights(SHAPES))
    vocabulary = {f"t{number}": number for number in range(32)}
    tokenizer = {
        "model": {"vocab": vocabulary},
        "added_tokens": [{"id": n, "content": t} for t, n in (tokens or {}).items()],
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"eos_token": "t1", "chat_template": template or "{{ x }}"})
    )
    return folder


def refusal(folder: Path, **values) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        check_use(ModelUse.of(config(**values)), facts_of(folder))
    assert caught.value.code == "invalid_config"
    assert "  " not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    "names", [["q_proj"], ["self_attn.q_proj", "up_proj"], ["embed_tokens"], [f"{LAYER}.mlp.up_proj"]]
)
def test_names_that_exist_are_accepted(tmp_path: Path, names):
    folder = model(tmp_path, tie_word_embeddings=False)
    check_use(ModelUse.of(config(lora={"target_modules": names})), facts_of(folder))


@pytest.mark.parametrize("names", [["q_porj"], ["q_proj", "q_porj"]])
def test_a_name_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path, names):
    error = refusal(model(tmp_path), lora={"target_modules": names})
    assert error.param == "lora.target_modules"
    assert "'q_porj'" in error.message
    assert "q_proj, up_proj, v_proj" in error.message
    assert "Did you mean 'q_proj'?" in error.message


@pytest.mark.parametrize("name", ["mlp", "input_layernorm"])
def test_a_module_that_lora_cannot_adapt_is_refused(tmp_path: Path, name):
    assert repr(name) in refusal(model(tmp_path), lora={"target_modules": ["q_proj", name]}).message


@pytest.mark.parametrize("stated", [{"tie_word_embeddings": True}, {}])
@pytest.mark.parametrize("name", ["embed_tokens", "lm_head"])
def test_adapters_on_tied_embeddings_are_refused(tmp_path: Path, stated, name):
    assert "tie_word_embeddings" in refusal(model(tmp_path, **stated), lora={"target_modules": [name]}).message


@pytest.mark.parametrize("name", ["lm_head", "embed_out"])
def test_an_adapter_on_the_output_layer_which_trl_would_refuse_in_the_run_is_refused(name: str):
    modules = {f"{LAYER}.self_attn.q_proj": True, "model.embed_tokens": True, name: True}
    use = ModelUse.of(config(lora={"target_modules": ["q_proj", name]}))
    with pytest.raises(
        InvalidRequestError, match=rf"names '{name}', the output layer.* in lora\.modules_to_save"
    ) as caught:
        check_modules(use, modules, is_tied=False)
    assert caught.value.param == "lora.target_modules"


def refused_modules(folder: Path, *names: str, **values) -> str:
    error = refusal(folder, lora={"modules_to_save": list(names)} | values.pop("lora", {}), **values)
    assert error.param == "lora.modules_to_save"
    return error.message


@pytest.mark.parametrize("names", [["embed_tokens"], ["model.embed_tokens", "input_layernorm"], ["up_proj"]])
def test_modules_that_can_be_trained_as_a_whole_are_accepted(tmp_path: Path, names):
    folder = model(tmp_path, tie_word_embeddings=False)
    check_use(ModelUse.of(config(lora={"modules_to_save": names})), facts_of(folder))


def test_modules_to_save_must_exist_and_have_weights_of_their_own(tmp_path: Path):
    folder = model(tmp_path, tie_word_embeddings=False)
    message = refused_modules(folder, "embed_tokns", "q_proj")
    assert "'embed_tokns'" in message
    assert "q_proj, up_proj, v_proj" in message
    assert "Did you mean 'embed_tokens'?" in message
    assert "'mlp'" in refused_modules(folder, "mlp")


def test_tied_embeddings_are_not_trained_as_a_whole(tmp_path: Path):
    assert "tie_word_embeddings" in refused_modules(model(tmp_path, tie_word_embeddings=True), "lm_head")


def test_a_name_that_ends_other_names_is_refused(tmp_path: Path):
    """PEFT would train the modules with the longer names too."""
    folder = model(tmp_path, tie_word_embeddings=False)
    names = {**SHAPES, "model.norm.weight": [4]}
    (folder / "model.safetensors").write_bytes(weights(names))
    assert "'input_layernorm' end too. Write the whole name of the module, as 'model.norm'" in refused_modules(
        folder, "norm"
    )
    check_use(ModelUse.of(config(lora={"modules_to_save": ["model.norm"]})), facts_of(folder))


def test_a_module_has_an_adapter_or_is_trained_as_a_whole(tmp_path: Path):
    folder = model(tmp_path, tie_word_embeddings=False)
    assert "both name 'q_proj'" in refused_modules(folder, "q_proj", lora={"target_modules": ["q_proj", "v_proj"]})


@pytest.mark.parametrize("setting", ["load_in_4bit", "load_in_8bit"])
def test_quantised_layers_are_not_trained_as_a_whole(tmp_path: Path, setting: str):
    folder = model(tmp_path, tie_word_embeddings=False)
    assert f"are quantised ({setting})" in refused_modules(folder, "q_proj", **{setting: True})
    check_use(ModelUse.of(config(lora={"modules_to_save": ["embed_tokens"]}, **{setting: True})), facts_of(folder))


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"tuning": "full"}, "tuning"),
        ({"load_in_4bit": True}, "load_in_4bit"),
        ({"load_in_8bit": True}, "load_in_8bit"),
    ],
)
def test_quantised_weights(tmp_path: Path, values, param):
    folder = model(tmp_path, quantization_config={"quant_method": "gptq"})
    error = refusal(folder, **values)
    assert (error.param, "gptq" in error.message) == (param, True)
    check_use(ModelUse.of(config()), facts_of(folder))


def test_experts_are_left_to_the_run(tmp_path: Path):
    layers = ModelLayers.read({}, {"model.layers.0.mlp.experts.0.up_proj.weight": (8, 4)})
    assert layers.has_fused_experts


@pytest.mark.parametrize(("name", "value"), [("lora_dropout", 0.1), ("use_dora", True), ("init_lora_weights", "pissa")])
def test_settings_that_peft_does_not_support_on_experts_are_refused(tmp_path: Path, name: str, value: Any):
    found = facts_of(model(tmp_path, tie_word_embeddings=False))
    assert found.layers is not None
    experts = ModelLayers.read({}, {"model.layers.0.mlp.experts.0.up_proj.weight": (8, 4)})
    facts = replace(found, layers=experts)
    with pytest.raises(InvalidRequestError, match=rf"^lora\.{name} cannot be used on the experts") as caught:
        check_use(ModelUse.of(config(lora={name: value})), facts)
    assert caught.value.param == f"lora.{name}"
    check_use(ModelUse.of(config(lora={name: value, "target_modules": ["q_proj"]})), facts)
    check_use(ModelUse.of(config(lora={name: value})), found)


@pytest.mark.parametrize("field", ["target_modules", "modules_to_save"])
def test_a_name_as_peft_prints_it_is_refused_with_the_name_to_use(tmp_path: Path, field: str):
    name = f"{LAYER}.mlp.up_proj"
    error = refusal(model(tmp_path), lora={field: ["q_proj", f"base_model.model.{name}"]})
    assert error.param == f"lora.{field}"
    assert error.message.endswith(f"Leave out 'base_model.model.': '{name}'.")


@pytest.mark.parametrize(
    ("targets", "saved"),
    [(["self_attn.q_proj"], "q_proj"), (["q_proj", "v_proj"], f"{LAYER}.self_attn.q_proj"), (["q_proj"], "q_proj")],
)
def test_a_module_is_adapted_or_trained_as_a_whole_whatever_its_spelling(tmp_path: Path, targets, saved):
    message = refused_modules(model(tmp_path), saved, lora={"target_modules": targets, "modules_to_save": [saved]})
    assert f"both name {saved!r}" in message


@pytest.mark.parametrize(
    ("values", "use_cuda"),
    [({"dtype": "float16"}, False), ({"fp16": True}, False), ({"optim": "paged_adamw_8bit"}, False)],
)
def test_float16_and_paging_need_a_gpu(values, use_cuda):
    job = config(training=values)
    with pytest.raises(InvalidRequestError, match="needs a GPU"):
        check_devices(job, use_cuda=use_cuda)
    check_devices(job, use_cuda=True)


def test_a_token_without_an_embedding_is_a_warning_until_a_row_has_it(tmp_path: Path):
    facts = facts_of(model(tmp_path, tokens={"<|lookup|>": 32}))
    assert facts.tokens_beyond == {32: "<|lookup|>"}
    assert "'<|lookup|>' with id 32" in facts.warnings[-1]
    check_rows(SimpleNamespace(longest=4, max_token_id=31), facts, "ds-1")
    with pytest.raises(InvalidRequestError, match=r"'<\|lookup\|>' \(id 32\).* has 32 rows") as caught:
        check_rows(SimpleNamespace(longest=4, max_token_id=32), facts, "ds-1")
    assert caught.value.code == "model_invalid"


def test_one_that_the_template_writes_is_refused(tmp_path: Path):
    with pytest.raises(InvalidRequestError, match=r"'<\|turn\|>' with id 40 .in its chat template.* 32 rows") as caught:
        facts_of(model(tmp_path, tokens={"<|turn|>": 40}, template="{{ '<|turn|>' }}"))
    assert caught.value.code == "model_invalid"


@pytest.mark.parametrize(
    ("found", "positions"),
    [
        ({"max_position_embeddings": 2048}, 2048),
        ({"n_positions": 1024}, 1024),
        ({}, None),
        ({"max_position_embeddings": 32768, "rope_scaling": {"factor": 4.0, "rope_type": "yarn"}}, 131072),
        (
            {
                "max_position_embeddings": 131072,
                "rope_scaling": {"factor": 8, "original_max_position_embeddings": 8192},
            },
            131072,
        ),
        ({"max_position_embeddings": "many"}, None),
    ],
)
def test_positions_respect_rope_scaling(found, positions):
    assert ModelLayers.read(found, {}).max_positions == positions


def test_learned_positions_are_a_limit(tmp_path: Path):
    layers = ModelLayers.read(
        {"n_positions": 16}, {"transformer.wpe.weight": (16, 4), "transformer.wte.weight": (8, 4)}
    )
    facts = SimpleNamespace(layers=layers, tokens_beyond={})
    check_rows(SimpleNamespace(longest=16, max_token_id=7), facts, "ds-1")
    with pytest.raises(InvalidRequestError, match=r"17 tokens.*16 positions"):
        check_rows(SimpleNamespace(longest=17, max_token_id=7), facts, "ds-1")


ADAPTER = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])


def test_the_settings_of_an_adapter_are_filled_in():
    assert with_adapter_settings(config(), ADAPTER).lora == ADAPTER
    same = config(lora={"r": 4, "target_modules": ["v_proj", "q_proj"]})
    assert with_adapter_settings(same, ADAPTER).lora == ADAPTER
    full = config(tuning="full")
    assert with_adapter_settings(full, ADAPTER) is full


@pytest.mark.parametrize(
    ("lora", "both"), [({"r": 32}, r"r is 32.* has 4"), ({"use_dora": True}, r"is true.* has false")]
)
def test_other_settings_than_the_adapters_are_refused(lora, both):
    with pytest.raises(InvalidRequestError, match=both) as caught:
        with_adapter_settings(config(lora=lora), ADAPTER)
    assert caught.value.param == f"lora.{next(iter(lora))}"


def test_all_linear_is_compared_by_the_layers_that_it_means():
    layers = ModelLayers.read({}, {name: tuple(shape) for name, shape in SHAPES.items()})
    job = config(lora={"target_modules": "all-linear"})
    every = ADAPTER.model_copy(update={"target_modules": ["q_proj", "up_proj", "v_proj"]})
    assert with_adapter_settings(job, every, layers).lora == every
    with pytest.raises(InvalidRequestError, match=r"all-linear.*q_proj, v_proj"):
        with_adapter_settings(job, ADAPTER, layers)


def test_auto_means_the_layers_of_the_adapter():
    assert with_adapter_settings(config(lora={"target_modules": "auto"}), ADAPTER).lora == ADAPTER


def test_the_rules_between_settings_hold_for_those_of_the_adapter():
    dora = ADAPTER.model_copy(update={"use_dora": True})
    with pytest.raises(InvalidRequestError, match=r"load_in_8bit and lora.use_dora cannot be combined"):
        with_adapter_settings(config(load_in_8bit=True), dora)


def test_weights_are_not_divided_where_the_reference_is_an_adapter():
    two = {"num_workers": 2, "sharding": "fsdp"}
    with pytest.raises(InvalidRequestError, match=r"Set resources.sharding to 'none'") as caught:
        check_sharding_of_adapter(config(method={"type": "dpo"}, resources=two))
    assert caught.value.param == "resources.sharding"
    check_sharding_of_adapter(config(resources=two))
    check_sharding_of_adapter(config(method={"type": "dpo"}, resources={"num_workers": 2}))


def test_modules_to_save_are_compared_in_any_order():
    whole = ADAPTER.model_copy(update={"modules_to_save": ["lm_head", "embed_tokens"]})
    same = config(lora={"modules_to_save": ["embed_tokens", "lm_head"]})
    assert with_adapter_settings(same, whole).lora == whole
    with pytest.raises(InvalidRequestError, match=r"modules_to_save is lm_head.* has null") as caught:
        with_adapter_settings(config(lora={"modules_to_save": ["lm_head"]}), ADAPTER)
    assert caught.value.param == "lora.modules_to_save"


def test_adapter_settings_come_from_its_file(tmp_path: Path):
    assert adapter_settings(tmp_path) is None
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({"r": 4, "lora_alpha": 8, "target_modules": ["v_proj", "q_proj"], "peft_type": "LORA"}))
    assert adapter_settings(tmp_path) == ADAPTER
    for damaged in ("[]", "{", '{"r": "four"}'):
        file.write_text(damaged)
        with pytest.raises(InvalidRequestError) as caught:
            adapter_settings(tmp_path)
        assert caught.value.code == "model_invalid"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"tuning": "full", "lora": {"r": 8}}, "tuning is 'full'"),
        ({"training": {"warmup_steps": 7, "lr_scheduler_type": "constant"}}, "warmup_steps (7)"),
        ({"training": {"warmup_ratio": 0.1, "lr_scheduler_type": "constant"}}, "warmup_ratio (0.1)"),
        ({"training": {"adam_beta2": 0.95, "optim": "adafactor"}}, "adam_beta2 (0.95)"),
        ({"training": {"eval_steps": 5}}, "eval_steps (5)"),
        ({"training": {"eval_accumulation_steps": 2}}, "eval_accumulation_steps (2)"),
        ({"training": {"sample_max_new_tokens": 5}}, "sample_max_new_tokens (5)"),
        ({"resources": {"sharding": "fsdp"}}, "resources.sharding ('fsdp')"),
        ({"method": GRPO | {"epsilon": 0.1}}, "method.epsilon (0.1)"),
    ],
)
def test_settings_without_effect_are_named(values, words):
    [sentence] = unused_settings(config(**values))
    assert words in sentence
    assert unused_settings(config()) == []
    assert unused_settings(config(training={"eval_steps": 5, "sample_prompts": ["x"]})) == []
    assert unused_settings(config(method=GRPO | {"epsilon": 0.1, "num_iterations": 2})) == []
