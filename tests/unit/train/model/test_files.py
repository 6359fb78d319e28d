"""What a model's files say about it."""

import json
from pathlib import Path

import pytest

from ftlab.errors import FineTuneLabError
from tests.support.model_folders import CONFIG, weights, write_model
from train.model.files import INDEX, ModelFacts, wanted_files
from train.model.folder import adapter_size, facts_of


def refusal(folder: Path) -> tuple[int, str, str]:
    with pytest.raises(FineTuneLabError) as caught:
        facts_of(folder)
    error = caught.value
    assert error.param == "model"
    assert str(folder) not in error.message
    return error.status, error.code, error.message


def bytes_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.name != "README.md")


@pytest.mark.parametrize("num_shards", [1, 3])
def test_a_whole_model(tmp_path, num_shards):
    folder = write_model(tmp_path / "m", num_shards=num_shards)
    assert facts_of(folder) == ModelFacts(
        "LlamaForCausalLM", 8 * num_shards, bytes_of(folder), has_chat_template=True, licence="apache-2.0"
    )


def test_what_is_not_read_takes_no_space(tmp_path):
    folder = write_model(tmp_path / "m")
    size = bytes_of(folder)
    for name in ("pytorch_model.bin", "consolidated.safetensors", "model.py"):
        (folder / name).write_bytes(b"x" * 100)
    assert facts_of(folder).size_bytes == size


def test_a_model_without_a_chat_template_is_warned_of(tmp_path):
    folder = write_model(tmp_path / "m", has_template=False)
    facts = facts_of(folder)
    assert not facts.has_chat_template
    assert "joined as plain lines" in facts.warnings[0]
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert (facts_of(folder).has_chat_template, facts_of(folder).warnings) == (True, ())


def test_a_quantised_model_is_warned_of(tmp_path):
    facts = facts_of(write_model(tmp_path / "m", config=CONFIG | {"quantization_config": {"quant_method": "gptq"}}))
    assert "quantised" in facts.warnings[0]


def test_an_architecture_that_config_does_not_name_is_that_of_its_type(tmp_path):
    assert facts_of(write_model(tmp_path / "m", config={"model_type": "qwen2"})).architecture == "Qwen2ForCausalLM"


@pytest.mark.parametrize(
    ("config", "expected", "words"),
    [
        ({"model_type": "vit"}, (422, "unsupported_model"), "model_type"),
        ({"model_type": 5}, (422, "unsupported_model"), "model_type"),
        ({}, (422, "unsupported_model"), "model_type"),
        ({"model_type": "own", "auto_map": {"AutoModel": "m.M"}}, (403, "remote_code_not_allowed"), "never runs code"),
    ],
)
def test_an_architecture_that_cannot_be_trained(tmp_path, config, expected, words):
    status, code, message = refusal(write_model(tmp_path / "m", config=config))
    assert (status, code) == expected
    assert words in message


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", INDEX, "tokenizer_config.json"])
def test_json_that_is_none(tmp_path, name, content):
    folder = write_model(tmp_path / "m", num_shards=2)
    (folder / name).write_bytes(content)
    assert refusal(folder)[:2] == (422, "model_invalid")


def test_an_index_that_does_not_match(tmp_path):
    folder = write_model(tmp_path / "m", num_shards=3)
    index = json.loads((folder / INDEX).read_text())
    (folder / INDEX).write_text(
        json.dumps({"weight_map": index["weight_map"] | {"more": "model-00001-of-00003.safetensors"}})
    )
    assert "1 weights that" in refusal(folder)[2]
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "'model-00002-of-00003.safetensors'" in refusal(folder)[2]
    for wrong in ({}, {"weight_map": []}, {"weight_map": {"w": 1}}, {"weight_map": {"w": "../../secret"}}):
        (folder / INDEX).write_text(json.dumps(wrong))
        status, code, message = refusal(folder)
        assert (status, code) == (422, "model_invalid")
        assert "secret" not in message


@pytest.mark.parametrize("cut", [0, 4, 20, -1])
def test_weights_that_were_cut_off(tmp_path, cut):
    folder = write_model(tmp_path / "m")
    (folder / "model.safetensors").write_bytes(weights({"w": [2, 4]})[:cut])
    status, code, message = refusal(folder)
    assert (status, code) == (422, "model_invalid")
    assert "model.safetensors is not a whole safetensors file" in message


def test_files_that_are_missing(tmp_path):
    missing = {"tokenizer.json": (422, "model_invalid"), "model.safetensors": (404, "model_not_found")}
    for number, (name, expected) in enumerate(missing.items()):
        assert refusal(write_model(tmp_path / str(number), without=[name]))[:2] == expected
    assert refusal(tmp_path / "none")[:2] == (404, "model_not_found")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["config.json", "pytorch_model.bin"], (422, "unsafe_weights")),
        (["config.json", "weights.pt"], (422, "unsafe_weights")),
        (["config.json", "other.safetensors"], (422, "model_invalid")),
        (["adapter_config.json", "adapter_model.safetensors"], (422, "unsupported_model")),
        (["model-q4.gguf"], (422, "unsupported_model")),
        (["README.md"], (404, "model_not_found")),
        (["model.safetensors"], (404, "model_not_found")),
    ],
)
def test_folders_of_another_kind(tmp_path, files, expected):
    for name in files:
        (tmp_path / name).write_text("{}")
    assert refusal(tmp_path)[:2] == expected


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: llama3\n---\n", "llama3"),
        ("---\nlicense: [a, b]\n---\n", None),
        ("---\nlicense: 'broken\n---\n", None),
        ("---\nlicense: mit\n", None),
        ("---\n- 1\n---\n", None),
        ("license: mit\n", None),
        ("", None),
    ],
)
def test_the_licence_is_what_the_card_names(tmp_path, card, licence):
    folder = write_model(tmp_path / "m")
    (folder / "README.md").write_text(card)
    assert facts_of(folder).licence == licence


def test_what_is_fetched_is_one_set_of_weights_and_no_code():
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    small = ["config.json", INDEX, "tokenizer.model", "chat_template.jinja", "additional_chat_templates/tool.jinja"]
    rest = [
        "pytorch_model.bin",
        "model.py",
        "original/params.json",
        "onnx/model.safetensors",
        "consolidated.safetensors",
    ]
    assert wanted_files([*shards, *small, *rest]) == sorted([*shards, *small])
    assert wanted_files(["model.safetensors", *shards, "config.json"]) == ["config.json", "model.safetensors"]


def test_the_size_of_an_adapter(tmp_path):
    (tmp_path / "adapter_config.json").write_text("{}")
    assert adapter_size(tmp_path) is None
    (tmp_path / "adapter_model.safetensors").write_bytes(b"12345")
    assert adapter_size(tmp_path) == 5
