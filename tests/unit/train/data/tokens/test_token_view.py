"""Each token of a row: what it stands for, and what becomes of it."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftlab.errors import NotFoundError
from ftlab.schemas.checks import Token, TokenRow
from tests.support.rows import encode
from tests.support.tiny_models import make_tiny_tokenizer
from tests.unit.train.data.doctor.doctor_rows import FIRST_LINE, Row, answer, chat, check, user, write
from train.data.rows.canonical import Kind
from train.data.tokens.encode import IGNORE
from train.data.tokens.token_view import MAX_CUT_OFF, MAX_TOKENS, token_rows

TOKENIZER = make_tiny_tokenizer()


def view(
    folder: Path,
    *rows: Row,
    number: int = 1,
    kind: Kind = Kind.MESSAGES,
    max_length: int = 512,
    packing: bool = False,
) -> list[TokenRow]:
    path = write(folder / "rows.arrow", list(rows), kind)
    options = {"max_length": max_length, "packing": packing}
    return token_rows(path, TOKENIZER, number=number, assistant_only_loss=True, **options)


def text_of(tokens: list[Token]) -> str:
    return "".join(token.text for token in tokens)


def test_learned_special_and_cut_off_tokens_are_told_apart(tmp_path: Path):
    (row,) = view(tmp_path, chat("Other?", "Row."), chat("Where?", "In the queue."), number=2)
    assert (row.row, row.line, row.part) == (2, FIRST_LINE + 1, "")
    assert text_of(row.tokens) == "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\nIn the queue.<|im_end|>\n"
    assert text_of([token for token in row.tokens if token.is_trained]) == "In the queue.<|im_end|>\n"
    assert {token.text for token in row.tokens if token.is_special} == {"<|im_start|>", "<|im_end|>"}
    assert (row.num_tokens, row.num_truncated) == (len(row.tokens), 0)
    (cut,) = view(tmp_path, chat("Where?", "In the queue."), max_length=row.num_tokens - 3)
    assert [token.is_truncated for token in cut.tokens][-4:] == [False, True, True, True]
    assert cut.num_trained == row.num_trained - 3
    assert cut.num_truncated == 3


@settings(deadline=None, max_examples=60)
@given(
    question=st.text(min_size=1, max_size=60),
    reply=st.text(alphabet="ab ☃é😀\n", min_size=1),
    max_length=st.integers(8, 80),
)
def test_the_view_shows_what_training_reads(
    tmp_path_factory: pytest.TempPathFactory, question: str, reply: str, max_length: int
):
    row = chat(question, reply)
    (shown,) = view(tmp_path_factory.mktemp("rows"), row, max_length=max_length)
    (encoded,) = encode([row], TOKENIZER, max_length=max_length, assistant_only_loss=True)
    assert [token.id for token in shown.tokens][: len(encoded.input_ids)] == encoded.input_ids
    assert shown.num_tokens == encoded.num_tokens
    trained = [token.is_trained for token in shown.tokens][: len(encoded.input_ids)]
    labels = encoded.labels or [IGNORE] * len(encoded.input_ids)
    assert trained == [number > 0 and label != IGNORE for number, label in enumerate(labels)]
    whole = TOKENIZER.apply_chat_template(row["messages"], tokenize=False)
    assert text_of(shown.tokens) == whole


def test_a_character_of_several_tokens_is_shown_once(tmp_path: Path):
    (row,) = view(tmp_path, chat("☃", "So."))
    snow = [token.text for token in row.tokens if "☃" in token.text or not token.text]
    assert snow == ["☃", "", ""]


def test_of_a_pair_both_sides_are_shown(tmp_path: Path):
    pair = {
        "prompt": [user("Where?"), answer("Hm."), user("Where?")],
        "chosen": [answer("Here.")],
        "rejected": [answer("No.")],
    }
    chosen, rejected = view(tmp_path, pair, kind=Kind.PREFERENCE)
    assert (chosen.part, rejected.part) == ("chosen", "rejected")
    assert text_of([token for token in chosen.tokens if token.is_trained]) == "Here.<|im_end|>\n"
    assert text_of([token for token in rejected.tokens if token.is_trained]) == "No.<|im_end|>\n"


def test_of_a_long_row_a_part_is_shown_and_all_is_counted(tmp_path: Path):
    row = chat("Where?", "In the queue. " * 20_000)
    (encoded,) = encode([row], TOKENIZER, max_length=None, assistant_only_loss=True)
    num_learned = sum(label != IGNORE for label in encoded.labels or [])
    (cut,) = view(tmp_path, row, max_length=64)
    assert (cut.num_tokens, cut.num_truncated) == (encoded.num_tokens, encoded.num_tokens - 64)
    assert len(cut.tokens) == 64 + MAX_CUT_OFF == cut.num_tokens - cut.num_hidden
    assert sum(token.is_trained for token in cut.tokens) == cut.num_trained
    (whole,) = view(tmp_path, row, max_length=encoded.num_tokens)
    assert (whole.num_tokens, whole.num_trained, whole.num_truncated) == (encoded.num_tokens, num_learned, 0)
    assert (len(whole.tokens), whole.num_hidden) == (MAX_TOKENS, encoded.num_tokens - MAX_TOKENS)
    assert [token.id for token in whole.tokens] == encoded.input_ids[:MAX_TOKENS]
    rendered = TOKENIZER.apply_chat_template(row["messages"], tokenize=False)
    assert rendered.startswith(text_of(whole.tokens))
    assert len(whole.model_dump_json()) < 2_000_000


def test_packing_splits_a_long_row_where_training_does(tmp_path: Path):
    row = chat("Where?", "In the queue, behind the other jobs of its owner.")
    (shown,) = view(tmp_path, row, max_length=16, packing=True)
    (encoded,) = encode([row], TOKENIZER, max_length=None, assistant_only_loss=True)
    assert (shown.num_tokens, shown.num_truncated) == (encoded.num_tokens, 0)
    learned = [
        place for place, label in enumerate(encoded.labels or []) if label != IGNORE and place % 16 and place > 0
    ]
    assert [place for place, token in enumerate(shown.tokens) if token.is_trained] == learned
    report = check(tmp_path, [row], max_length=16, packing=True)
    assert shown.num_trained == report.trained_tokens_per_epoch == len(learned)


@pytest.mark.parametrize("number", [0, 2, 10**9])
def test_a_row_that_is_not_there(tmp_path: Path, number: int):
    with pytest.raises(NotFoundError) as caught:
        view(tmp_path, chat("Where?", "Here."), number=number)
    assert caught.value.code == "row_not_found"
