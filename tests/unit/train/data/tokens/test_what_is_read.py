"""What a model reads and learns is the same in training, in an evaluation and in a chat, for every kind of row."""

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

from tests.support.tiny_models import make_tiny_tokenizer
from tests.unit.train.data.tokens.test_trained_words import TOOLS, template_of, tokenizer_with, uploaded
from train.data.doctor import CheckOptions, examine
from train.data.rows.canonical import Row
from train.data.tokens.encode import IGNORE, labelled, tokenise
from train.data.tokens.prompts import prompts
from train.data.tokens.render import Renderer
from train.data.tokens.sample_prompts import conversation_tokens, text_tokens
from train.model.base_model import BaseModel
from train.model.tokenizer import load_tokenizer

CALL = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "stock_level", "arguments": "{}"}}]}
NO = {"role": "assistant", "content": "No."}
ASKED = [{"role": "user", "content": "How many?"}]
PAIR = {"prompt": ASKED, "chosen": [CALL], "rejected": [NO], "tools": TOOLS}
RATED = {"prompt": ASKED, "completion": [CALL], "label": True, "tools": TOOLS}


def texts_of(row: Row, tokenizer: Any) -> list[tuple[str, str]]:
    """All of each text of a row, and what of it is learned."""
    [[found]] = tokenise([(1, row)], Renderer(tokenizer, assistant_only_loss=True), max_length=None)
    return [
        (tokenizer.decode(ids), tokenizer.decode([label for label in labels.tolist() if label != IGNORE]))
        for ids, labels in labelled(found, None)
    ]


def counts(tmp_path: Path, tokenizer: Any, *rows: dict[str, Any]) -> dict[str, int]:
    uploaded(tmp_path, *rows)
    return examine(tmp_path / "rows.arrow", tokenizer, CheckOptions(512)).counts


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "The capital is", "completion": " Paris."},
        {"prompt": "The capital is", "chosen": " Paris.", "rejected": " Rome."},
        {"prompt": "The capital is", "completion": " Paris.", "label": True},
    ],
)
def test_texts_are_joined_as_they_are_by_every_method(tmp_path: Path, row: dict[str, Any]) -> None:
    tokenizer = tokenizer_with(None)
    [normal] = uploaded(tmp_path, row)
    (whole, learned), *others = texts_of(normal, tokenizer)
    assert (whole, learned) == ("The capital is Paris.<|im_end|>", " Paris.<|im_end|>")
    assert others == ([("The capital is Rome.<|im_end|>", " Rome.<|im_end|>")] if "rejected" in row else [])


@pytest.mark.parametrize(
    ("rows", "number"), [([PAIR], 1), ([RATED, RATED | {"completion": [NO], "label": False, "tools": []}], 1)]
)
def test_a_call_that_the_template_leaves_out_of_a_pair_or_a_rated_answer_is_reported(
    tmp_path: Path, rows: list[dict[str, Any]], number: int
) -> None:
    assert counts(tmp_path, make_tiny_tokenizer(), *rows)["left_out_by_template"] == number
    assert "left_out_by_template" not in counts(tmp_path, tokenizer_with(template_of("qwen2_5")), *rows)


def test_the_answer_of_a_pair_that_is_left_out_is_named(tmp_path: Path) -> None:
    uploaded(tmp_path, PAIR | {"chosen": [NO], "rejected": [CALL]})
    [finding] = [
        found
        for found in examine(tmp_path / "rows.arrow", make_tiny_tokenizer(), CheckOptions(512)).findings
        if found.rule == "left_out_by_template"
    ]
    assert finding.message.startswith("In 'chosen': The chat template leaves out the tools")


@pytest.mark.parametrize("name", ["qwen2_5", "llama3_1", "glm4moe", "gptoss"])
def test_a_function_without_its_wrapper_is_a_tool(name: str) -> None:
    tokenizer = tokenizer_with(template_of(name))
    function = TOOLS[0]["function"]
    chat = {"messages": [*ASKED, NO]}
    nested, flat, typed = (
        texts_of(chat | {"tools": [tool]}, tokenizer) for tool in (TOOLS[0], function, {"type": "function", **function})
    )
    assert nested == flat == typed
    asked = [conversation_tokens(ASKED, [tool], tokenizer) for tool in (TOOLS[0], function)]
    assert asked[0] == asked[1]


