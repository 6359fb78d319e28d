import gc
from collections.abc import Iterable
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from ftlab.errors import InvalidRequestError
from tests.support.rows import EncodedRow, encode
from tests.support.tiny_models import make_tiny_tokenizer
from train.data.rows.errors import DatasetInvalidError
from train.data.shapes.shapes import Row
from train.data.tokens import encode as module
from train.data.tokens.encode import BATCH_ROWS, IGNORE

THINKING_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['role'] == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Like Qwen3: what an answer looks like depends on whether it is the last one."""

DEFAULT_SYSTEM_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Like SmolLM2: an empty conversation has no prompt in common with any other."""


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tiny_tokenizer()


def chat(*turns: str, weights: dict[int, int] | None = None) -> Row:
    """User and assistant in turns; `weights` by message number from 0."""
    messages: list[dict[str, Any]] = []
    for i, text in enumerate(turns):
        messages.append({"role": "assistant" if i % 2 else "user", "content": text})
        if weights and i in weights:
            messages[-1]["weight"] = weights[i]
    return {"messages": messages}


class Encoded:
    """The rows that teach something, by column."""

    def __init__(self, rows: Iterable[EncodedRow]) -> None:
        self.rows = list(rows)
        self.input_ids = [row.input_ids for row in self.rows if row.labels is not None]
        self.labels = [row.labels for row in self.rows if row.labels is not None]


def learned(tokenizer: PreTrainedTokenizerFast, encoded: Encoded, row: int = 0) -> str:
    """The text under the labels, with `|` for each stretch that is left out."""
    ids, labels = encoded.input_ids[row], encoded.labels[row]
    assert len(ids) == len(labels)
    assert all(label in (token, IGNORE) for token, label in zip(ids, labels, strict=True))
    parts: list[list[int]] = [[]]
    for label in labels:
        if label != IGNORE:
            parts[-1].append(label)
        elif parts[-1]:
            parts.append([])
    return "|".join(tokenizer.decode(part) for part in parts if part)


def run(tokenizer: PreTrainedTokenizerFast, *rows: Row, max_length: int | None = 512, only: bool = True) -> Encoded:
    return Encoded(encode(rows, tokenizer, max_length=max_length, assistant_only_loss=only))


def test_the_answers_and_their_end_are_learned(tokenizer: PreTrainedTokenizerFast):
    row = chat("Where is it?", " In the  queue ☃\n", "And now?", "Done.")
    encoded = run(tokenizer, row)
    assert learned(tokenizer, encoded) == " In the  queue ☃\n<|im_end|>\n|Done.<|im_end|>\n"
    text = tokenizer.apply_chat_template(row["messages"], tokenize=False)
    assert encoded.input_ids == [tokenizer(text)["input_ids"]]
    assert encoded.rows[0].num_tokens == len(encoded.input_ids[0])


def test_everything_is_learned_without_the_mask(tokenizer: PreTrainedTokenizerFast):
    encoded = run(tokenizer, chat("Where?", "Here.", "And?", "There."), only=False)
    assert encoded.labels == encoded.input_ids


def test_a_message_of_weight_0_is_never_learned(tokenizer: PreTrainedTokenizerFast):
    row = chat("One?", "Two.", "Three?", "Four.", weights={1: 0, 3: 1})
    assert learned(tokenizer, run(tokenizer, row)) == "Four.<|im_end|>\n"
    assert learned(tokenizer, run(tokenizer, row, only=False)) == (
        "<|im_start|>user\nOne?<|im_end|>\n<|im_start|>assistant\n"
        "|<|im_start|>user\nThree?<|im_end|>\n<|im_start|>assistant\nFour.<|im_end|>\n"
    )


def test_offsets_that_leave_spaces_out_do_not_move_the_mask(tokenizer: PreTrainedTokenizerFast):
    from tokenizers import processors

    row = chat("Where?  ", "  In   the queue.   ", "   And?", " ")
    expected = run(tokenizer, row).labels
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    assert run(tokenizer, row).labels == expected


def test_rows_are_cut_at_the_right(tokenizer: PreTrainedTokenizerFast):
    rows = [chat("Where?", "In the queue, as always."), chat("Why?", "So."), chat("What? " * 30, "That.")]
    whole = run(tokenizer, *rows, max_length=None)
    lengths = [len(ids) for ids in whole.input_ids]
    limit = lengths[0] - 3
    encoded = run(tokenizer, *rows, max_length=limit)
    assert encoded.input_ids == [whole.input_ids[0][:limit], whole.input_ids[1]]
    assert "<|im_end|>" not in learned(tokenizer, encoded)
    assert learned(tokenizer, encoded, 1) == "So.<|im_end|>\n"
    assert [row.num_tokens for row in encoded.rows] == lengths
    assert encoded.rows[2].labels is None


def test_a_row_of_which_only_the_first_token_is_learned_teaches_nothing(tokenizer: PreTrainedTokenizerFast):
    assert run(tokenizer, chat("One?", "Two."), max_length=1, only=False).rows[0].labels is None


@pytest.mark.parametrize(("limit", "value"), [("BATCH_ROWS", 7), ("BATCH_CHARS", 300)])
def test_many_rows_keep_their_order_over_batches(
    tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
):
    monkeypatch.setattr(module, limit, value)
    encoded = run(tokenizer, *(chat("Which?", f"Number {number}.") for number in range(30)))
    found = [learned(tokenizer, encoded, row) for row in range(30)]
    assert found == [f"Number {number}.<|im_end|>\n" for number in range(30)]


