"""Reports on known rows are, word for word and figure for figure, those in `golden_reports.json`.

Where a report is meant to change: raise `train.data.doctor.VERSION` and run `python -m
tests.unit.train.data.doctor.test_golden_reports` to write the file again.
"""

import json
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

import serve
from tests.support.tiny_models import make_tiny_tokenizer
from tests.unit.train.data.doctor.doctor_rows import Row, answer, chat, check, sentence, user
from tests.unit.train.data.doctor.test_examine import DEAF, ENDLESS, REFUSING, REWRITING
from train.data.rows.canonical import Kind

GOLDEN = Path(__file__).with_name("golden_reports.json")
DEMO = Path(serve.__file__).parent / "demo" / "data"
MARKED = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}<|im_end|>\n{% endgeneration %}{% else %}{{ m['content'] }}<|im_end|>\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
BREAKS_LATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if loop.index > 220 and loop.last and m['role'] == 'assistant' %}<think></think>{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A template that writes only late answers differently as a conversation grows."""
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"type": "function", "function": {"name": "look", "arguments": '{"at": "queue"}'}}


@dataclass(frozen=True)
class Case:
    rows: list[Row]
    eval_rows: list[Row] | None = None
    kind: Kind = Kind.MESSAGES
    template: str | None = ""
    """Empty for the tiny tokenizer's own."""
    options: dict[str, Any] = field(default_factory=dict)

    def tokenizer(self) -> PreTrainedTokenizerFast:
        tokenizer = make_tiny_tokenizer()
        if self.template != "":
            tokenizer.chat_template = self.template
        return tokenizer

    def report(self, folder: Path) -> dict[str, Any]:
        options = {"max_findings": 8} | self.options
        report = check(
            folder, self.rows, tokenizer=self.tokenizer(), kind=self.kind, eval_rows=self.eval_rows, **options
        )
        return report.model_dump(mode="json")


def mixed_rows(number: int, seed: int = 0) -> list[Row]:
    """Chats of all lengths; some break a rule, some repeat others wholly or nearly."""
    rng = random.Random(seed)
    rows: list[Row] = []
    for _ in range(number):
        question, reply = sentence(rng, rng.choice((2, 9, 30))), sentence(rng, rng.choice((1, 12, 40)))
        kind = rng.randrange(14)
        row = chat(question, reply)
        if kind == 0:
            row = chat("Human: " + question, reply + "<|im_end|>", weight=rng.choice((0, 1)))
        elif kind == 1:
            row = {"messages": [{"role": "system", "content": "Be kind."}, *row["messages"]]}
        elif kind == 2:
            row["messages"] += [user("Где? " + question), answer(reply), user("So?")]
        elif kind == 3:
            row = {"messages": [user(question), answer("", tool_calls=[CALL]), {"role": "tool", "content": "5"}]}
            row |= {"messages": [*row["messages"], answer(reply)], "tools": [TOOL]}
        elif kind == 4:
            row = chat(question, " \u200b\n")
        elif kind == 5 and rows:
            row = rng.choice(rows)
        elif kind == 6 and rows:
            row = {"messages": [message | {"content": message["content"] + "!"} for message in rows[-1]["messages"]]}
        elif kind == 7:
            row = chat(question, reply, weight=0)
        rows.append(row)
    return rows


def talk(num_messages: int) -> Row:
    return {"messages": [answer(f"Answer {i}.") if i % 2 else user(f"Question {i}?") for i in range(num_messages)]}


def demo_rows(name: str) -> list[Row]:
    return [json.loads(line) for line in (DEMO / name).read_text("utf-8").splitlines()]


def pairs(kind: Kind) -> list[Row]:
    rng = random.Random(5)
    rows: list[Row] = []
    for number in range(12):
        prompt = [user(sentence(rng, 4)), answer("Hm."), user(sentence(rng, 3))]
        replies = [[answer(sentence(rng, length))] for length in (rng.randrange(1, 40), 5)]
        if kind is Kind.PREFERENCE:
            rows.append({"prompt": prompt, "chosen": replies[0], "rejected": replies[1]})
        else:
            rows.append({"prompt": prompt, "completion": replies[0], "label": number % 2 == 0})
    return [*rows, rows[3]]


MIXED = mixed_rows(80)
HELD_OUT = [*mixed_rows(20, seed=1), *MIXED[:6]]
TEXTS: list[Row] = [{"text": row["messages"][0]["content"]} for row in MIXED]
LONG = [talk(20), talk(260), talk(230), chat("Short?", "Yes."), talk(260)]
CASES = {
    "demo": Case(demo_rows("support-train.jsonl"), demo_rows("support-heldout.jsonl")),
    "mixed": Case(MIXED, HELD_OUT, options={"max_length": 96}),
    "mixed, everything learned": Case(MIXED, options={"max_length": 96, "assistant_only_loss": False}),
    "mixed, packed": Case(MIXED, HELD_OUT, options={"max_length": 64, "packing": True, "max_findings": 5}),
    "mixed, some refused": Case(MIXED, HELD_OUT, template=REFUSING),
    "mixed, some rewritten": Case(MIXED, HELD_OUT, template=REWRITING, options={"max_length": 128}),
    "mixed, some left out": Case(MIXED, template=DEAF, options={"max_length": 20}),
    "mixed, without an end": Case(MIXED, template=ENDLESS),
    "mixed, no template": Case(MIXED, HELD_OUT, template=None),
    "mixed, marked": Case(MIXED, template=MARKED, options={"max_length": 70}),
    "long chats": Case(LONG, [talk(240)], options={"max_length": 300}),
    "long chats that break late": Case(LONG, [talk(240)], template=BREAKS_LATE, options={"max_length": 300}),
    "texts": Case(TEXTS, kind=Kind.TEXT, options={"max_length": 64}),
    "preference": Case(pairs(Kind.PREFERENCE), pairs(Kind.PREFERENCE)[:4], Kind.PREFERENCE, options={"max_length": 64}),
    "unpaired": Case(pairs(Kind.UNPAIRED), kind=Kind.UNPAIRED),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_report_is_what_it_was(name: str, tmp_path: Path):
    golden = json.loads(GOLDEN.read_text("utf-8"))[name]
    # As text, since the order of the rules is that of the summary.
    assert json.dumps(CASES[name].report(tmp_path), indent=1) == json.dumps(golden, indent=1)


def main() -> None:
    reports = {}
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            reports[name] = case.report(Path(folder))
    lines = (f"{json.dumps(name)}: {json.dumps(report)}" for name, report in reports.items())
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    sys.stdout.write(f"{len(reports)} reports, {GOLDEN.stat().st_size:,} bytes\n")


if __name__ == "__main__":
    main()
