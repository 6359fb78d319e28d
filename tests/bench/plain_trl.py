"""The training script that a TRL user writes without the service: `python -m tests.bench.plain_trl JOB OUTPUT`.

JOB is a JSON file with `model` and `rows` (paths) and `config` (a `JobConfig` document). One JSON line a step
goes to OUTPUT: the step, the time it was logged at, its loss, and the tokens seen so far.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import BitsAndBytesConfig, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer


class StepRecord(TrainerCallback):
    def __init__(self, file: Path) -> None:
        self._file = file

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **_: Any) -> None:
        if "loss" in logs:
            line = {"step": state.global_step, "at": time.time(), "loss": logs["loss"], "tokens": logs["num_tokens"]}
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    output = Path(sys.argv[2])
    config, training, lora = job["config"], job["config"]["training"], job["config"]["lora"]
    torch.set_num_threads(job["threads"])
    use_cuda = torch.cuda.is_available()
    set_seed(training["seed"])
    trainer = SFTTrainer(
        model=job["model"],
        args=SFTConfig(
            output_dir=str(output.with_suffix(".checkpoints")),
            per_device_train_batch_size=training["per_device_train_batch_size"],
            gradient_accumulation_steps=training["gradient_accumulation_steps"],
            max_steps=training["max_steps"],
            learning_rate=job["learning_rate"],
            lr_scheduler_type=training["lr_scheduler_type"],
            warmup_steps=training["warmup_steps"],
            weight_decay=training["weight_decay"],
            max_grad_norm=training["max_grad_norm"],
            optim=training["optim"] or ("adamw_torch_fused" if use_cuda else "adamw_torch"),
            logging_steps=training["logging_steps"],
            save_steps=training["save_steps"],
            activation_checkpointing=training["gradient_checkpointing"],
            bf16=use_cuda if training["bf16"] is None else training["bf16"],
            fp16=bool(training["fp16"]),
            seed=training["seed"],
            use_cpu=not use_cuda,
            max_length=config["method"]["max_length"],
            packing=config["method"]["packing"],
            model_init_kwargs={
                "dtype": training["dtype"],
                "quantization_config": _four_bits() if config["load_in_4bit"] else None,
            },
            report_to="none",
        ),
        train_dataset=load_dataset("json", data_files=job["rows"], split="train"),
        peft_config=LoraConfig(
            task_type="CAUSAL_LM",
            r=lora["r"],
            lora_alpha=lora["lora_alpha"],
            lora_dropout=lora["lora_dropout"],
            target_modules=lora["target_modules"],
        ),
        callbacks=[StepRecord(output)],
    )
    trainer.train()
    trainer.save_model()


def _four_bits() -> BitsAndBytesConfig:
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


if __name__ == "__main__":
    main()
