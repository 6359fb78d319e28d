"""The base model's name and the model card in a saved model."""

import json
from pathlib import Path

from ftlab.model_ref import is_hub_id
from train.model.base_model import BaseModel
from train.model.files import ADAPTER_CONFIG
from train.model.reward_head import PEFT_HEADS, TASK_TYPE

_CARD = """---
{metadata}library_name: peft
pipeline_tag: {task}
tags: [{tags}]
---

A LoRA adapter for `{base}` (revision `{revision}`), trained by FineTune Lab. The job's config, metrics and logs are in
its MLflow run.{source}

"""
_USE = """    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    tokenizer = AutoTokenizer.from_pretrained("PATH OF THIS FOLDER")
    base = AutoModelForCausalLM.from_pretrained("{weights}")
    model = PeftModel.from_pretrained(base, "PATH OF THIS FOLDER")
    model.generation_config = GenerationConfig.from_pretrained("PATH OF THIS FOLDER")  # where an answer ends
"""
_USE_REWARD = """It is a reward model: it gives a conversation a number, higher for a better answer. It does not write
text.

    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained("PATH OF THIS FOLDER")
    base = AutoModelForSequenceClassification.from_pretrained("{weights}", num_labels=1)
    base.config.pad_token_id = tokenizer.pad_token_id  # the score is read at the last token before the padding
    model = PeftModel.from_pretrained(base, "PATH OF THIS FOLDER")
"""


def name_base_model(saved: Path, base: BaseModel) -> None:
    """Write the base model's name into a saved model, instead of the path on this machine that PEFT and TRL write."""
    adapter_config = saved / ADAPTER_CONFIG
    if adapter_config.exists():
        config = json.loads(adapter_config.read_text("utf-8")) | {"base_model_name_or_path": base.name}
        scores_texts = config["task_type"] == TASK_TYPE
        if scores_texts:
            # PEFT adds them again with every load.
            config["modules_to_save"] = sorted({*config["modules_to_save"], *PEFT_HEADS})
        adapter_config.write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")
        (saved / "README.md").write_text(_card(base, scores_texts=scores_texts), "utf-8")
        return
    card = saved / "README.md"
    if card.exists():
        card.write_text(card.read_text("utf-8").replace(str(base.folder), base.name), "utf-8")


def _card(base: BaseModel, *, scores_texts: bool) -> str:
    metadata, source, weights = "", "", "PATH OF THE BASE MODEL"
    if is_hub_id(base.name):
        metadata, weights = f"base_model: {base.name}\n", base.name
    elif base.download is not None:
        source = f"\n\nThe base model was trained by the same service. Download it with `{base.download}`."
    else:
        source = "\n\nThe base model is in a folder of the service; the service does not offer it for download."
    task, tags, use = "text-generation", "lora, trl", _USE
    if scores_texts:
        task, tags, use = "text-classification", "lora, trl, reward-model", _USE_REWARD
    about = _CARD.format(metadata=metadata, task=task, tags=tags, base=base.name, revision=base.revision, source=source)
    return about + use.format(weights=weights)