def test_a_template_that_rewrites_the_past_is_refused(tokenizer: PreTrainedTokenizerFast):
    tokenizer.chat_template = THINKING_TEMPLATE
    assert learned(tokenizer, run(tokenizer, chat("One?", "Two."))) == "<think></think>Two.<|im_end|>\n"
    with pytest.raises(InvalidRequestError, match=r"row 2.*set method\.assistant_only_loss to false") as caught:
        run(tokenizer, chat("One?", "Two."), chat("One?", "Two.", "Three?", "Four."))
    assert (caught.value.code, caught.value.param) == (
        "chat_template_unsupported",
        "method.assistant_only_loss",
    )
    whole = run(tokenizer, chat("One?", "Two.", "Three?", "Four."), only=False)
    assert whole.labels == whole.input_ids
    with pytest.raises(InvalidRequestError, match="remove the weights of 0"):
        run(tokenizer, chat("One?", "Two.", "Three?", "Four.", weights={1: 0}), only=False)


def test_earlier_answers_of_weight_0_need_no_place(tokenizer: PreTrainedTokenizerFast):
    tokenizer.chat_template = THINKING_TEMPLATE
    row = chat("One?", "Two.", "Three?", "Four.", weights={1: 0})
    assert learned(tokenizer, run(tokenizer, row)) == "<think></think>Four.<|im_end|>\n"


def test_a_greeting_without_a_prompt_is_context(tokenizer: PreTrainedTokenizerFast):
    greeting = {"role": "assistant", "content": "Hello."}
    row = {"messages": [greeting, *chat("One?", "Two.")["messages"]]}
    assert learned(tokenizer, run(tokenizer, row)) == "Hello.<|im_end|>\n|Two.<|im_end|>\n"
    tokenizer.chat_template = DEFAULT_SYSTEM_TEMPLATE
    assert learned(tokenizer, run(tokenizer, row)) == "Two.<|im_end|>\n"


def test_a_row_that_the_template_refuses(tokenizer: PreTrainedTokenizerFast):
    tokenizer.chat_template = "{{ raise_exception('System role not supported') }}"
    with pytest.raises(DatasetInvalidError, match="Row 1 does not fit the model's chat template: System role not"):
        run(tokenizer, chat("One?", "Two."))


def test_without_a_template_contents_are_lines(tokenizer: PreTrainedTokenizerFast):
    tokenizer.chat_template = None
    row = chat("One?", "Two.", "Three?", "Four.")
    encoded = run(tokenizer, row)
    assert tokenizer.decode(encoded.input_ids[0]) == "One?\nTwo.\nThree?\nFour.<|im_end|>"
    assert learned(tokenizer, encoded) == "Two.\n|Four.<|im_end|>"
    assert encoded.input_ids[0][-1] == tokenizer.eos_token_id
    skipped = chat("One?", "Two.", "Three?", "Four.", weights={1: 0})
    assert learned(tokenizer, run(tokenizer, skipped, only=False)) == "One?\n|Three?\nFour.<|im_end|>"


def test_without_a_template_the_tokenizers_own_bos_stays(tokenizer: PreTrainedTokenizerFast):
    from tokenizers import processors

    tokenizer.chat_template = None
    tokenizer.bos_token = "<|im_start|>"
    assert run(tokenizer, chat("One?", "Two.")).input_ids[0][0] != tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", tokenizer.bos_token_id)]
    )
    encoded = run(tokenizer, chat("One?", "Two."))
    assert tokenizer.decode(encoded.input_ids[0]) == "<|im_start|>One?\nTwo.<|im_end|>"
    assert learned(tokenizer, encoded) == "Two.<|im_end|>"


def test_tools_reach_the_template_and_calls_as_objects(tokenizer: PreTrainedTokenizerFast):
    tokenizer.chat_template = (
        "{{ tools[0]['function']['name'] }}:{% for m in messages %}{{ m.role[0] }}="
        "{% if m.tool_calls %}{{ m.tool_calls[0].function.arguments | tojson }}{% endif %}{{ m.content }};"
        "{% endfor %}"
        "{% if add_generation_prompt %}a={% endif %}"
    )
    call = {"type": "function", "function": {"name": "look", "arguments": '{"at": "☃"}'}}
    broken = {"type": "function", "function": {"name": "look", "arguments": "{"}}
    for calls, text in (([call], '{"at": "☃"};'), ([broken], '"{";')):
        messages = [
            {"role": "user", "content": "Go."},
            {"role": "assistant", "content": "", "tool_calls": calls},
        ]
        encoded = run(tokenizer, {"messages": messages, "tools": [{"name": "look"}]})
        assert tokenizer.decode(encoded.input_ids[0]) == f"look:u=Go.;a={text}"
        assert learned(tokenizer, encoded) == text


def test_a_slow_tokenizer_is_refused(tokenizer: PreTrainedTokenizerFast, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(tokenizer), "is_fast", False)
    with pytest.raises(InvalidRequestError, match="fast tokenizer") as caught:
        run(tokenizer, chat("One?", "Two."))
    assert caught.value.code == "tokenizer_unsupported"


HELLO = chat("Hi", "Hello")


def test_old_objects_are_left_alone_from_the_second_batch_on_and_until_the_end(tokenizer: PreTrainedTokenizerFast):
    gc.unfreeze()
    run(tokenizer, HELLO)
    rows = encode([HELLO] * (BATCH_ROWS + 1), tokenizer, max_length=None, assistant_only_loss=False)
    assert gc.get_freeze_count() == 0
    next(rows)
    assert gc.get_freeze_count() > 0
    assert len(list(rows)) == BATCH_ROWS
    assert gc.get_freeze_count() == 0


def test_one_batch_thaws_nothing_that_others_froze(tokenizer: PreTrainedTokenizerFast):
    gc.freeze()
    run(tokenizer, HELLO)
    assert gc.get_freeze_count() > 0
