"""Answers of the base model and of the tuned one, side by side.

Run as a process of its own (`python -m serve.demo.answers BASE ADAPTER`): it prints one JSON document.
"""

import json
import sys
from pathlib import Path

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

QUESTIONS = (
    "My training job was interrupted. Is everything lost?",
    "How do I get my tuned model onto my own computer?",
    "Why is my job still waiting in the queue?",
)
MAX_NEW_TOKENS = 40


def answer_all(base_folder: Path, adapter_folder: Path) -> list[dict[str, str]]:
    """Greedy answers: `[{"question", "base", "tuned"}]`."""
    transformers_logging.disable_progress_bar()
    tokenizer = AutoTokenizer.from_pretrained(base_folder, local_files_only=True, padding_side="left")
    # In bfloat16, as it was saved, most CPUs take several times as long.
    base = AutoModelForCausalLM.from_pretrained(base_folder, local_files_only=True, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter_folder).eval()
    prompts = tokenizer.apply_chat_template(
        [[{"role": "user", "content": question}] for question in QUESTIONS],
        add_generation_prompt=True,
        padding=True,
        return_tensors="pt",
        return_dict=True,
    )
    tuned = _generate(model, tokenizer, prompts)
    with model.disable_adapter():
        before = _generate(model, tokenizer, prompts)
    rows = zip(QUESTIONS, before, tuned, strict=True)
    return [{"question": question, "base": base, "tuned": tuned} for question, base, tuned in rows]


def _generate(model: PeftModel, tokenizer: AutoTokenizer, prompts: dict[str, torch.Tensor]) -> list[str]:
    with torch.inference_mode():
        output = model.generate(
            **prompts,
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id or tokenizer.eos_token_id,
        )
    texts = tokenizer.batch_decode(output[:, prompts["input_ids"].shape[1] :], skip_special_tokens=True)
    return [text.strip() for text in texts]


if __name__ == "__main__":
    json.dump(answer_all(Path(sys.argv[1]), Path(sys.argv[2])), sys.stdout)
