"""The files that `ftlab init` writes: a job, a sweep and a chain, with their usual settings."""

from enum import StrEnum


class FileKind(StrEnum):
    """What a new file describes."""

    JOB = "job"
    SWEEP = "sweep"
    CHAIN = "chain"

    @property
    def command(self) -> str:
        """The command that submits such a file."""
        return "ftlab sweep" if self is FileKind.SWEEP else "ftlab submit"

    @property
    def follow_option(self) -> str:
        """The option of that command that shows progress until the end."""
        return "--wait" if self is FileKind.SWEEP else "--follow"

    def text(self, **values: str) -> str:
        """The file, with `values` for the names in braces: `file`, `model` and `dataset`."""
        return {FileKind.JOB: _JOB, FileKind.SWEEP: _SWEEP, FileKind.CHAIN: _CHAIN}[self].format(**values)


_JOB = """\
# A fine-tuning job. Check it with `ftlab submit {file} --dry-run`, submit it with `ftlab submit {file} --follow`.
# A setting after a # shows its default. All settings: docs/reference/job-config.md

name: my-first-job
model: {model}
dataset: {dataset}
# eval_dataset: held-out.jsonl      # rows to evaluate on; the best checkpoint is then delivered
# eval_split: null                  # or a share of the rows, such as 0.1, instead of eval_dataset

# tuning: lora                      # or full, which trains all weights
# load_in_4bit: false               # true is QLoRA: the base model in 4 bits

method:
  type: sft
  # max_length: 1024                # tokens of a row; longer rows are cut
  # packing: false                  # several rows in one sequence
  # assistant_only_loss: true       # train on what the assistant says only

# lora:
#   r: 16
#   lora_alpha: 32
#   lora_dropout: 0.0
#   target_modules: all-linear
#   modules_to_save: null           # modules to train as a whole, such as [embed_tokens, lm_head]

training:
  num_train_epochs: 3
  # max_steps: null                 # instead of epochs
  # per_device_train_batch_size: 4  # or auto: as many as fit
  # gradient_accumulation_steps: 1
  # learning_rate: null             # null: 2e-4 for LoRA, 2e-5 for all weights
  # eval_steps: null                # null: at the start and at the end
  # save_steps: 50                  # steps between checkpoints
"""

_SWEEP = """\
# A search for the settings of a job. Check it with `ftlab sweep {file} --dry-run`, start it with `ftlab sweep {file}`.
# A setting after a # shows its default. All settings: docs/reference/sweep-config.md

name: my-first-sweep

job:                                # a training job; `ftlab init` writes one with its usual settings
  model: {model}
  dataset: {dataset}
  eval_split: 0.1                   # share of the rows that trials are compared on; or an eval_dataset
  training:
    max_steps: 180
    eval_steps: 20

parameters:                         # settings of training, lora and method: a list of values, or a range
  training.learning_rate: {{min: 1e-5, max: 1e-3, log: true}}
  lora.r: [8, 16, 32]

# method: tpe                       # or random, grid, or successive_halving, which stops bad trials early

# objective:
#   metric: eval_loss               # any metric of the job
#   direction: minimise             # or maximise
#   value: best                     # or last

# seed: 42                          # of the search; training.seed is that of the trials
# max_trials: null                  # null: all combinations of a grid, else 20
# max_parallel: 2                   # trials in the queue or running at once
# max_time_s: null                  # seconds that all trials may run together
# max_cost: null                    # what all trials may cost together, where the service has prices
# max_failures: 3                   # failed trials in a row after which the sweep fails
"""

_CHAIN = """\
# A chain of jobs: training, an evaluation and an export. Check it with `ftlab submit {file} --dry-run`, submit it with
# `ftlab submit {file}`. A line of --- separates the jobs. Either all of them are submitted, or none.
# A setting after a # shows its default. All settings: docs/reference/job-config.md and its neighbours

name: my-first-stage
model: {model}
dataset: {dataset}
method: {{type: sft}}
training: {{num_train_epochs: 3}}

---
kind: evaluation
name: my-first-evaluation
models: [job:my-first-stage]        # waits for the model of that job; its base model is measured too
dataset: {dataset}
# metrics: [perplexity]             # and exact_match, f1, rouge, json_schema, judge_score, ...
# max_rows: null                    # the first rows only

---
kind: export
name: my-first-export
model: job:my-first-stage
after: my-first-evaluation          # waits for this job too, although it takes nothing from it
# formats: [merged]                 # and gguf, for Ollama and llama.cpp

# A second stage of training goes between the first two jobs. The jobs after it then name its model:
#
# ---
# name: my-second-stage
# model: job:my-first-stage
# dataset: preferences.jsonl        # rows with a chosen and a rejected answer
# method: {{type: dpo}}
"""
