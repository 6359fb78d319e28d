"""Small tasks of lm-evaluation-harness in files, for tests."""

import json
from pathlib import Path
from typing import Any

QUESTIONS = (
    ("What falls while the model learns?", ["the loss", "the queue", "a device"], 0),
    ("What keeps every job in order?", ["an adapter", "the queue", "the loss"], 1),
    ("What is small?", ["a checkpoint", "the data", "an adapter"], 2),
    ("What saves first?", ["pause", "resume", "cancel"], 0),
    ("What shows what holds?", ["the eval loss", "the schedule", "a worker"], 0),
)
ANSWERS = (
    ("How do I submit a job?", "Upload a dataset"),
    ("Can I download the model?", "Yes"),
    ("What is 1 + 1?", "2"),
)

CHOICE = """\
task: choice_local
tag: local_tag
include: _rows.yaml
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: label
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
  - {metric: brier_score, aggregation: brier_score, higher_is_better: false}
"""
ROWS = """\
dataset_path: json
dataset_kwargs:
  data_files: {test: choice.jsonl}
test_split: test
"""
ANSWER = """\
task: answer_local
tag: [local_tag]
dataset_path: json
dataset_kwargs:
  data_files: {test: answer.jsonl}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["."], max_gen_toks: 6, do_sample: false}
filter_list:
  - name: whole
    filter: [{function: take_first}]
  - name: first_word
    filter: [{function: regex, regex_pattern: "(\\\\w+)"}, {function: take_first}]
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
  - {metric: !function scores.num_chars, aggregation: !function scores.longest, higher_is_better: false}
"""
SCORES = """\
def num_chars(references, predictions, **_):
    return len(predictions[0])


def longest(items):
    return max(items)
"""


def write_tasks(folder: Path) -> Path:
    """A multiple-choice task, a generation task with filters and functions, and a group of both."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "choice.yaml": CHOICE,
        "_rows.yaml": ROWS,
        "answer.yaml": ANSWER,
        "scores.py": SCORES,
        "group.yaml": "group: local_group\ntask: [choice_local, answer_local]\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    choices = [{"question": text, "choices": choices, "label": label} for text, choices, label in QUESTIONS]
    _write_rows(folder / "choice.jsonl", choices)
    _write_rows(folder / "answer.jsonl", [{"question": text, "answer": answer} for text, answer in ANSWERS])
    return folder


def write_task(folder: Path, name: str, **fields: Any) -> None:
    """A task with other fields than `choice_local`."""
    (folder / f"{name}.yaml").write_text(json.dumps({"include": "choice.yaml", "task": name} | fields), "utf-8")


def _write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
