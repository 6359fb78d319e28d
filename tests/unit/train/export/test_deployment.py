"""The files beside an exported model: its card, and how Ollama, vLLM and Ray Serve run it."""

from dataclasses import replace

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from ftlab.schemas.export_results import RECEIPT_FILE, Receipt
from tests.support.export_artifacts import RECEIPT
from tests.support.tiny_models import make_tiny_tokenizer
from tests.unit.train.export.conftest import FACTS
from tests.unit.train.export.test_run import changed
from tests.unit.train.runs import Link
from train.export.chat_turns import ChatTurns, chat_turns
from train.export.deployment_files import served_name
from train.export.model_card import model_card
from train.export.run import run
from train.plan import ExportPlan

LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_an_artifact_comes_with_its_card_and_files_that_load(plan: ExportPlan):
    run(changed(plan, formats=["merged", "gguf"], gguf_type="f16"), Link())
    merged, gguf = plan.artifacts_folder / "merged", plan.artifacts_folder / "gguf-f16"
    [application] = ServeDeploySchema.model_validate(
        yaml.safe_load((merged / "ray-serve.yaml").read_text())
    ).applications
    [llm] = application.args["llm_configs"]
    assert llm["model_loading_config"]["model_id"] == "support-sums"
    service = yaml.safe_load((merged / "compose.yaml").read_text())["services"]["vllm"]
    assert service["command"][:4] == ["--model", "/model", "--served-model-name", "support-sums"]
    assert service["volumes"] == [".:/model:ro"]
    assert (gguf / "Modelfile").read_text() == (
        'FROM ./model.gguf\nTEMPLATE """{{ range .Messages }}'
        '{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}<|im_end|>\n'
        '{{ end }}{{ end }}<|im_start|>assistant\n"""\nPARAMETER stop "<|im_end|>"\n'
    )
    for folder in (merged, gguf):
        card = (folder / "README.md").read_text()
        receipt = Receipt.model_validate_json((folder / RECEIPT_FILE).read_bytes())
        _, metadata, body = card.split("---\n", 2)
        assert yaml.safe_load(metadata)["base_model"] == "org/tiny"
        for fact in (
            "# Support \\| sums\n",
            "| sums.jsonl | 1,234 |",
            "- eval_loss: 1.235",
            "- cost: 0.12 EUR",
            "| held-out | exact_match | 40 | 0.25 | 0.75 | 0.001 |",
            f"{receipt.max_difference:.3g} (bound {receipt.bound:.3g})",
            "      max_steps: 20",
        ):
            assert fact in body, fact
    assert "`Modelfile`: run `ollama create support-sums" in (gguf / "README.md").read_text()


@pytest.mark.parametrize("bos", [None, "<|endoftext|>"])
def test_turns_are_found_in_a_template_of_another_form(bos: str | None):
    tokenizer = make_tiny_tokenizer()
    tokenizer.bos_token = bos
    tokenizer.chat_template = LLAMA_3 if bos else LLAMA_3.removeprefix("{{ bos_token }}")
    end = "<|eot_id|>"
    around = {
        role: (f"<|start_header_id|>{role}<|end_header_id|>\n\n", end) for role in ("system", "user", "assistant")
    }
    assert chat_turns(tokenizer) == ChatTurns(bos or "", around, around["assistant"][0])


@pytest.mark.parametrize(
    "template", [None, DEFAULT_SYSTEM, "{{ messages[0]['content'] }}", "{{ raise_exception('No.') }}"]
)
def test_a_template_that_is_more_than_turns_has_none(template: str | None):
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = template
    assert chat_turns(tokenizer) is None


def test_names_are_safe_for_shells_and_urls():
    assert served_name("Überraschung; rm -rf / `x`") == "berraschung-rm--rf-x"
    assert served_name("$$$") == "model"


def test_names_cannot_put_markup_into_the_card():
    evil = r"\<img src=x onerror=y> \| a"
    card = model_card(replace(FACTS, job_name=evil, datasets=((evil, 1),)), RECEIPT, {})
    shown = r"\\&lt;img src=x onerror=y\> \\\| a"
    assert f"# {shown}\n" in card
    assert f"| {shown} | 1 |" in card
