"""The trained tokens are those that the row marks for training, or the doctor reports what the template leaves out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trl
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from ftlab.errors import InvalidRequestError
from tests.support.tiny_models import make_tiny_tokenizer
from train.data.convert import convert
from train.data.doctor.left_out import left_out_of
from train.data.rows.canonical import CanonicalFile, Row
from train.data.tokens.encode import IGNORE, labelled, tokenise
from train.data.tokens.prompts import prompts
from train.data.tokens.render import Renderer
from train.data.tokens.sample_prompts import text_tokens
from train.data.tokens.token_view import token_rows

TEMPLATES = Path(trl.__file__).parent / "chat_templates"
NAMES = sorted(path.stem for path in TEMPLATES.glob("*.jinja"))
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "stock_level",
            "description": "Units on the shelf.",
            "parameters": {"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]},
        },
    }
]
ARGUMENTS = {"sku": "A-17", "site": None, "bins": [3, 4], "opts": {"cold": True}}


@dataclass(frozen=True)
class Trained:
    ids: list[int]
    words: str
    """The trained tokens as text."""
    left_out: str | None


def tokenizer_with(template: str | None, *, writes_bos: bool = False) -> PreTrainedTokenizerFast:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = template
    if writes_bos:
        tokenizer.bos_token = "<|endoftext|>"
        bos = ("<|endoftext|>", tokenizer.convert_tokens_to_ids("<|endoftext|>"))
        tokenizer._tokenizer.post_processor = TemplateProcessing(
            single="<|endoftext|> $A", pair="<|endoftext|> $A <|endoftext|> $B", special_tokens=[bos]
        )
    return tokenizer


def template_of(name: str) -> str:
    return (TEMPLATES / f"{name}.jinja").read_text("utf-8")


def trained(rows: list[Row], tokenizer: PreTrainedTokenizerFast) -> Iterator[Trained]:
    renderer = Renderer(tokenizer, assistant_only_loss=True)
    for batch in tokenise(enumerate(rows, 1), renderer, max_length=None):
        for row in batch:
            [(ids, labels)] = labelled(row, None)
            words = tokenizer.decode([label for label in labels.tolist() if label != IGNORE])
            yield Trained(ids.tolist(), words, left_out_of(row.row, row.texts[0]))


def uploaded(tmp_path: Path, *rows: dict[str, Any]) -> list[Row]:
    """The rows as a JSONL file is read."""
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    convert(file, tmp_path / "rows.arrow", file.name)
    with CanonicalFile.open(tmp_path / "rows.arrow") as canonical:
        return [row for _, row in canonical.rows()]


def asked_of_a_tool(call: dict[str, Any], **row: Any) -> dict[str, Any]:
    return {
        "messages": [
            {"role": "user", "content": "How many A-17 are left?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "t1", "content": "12"},
            {"role": "assistant", "content": "There are 12."},
        ],
        "tools": TOOLS,
    } | row


@pytest.mark.parametrize(
    ("prompt", "completion"), [("def f(x):", "\n\n    return x"), ("memory", ".feedback()"), ("Answer: ", " 42")]
)
def test_a_base_model_learns_the_whole_completion_and_its_end(tmp_path: Path, prompt: str, completion: str) -> None:
    rows = uploaded(tmp_path, {"prompt": prompt, "completion": completion})
    tokenizer = tokenizer_with(None)
    [found] = trained(rows, tokenizer)
    assert found.words == f"{completion}<|im_end|>"
    assert tokenizer.decode(found.ids) == f"{prompt}{completion}<|im_end|>", "nothing is put between them"
    assert found.ids[: len(tokenizer(prompt)["input_ids"])] == tokenizer(prompt)["input_ids"], "as at inference"


def test_bos_and_eos_that_a_text_brings_along_are_not_doubled(tmp_path: Path) -> None:
    text = "[user]Hi[assistant]Hello."
    brought, plain = uploaded(tmp_path, {"text": f"<|endoftext|>{text}<|im_end|>"}, {"text": text})
    tokenizer = tokenizer_with(None, writes_bos=True)
    first, second = trained([brought, plain], tokenizer)
    assert first.ids == second.ids
    assert tokenizer.decode(first.ids) == f"<|endoftext|>{text}<|im_end|>"


@pytest.mark.parametrize(
    "text", ["Hi<|im_end|>\n", "Hi<|im_end|><|im_end|>", "<|endoftext|><|endoftext|>Hi", " <|endoftext|>Hi"]
)
def test_a_text_has_one_bos_and_one_eos(tmp_path: Path, text: str) -> None:
    tokenizer = tokenizer_with(None, writes_bos=True)
    [found] = trained(uploaded(tmp_path, {"text": text}), tokenizer)
    assert tokenizer.decode(found.ids) == "<|endoftext|>Hi<|im_end|>"


@pytest.mark.parametrize(
    ("name", "arguments", "left_out"),
    [
        ("end", {}, "tool calls"),
        ("look", {"cold": True}, "tool calls"),
        ("look", {"a": "12", "b": "1"}, "tool calls"),
        ("look", {"from": "x", "to": "y"}, "tool calls"),
    ],
)
def test_a_call_is_not_found_by_chance(tmp_path: Path, name: str, arguments: dict[str, Any], left_out: str) -> None:
    """In the end of the turn, in the values of another argument, or by its values alone."""
    template = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    if name == "look":
        template += "{% for c in m.tool_calls or [] %}look {{ c.function.arguments.values() | first }}"
        template += "{{ ' ' + c.function.arguments.to if c.function.arguments.to else '' }}{% endfor %}"
    template += "<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    row = asked_of_a_tool({"name": name, "arguments": arguments})
    row.pop("tools")
    row["messages"] = row["messages"][:2]
    [found] = trained(uploaded(tmp_path, row), tokenizer_with(template))
    assert found.left_out is not None
    assert left_out in found.left_out


def test_a_chat_has_one_bos_where_tokenizer_and_template_write_it(tmp_path: Path) -> None:
    template = (
        "{{ bos_token }}{% for m in messages %}{{ '[' + m['role'] + ']' + m['content'] + eos_token }}{% endfor %}"
    )
    template += "{% if add_generation_prompt %}{{ '[assistant]' }}{% endif %}"
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]
    tokenizer = tokenizer_with(template, writes_bos=True)
    [found] = trained(uploaded(tmp_path, {"messages": chat}), tokenizer)
    assert found.ids.count(tokenizer.bos_token_id) == 1
    assert found.words == "Hello.<|im_end|>"


def test_every_way_to_write_a_tool_call_gives_the_same_tokens(tmp_path: Path) -> None:
    as_text = json.dumps(ARGUMENTS)
    ways = [
        asked_of_a_tool({"id": "t1", "type": "function", "function": {"name": "stock_level", "arguments": ARGUMENTS}}),
        asked_of_a_tool({"id": "t1", "type": "function", "function": {"name": "stock_level", "arguments": as_text}}),
        asked_of_a_tool({"name": "stock_level", "arguments": as_text}),
        asked_of_a_tool({"name": "stock_level", "arguments": ARGUMENTS}),
    ]
    found = list(trained(uploaded(tmp_path, *ways), tokenizer_with(template_of("qwen2_5"))))
    assert len({tuple(each.ids) for each in found}) == 1
    assert f'{{"name": "stock_level", "arguments": {as_text}}}' in found[0].words
    assert "None" not in tokenizer_with(None).decode(found[0].ids)
    assert [each.left_out for each in found] == [None] * 4


def test_a_template_without_tools_is_reported_for_every_row(tmp_path: Path) -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "stock_level", "arguments": '{"sku": "C-1"}'}}
    alone = asked_of_a_tool(call)
    alone["messages"] = alone["messages"][:2]
    found = trained(uploaded(tmp_path, asked_of_a_tool(call), alone), make_tiny_tokenizer())
    assert [each.left_out for each in found] == [
        "The chat template leaves out the tool calls of message 2 (assistant): an answer without them would be trained."
    ] * 2


def test_the_answer_of_a_tool_is_not_found_in_a_later_message(tmp_path: Path) -> None:
    """ "12" is a part of "12.", which the template writes."""
    chat = [
        {"role": "user", "content": "Left of A-17?"},
        {"role": "assistant", "content": "I look."},
        {"role": "tool", "content": "12"},
        {"role": "assistant", "content": "12."},
    ]
    [found] = trained(uploaded(tmp_path, {"messages": chat}), tokenizer_with(template_of("phi3")))
    assert found.left_out == "The chat template leaves out message 3 (tool), or writes it differently."


def test_reasoning_that_a_template_drops_from_earlier_turns_is_reported(tmp_path: Path) -> None:
    def turn(word: str) -> str:
        return f"<think>\nSeven {word}.\n</think>\n\n56"

    chat = [
        {"role": "user", "content": "7 times 8?"},
        {"role": "assistant", "content": turn("eights")},
        {"role": "user", "content": "And again?"},
        {"role": "assistant", "content": turn("nines")},
    ]
    [found] = trained(uploaded(tmp_path, {"messages": chat}), tokenizer_with(template_of("nemotron_3_nano")))
    assert found.left_out == "The chat template leaves out message 2 (assistant), or writes it differently."


WORDS = st.sampled_from(
    ["yes", "no.", "12", "Grüße", "答え", "a  b", "line\nline", "<b>", "{x}", "'q'", '"q"', "<|x|>", "😀"]
)
CONTENT = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)


@st.composite
def chats(draw: st.DrawFn) -> Row:
    """One to three exchanges; each message has a word that no other has."""
    messages: list[dict[str, Any]] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": f"S0 {draw(CONTENT)}"})
    for number in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": f"U{number} {draw(CONTENT)}"})
        answer = (
            draw(st.sampled_from(["", " ", "\n"])) + f"A{number} {draw(CONTENT)}" + draw(st.sampled_from(["", " "]))
        )
        messages.append({"role": "assistant", "content": answer} | draw(st.sampled_from([{}, {"weight": 0}])))
    if all(message.get("weight") == 0 for message in messages if message["role"] == "assistant"):
        messages[-1].pop("weight", None)
    return {"messages": messages}


def check_row(row: Row, tokenizer: PreTrainedTokenizerFast) -> None:
    """Fail when something else is trained than the row says, and nobody reports it; a row may be refused."""
    try:
        [found] = trained([row], tokenizer)
    except InvalidRequestError:
        return
    place = 0
    for number, message in enumerate(row["messages"]):
        words = message["content"].strip()
        if message["role"] == "assistant" and message.get("weight") != 0:
            if found.left_out is None:
                start = found.words.find(words, place)
                assert start >= 0, f"message {number + 1} is not trained: {found.words!r}"
                place = start + len(words)
        else:
            assert words.split()[0] not in found.words.split(), f"message {number + 1} is trained: {found.words!r}"


@pytest.mark.parametrize("num_rows", [8, pytest.param(300, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", [None, *NAMES])
def test_exactly_the_answers_are_trained(name: str | None, num_rows: int) -> None:
    tokenizer = tokenizer_with(None if name is None else template_of(name))

    @settings(max_examples=num_rows, deadline=None, database=None)
    @given(chats())
    def check(row: Row) -> None:
        check_row(row, tokenizer)

    check()


def test_an_answer_that_brings_its_own_end_gets_no_second_one(tmp_path: Path) -> None:
    question, plain_answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Bye."}
    rows = uploaded(
        tmp_path,
        *(
            {"messages": [question, {"role": "assistant", "content": words}, question, plain_answer]}
            for words in ("Hello.", "Hello.<|im_end|>")
        ),
    )
    plain, brought = trained(rows, make_tiny_tokenizer())
    assert plain.ids == brought.ids
    other = make_tiny_tokenizer()
    other.eos_token = "<|endoftext|>"
    [found] = trained(rows[1:], other)
    assert "Hello.<|im_end|>" in found.words, "only an end that the template writes itself is taken off"


@pytest.mark.parametrize("arguments", ["", None, " "])
def test_a_call_without_arguments_is_an_empty_object(tmp_path: Path, arguments: str | None) -> None:
    calls = [{"name": "stock_level", "arguments": written} for written in (arguments, {})]
    first, second = trained(uploaded(tmp_path, *map(asked_of_a_tool, calls)), tokenizer_with(template_of("qwen2_5")))
    assert first.ids == second.ids
    assert '"arguments": {}}' in first.words


def test_tools_are_not_found_in_what_the_messages_say(tmp_path: Path) -> None:
    chat = [
        {"role": "user", "content": "Does stock_level work?"},
        {"role": "assistant", "content": "stock_level does."},
    ]
    rows = uploaded(tmp_path, {"messages": chat, "tools": TOOLS})
    [found] = trained(rows, make_tiny_tokenizer())
    assert found.left_out == "The chat template leaves out the tools that the row offers."
    [found] = trained(rows, tokenizer_with(template_of("qwen2_5")))
    assert found.left_out is None


@pytest.mark.parametrize("arguments", [{"on": True}, {"site": None}, {"opts": {"cold": False}}])
def test_arguments_without_texts_and_numbers_are_not_left_out_in_silence(
    tmp_path: Path, arguments: dict[str, Any]
) -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "go", "arguments": arguments}}
    named = "((m.tool_calls or [{'function': {'name': ''}}])[0].function.name)"
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content + " + named + " }}<|im_end|>\n{% endfor %}"
    )
    template += "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    rows = uploaded(tmp_path, asked_of_a_tool(call, tools=None))
    [found] = trained(rows, tokenizer_with(template))
    assert found.left_out is not None
    assert "tool calls of message 2" in found.left_out
    for name in ("qwen2_5", "qwen3_5_think", "glm4moe", "gemma4", "lfm2_v2", "nemotron_3_nano", "llama3_1"):
        [found] = trained(rows, tokenizer_with(template_of(name), writes_bos=True))
        assert found.left_out is None, name


@pytest.mark.parametrize(("prompt", "completion"), [("foo", "bar"), ("memory", ".feedback()")])
def test_no_space_is_put_between_prompt_and_completion(tmp_path: Path, prompt: str, completion: str) -> None:
    """A tokenizer that begins every text with a space, as those of Llama 2 do, would begin the completion with one."""
    tokenizer = tokenizer_with_spaces()
    [found] = trained(uploaded(tmp_path, {"prompt": prompt, "completion": completion}), tokenizer)
    assert tokenizer.decode(found.ids) == f"{prompt}{completion}</s>"
    assert found.words.endswith(f"{completion}</s>")


@pytest.mark.parametrize("scheme", ["first", "always", "never"])
@pytest.mark.parametrize(
    "row", [{"text": "memory.feedback() foobar"}, {"prompt": "memory.feedback()", "completion": " foobar"}]
)
def test_the_word_behind_a_bos_is_split_as_at_inference(tmp_path: Path, scheme: str, row: Row) -> None:
    """Tokenizers of Llama 2 and early Mistral put a space before the first word of a text, but not behind a bos."""
    tokenizer = tokenizer_with_spaces(scheme, bos="<s>")
    rows = uploaded(tmp_path, row)
    [found] = trained(rows, tokenizer)
    read = text_tokens(row.get("prompt") or row["text"], tokenizer)
    assert found.ids[: len(read)] == read
    assert read[0] == tokenizer.bos_token_id
    assert found.words.endswith("foobar</s>")
    [shown] = token_rows(tmp_path / "rows.arrow", tokenizer, number=1, max_length=64, assistant_only_loss=True)
    assert [token.id for token in shown.tokens] == found.ids
    assert "".join(token.text for token in shown.tokens) == "<s>memory.feedback() foobar</s>"
    if "prompt" in row:
        [asked] = prompts([(1, rows[0])], Renderer(tokenizer, assistant_only_loss=True))
        assert asked is not None
        assert asked.ids.tolist() == read


def tokenizer_with_spaces(scheme: str = "always", bos: str | None = None) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(vocab_size=120, special_tokens=["<unk>", "</s>", "<s>"], show_progress=False)
    tokenizer.train_from_iterator(["memory.feedback() feedback foobar foobar memory.feedback()"] * 5, trainer)
    if bos is not None:
        ids = [(bos, tokenizer.token_to_id(bos))]
        tokenizer.post_processor = TemplateProcessing(single=f"{bos} $A", special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>", bos_token=bos)