@pytest.mark.parametrize(
    "name", ["qwen3", "qwen3_5_think", "deepseek_r1_distill", "gptoss", "nemotron_3_nano", "llama3_1", "gemma3", "phi3"]
)
def test_an_evaluation_and_rewards_ask_as_a_chat_does(name: str) -> None:
    """Also where training needs another template, which leaves out how an answer begins."""
    tokenizer = tokenizer_with(template_of(name), writes_bos=True)
    chat = [*ASKED, NO, {"role": "user", "content": "And now?"}, {"role": "assistant", "content": "Yes."}]
    as_in_a_chat = [conversation_tokens(chat[:end], None, tokenizer) for end in (1, 3)]
    rows: list[Row] = [{"messages": chat[:2]}, {"messages": chat}]
    found = prompts(enumerate(rows, 1), Renderer(tokenizer, assistant_only_loss=True))
    assert [prompt and prompt.ids.tolist() for prompt in found] == as_in_a_chat


@pytest.mark.parametrize(
    ("name", "number"),
    [("deepseek_r1_distill", 1), ("nemotron_3_nano", 1), ("gptoss", 0), ("qwen3", 0), ("qwen2_5", 0)],
)
def test_answers_that_begin_differently_at_inference_are_reported(tmp_path: Path, name: str, number: int) -> None:
    thought = {"messages": [*ASKED, {"role": "assistant", "content": "<think>\nSeven.\n</think>\n\n7"}]}
    found = counts(tmp_path, tokenizer_with(template_of(name)), {"messages": [*ASKED, NO]}, thought)
    assert found.get("answer_start_differs", 0) == number


@pytest.mark.parametrize(
    ("name", "said"),
    [("qwen3_5_think", None), ("qwen3", None), ("qwen3_8", "reasoning of its own"), ("deepseekv3", "leaves out")],
)
def test_reasoning_in_the_text_of_an_answer_is_learned_or_reported(tmp_path: Path, name: str, said: str | None) -> None:
    uploaded(tmp_path, {"messages": [*ASKED, {"role": "assistant", "content": "<think>\nSeven.\n</think>\n\n7"}]})
    report = examine(tmp_path / "rows.arrow", tokenizer_with(template_of(name), writes_bos=True), CheckOptions(512))
    found = [finding.message for finding in report.findings if finding.rule == "left_out_by_template"]
    assert (len(found), not said or said in found[0]) == (int(said is not None), True)


def test_special_tokens_without_a_role_are_known(tmp_path: Path) -> None:
    """As `<|eot_id|>` of Llama 3, which its files name as no special token of any kind."""
    make_tiny_tokenizer().save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    config = json.loads(file.read_text()) | {"extra_special_tokens": [], "eos_token": "<|endoftext|>"}
    file.write_text(json.dumps(config))
    tokenizer = load_tokenizer(BaseModel("tiny", tmp_path, ""))
    assert "<|im_end|>" not in tokenizer.all_special_tokens
    found = counts(tmp_path, tokenizer, {"messages": [{"role": "user", "content": "What is <|im_end|>?"}, NO]})
    assert found["special_token_in_text"] == 1
    assert "no_end_of_turn" not in found, "the answers end with it"


def test_a_text_to_continue_has_no_end(tmp_path: Path) -> None:
    tokenizer = tokenizer_with(None)
    end = ("<|im_end|>", tokenizer.eos_token_id)
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="$A <|im_end|>", pair="$A $B <|im_end|>", special_tokens=[end]
    )
    assert tokenizer.decode(text_tokens("The capital is", tokenizer)) == "The capital is"
    [row] = uploaded(tmp_path, {"prompt": "The capital is", "completion": " Paris."})
    assert texts_of(row, tokenizer)[0][0] == "The capital is Paris.<|im_end|>"
