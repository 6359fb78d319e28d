"""The model card of an artifact: the facts of the record, the receipt, and how to run the model."""

import re
from collections.abc import Iterator, Mapping

from ftlab.formatting import duration, markdown_text
from ftlab.model_ref import is_hub_id
from ftlab.schemas.export_results import RECEIPT_FILE, Receipt
from train.export.tuned_facts import MeasuredMetric, TunedFacts

_LICENCE = re.compile(r"[a-z0-9][a-z0-9.-]{0,60}")
"""A licence as hubs name it; any other text is left out."""
_LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": "gguf"}
_USE = """    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("PATH OF THIS FOLDER")
    model = AutoModelForCausalLM.from_pretrained("PATH OF THIS FOLDER")"""
_ENDS = """    from transformers import GenerationConfig  # the base model may not name the token that ends an answer

    model.generation_config = GenerationConfig.from_pretrained("PATH OF THIS FOLDER")"""


def model_card(facts: TunedFacts, receipt: Receipt, deployment: Mapping[str, str], licence: str | None = None) -> str:
    """The card as Markdown. `deployment` has a sentence on how to use each file that it names, and `licence` is that of
    the base model."""
    return "\n".join([*_metadata(facts, receipt, licence), *_about(facts), *_training(facts), *_quality(facts, receipt),
                      *_running(receipt, deployment)]) + "\n"  # fmt: skip


def _metadata(facts: TunedFacts, receipt: Receipt, licence: str | None) -> Iterator[str]:
    """The front matter, which hubs read."""
    yield "---"
    if is_hub_id(facts.base_model):
        yield f"base_model: {facts.base_model}"
    if licence and _LICENCE.fullmatch(licence):
        yield f"license: {licence}"
    yield f"library_name: {_LIBRARIES[receipt.format]}"
    yield "pipeline_tag: text-generation"
    yield "tags:"
    yield "- finetune-lab"
    yield from (f"- {tag}" for tag in facts.tuning.split(", ") if tag)
    yield "---"
    yield ""


def _about(facts: TunedFacts) -> Iterator[str]:
    yield f"# {markdown_text(facts.job_name)}"
    yield ""
    revision = f" (revision `{facts.base_revision}`)" if facts.base_revision else ""
    yield (
        f"`{facts.base_model}`{revision}, trained by FineTune Lab in job `{facts.job_id}` ({facts.tuning}); this is "
        f"the state after step {facts.step}."
    )
    yield ""


def _training(facts: TunedFacts) -> Iterator[str]:
    yield "## Training"
    yield ""
    yield "| Data | Rows |"
    yield "|---|---|"
    for name, num_rows in facts.datasets:
        yield f"| {markdown_text(name)} | {num_rows:,} |"
    yield ""
    for name, value in facts.metrics.items():
        yield f"- {name}: {value:.4g}"
    if facts.run_time_s is not None:
        yield f"- run time: {duration(facts.run_time_s)}"
    yield f"- cost: {facts.cost or 'not known, as the service has no price for the devices'}"
    yield ""
    if facts.quantised_by is not None:
        yield (
            f"The losses were measured on rounded base weights (`{facts.quantised_by}`). These files are for the base "
            "weights as they are, and answer slightly differently; `ftlab eval` measures them so."
        )
        yield ""
    yield "The settings that differ from the defaults:"
    yield ""
    yield from (f"    {line}" for line in facts.config.rstrip().splitlines())
    yield ""


def _quality(facts: TunedFacts, receipt: Receipt) -> Iterator[str]:
    yield "## Evaluation against the base model"
    yield ""
    if facts.measured:
        yield "| Dataset | Metric | Rows | Base | Tuned | p |"
        yield "|---|---|---|---|---|---|"
        yield from map(_measured, facts.measured)
    else:
        yield "The model was not measured against its base model; `ftlab eval` does that."
    yield ""
    yield "## Comparison with the tuned model"
    yield ""
    yield (
        f"These files were compared with `{receipt.reference}` on {len(receipt.prompts)} prompts of "
        f"{receipt.num_tokens} tokens: the largest difference of a logit is {receipt.max_difference:.3g} (bound "
        f"{receipt.bound:.3g}), the typical one {receipt.typical_difference:.3g} (bound {receipt.typical_bound:.3g}), "
        f"and the likeliest token is the same in {receipt.top1_agreement:.1%}. `{RECEIPT_FILE}` has the prompts."
    )
    yield ""


def _measured(found: MeasuredMetric) -> str:
    return (
        f"| {markdown_text(found.dataset)} | {found.metric} | {found.num_rows:,} | {_number(found.base)} | "
        f"{_number(found.tuned)} | {_number(found.p_value)} |"
    )


def _running(receipt: Receipt, deployment: Mapping[str, str]) -> Iterator[str]:
    yield "## Use"
    yield ""
    if receipt.format != "gguf":
        yield from _USE.splitlines()
        if receipt.format == "adapter":
            yield from _ENDS.splitlines()
        yield ""
    for name, sentence in deployment.items():
        yield f"- `{name}`: {sentence}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
