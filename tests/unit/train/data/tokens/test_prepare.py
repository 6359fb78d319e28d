"""Prepared rows: the same tokens as without a cache, made once for all who want them."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from ftlab.schemas.methods import KtoMethod, SftMethod
from tests.support.rows import encode, read_rows
from tests.support.tiny_models import make_tiny_tokenizer
from tests.unit.train.runs import write_messages, write_rows
from train.data.rows.canonical import Kind, write_canonical
from train.data.rows.errors import DatasetInvalidError
from train.data.tokens import prepare
from train.data.tokens.encode import IGNORE
from train.data.tokens.prepare import Counts, Prepared, PrepareSpec, check_labels, prepare_rows

MAX_LENGTH = 64


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tiny_tokenizer().save_pretrained(folder)
    return folder


class Maker:
    """Prepares rows with one tokenizer, which counts the texts that it is given."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        self.cache = cache
        self.num_loads = 0

    def tokenizer(self) -> PreTrainedTokenizerFast:
        self.num_loads += 1
        return make_tiny_tokenizer()

    def spec(self, rows: Path, **changes: Any) -> PrepareSpec:
        return replace(PrepareSpec.of(rows, self.folder, SftMethod(max_length=MAX_LENGTH)), **changes)

    def __call__(self, rows: Path, **changes: Any) -> Prepared:
        return prepare_rows(self.spec(rows, **changes), self.cache, self.tokenizer)


@pytest.fixture
def make(tokenizer_folder: Path, tmp_path: Path) -> Maker:
    return Maker(tokenizer_folder, tmp_path / "cache")


def conversation(words: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "Go on."}, {"role": "assistant", "content": "queue " * words}]


def test_prepared_rows_are_the_encoded_rows(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("train.data.tokens.arrow_rows.BATCH_NUMBERS", 200)
    rows = write_rows(tmp_path / "rows.arrow", 30)
    expected = list(encode(read_rows(rows), make_tiny_tokenizer(), max_length=MAX_LENGTH, assistant_only_loss=True))
    found = make(rows).dataset()
    assert found["input_ids"][:] == [row.input_ids for row in expected]
    assert found["labels"][:] == [row.labels for row in expected]
    assert found.column_names == ["input_ids", "labels"]


def test_the_second_one_tokenises_nothing(make: Maker, tmp_path: Path):
    rows = write_rows(tmp_path / "rows.arrow", 8)
    first = make(rows)
    elsewhere = tmp_path / "copy.arrow"
    elsewhere.write_bytes(rows.read_bytes())
    second = make(elsewhere)
    assert make.num_loads == 1
    assert (second.key, second.counts) == (first.key, first.counts)
    assert second.dataset()[:] == first.dataset()[:]


@pytest.mark.parametrize(
    "changes",
    [{"max_length": 63}, {"assistant_only_loss": False}, {"packing": True}],
    ids=lambda item: next(iter(item)),
)
def test_another_way_of_preparing_is_another_entry(make: Maker, tmp_path: Path, changes: dict[str, Any]):
    rows = write_rows(tmp_path / "rows.arrow", 8)
    assert make.spec(rows, **changes).key() != make.spec(rows).key()


def test_other_rows_template_tokens_or_code_are_another_entry(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = write_rows(tmp_path / "rows.arrow", 8)
    keys = [make.spec(rows).key(), make.spec(write_rows(tmp_path / "other.arrow", 9)).key()]
    for name in ("chat_template.jinja", "tokenizer.json"):
        other = tmp_path / name
        tokenizer = make_tiny_tokenizer(vocab_size=400 if name == "tokenizer.json" else 512)
        tokenizer.chat_template = str(tokenizer.chat_template).replace("message", name[:4])
        tokenizer.save_pretrained(other)
        keys.append(make.spec(rows, tokenizer_folder=other).key())
    monkeypatch.setattr(prepare, "VERSION", prepare.VERSION + 1)
    keys.append(make.spec(rows).key())
    assert len(set(keys)) == len(keys)


def test_rows_that_a_bucket_named_by_their_content_are_not_read_for_the_key(make: Maker, tmp_path: Path):
    name = f"{'a' * 64}-{'b' * 12}.arrow"
    keys = {make.spec(tmp_path / folder / name).key() for folder in ("one", "other")}
    assert len(keys) == 1
    assert make.spec(tmp_path / name.replace("b", "c")).key() not in keys


def test_weights_are_no_part_of_the_key(make: Maker, tmp_path: Path):
    rows = write_rows(tmp_path / "rows.arrow", 8)
    folder = tmp_path / "model"
    make_tiny_tokenizer().save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"weights")
    assert make.spec(rows, tokenizer_folder=folder).key() == make.spec(rows).key()


def test_rows_that_are_cut_or_teach_nothing_are_counted(make: Maker, tmp_path: Path):
    question = {"role": "user", "content": "What? " * 30}
    rows = [conversation(2), conversation(100), [question, {"role": "assistant", "content": "That."}]]
    prepared = make(write_messages(tmp_path / "rows.arrow", rows))
    counts, found = prepared.counts, prepared.dataset()
    lengths = [len(ids) for ids in found["input_ids"]]
    assert len(lengths) == counts.num_sequences == 2
    assert lengths[1] == MAX_LENGTH
    assert (counts.num_rows, counts.num_truncated_rows, counts.num_untrained_rows) == (3, 2, 1)
    assert counts.num_dropped_tokens > 100
    assert counts.num_tokens == sum(lengths)
    assert counts.num_trained_tokens == sum(label != IGNORE for labels in found["labels"] for label in labels[1:])


@pytest.mark.parametrize("packing", [True, False])
def test_rows_without_anything_to_learn_are_refused(make: Maker, tmp_path: Path, packing: bool):
    question = {"role": "user", "content": "What? " * 30}
    answer = {"role": "assistant", "content": "That.", "weight": 0}
    rows = write_messages(tmp_path / "rows.arrow", [[question, answer]] * 3)  # type: ignore[list-item]
    with pytest.raises(DatasetInvalidError, match="None of the 3 rows has a token to train on") as caught:
        make(rows, packing=packing)
    assert caught.value.code == "dataset_invalid"
    assert list((make.cache / "prepared").iterdir()) == []


def test_packed_rows_hold_every_token_once(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("train.data.tokens.arrow_rows.BATCH_NUMBERS", 200)
    rows = write_messages(tmp_path / "rows.arrow", [conversation(words) for words in (1, 3, 150, 2, 40, 5, 64, 9)])
    whole = list(encode(read_rows(rows), make_tiny_tokenizer(), max_length=None, assistant_only_loss=True))
    prepared = make(rows, packing=True)
    counts, found = prepared.counts, prepared.dataset()
    assert [sum(lengths) for lengths in found["seq_lengths"]] == [len(ids) for ids in found["input_ids"]]
    assert max(len(ids) for ids in found["input_ids"]) <= MAX_LENGTH
    assert counts.num_tokens == sum(len(row.input_ids) for row in whole)
    assert (counts.num_truncated_rows, counts.num_dropped_tokens) == (0, 0)
    assert counts.num_split_rows == sum(len(row.input_ids) > MAX_LENGTH for row in whole) > 0

    pieces = []
    for row in whole:
        for start in range(0, len(row.input_ids), MAX_LENGTH):
            assert row.labels is not None
            labels = row.labels[start : start + MAX_LENGTH]
            pieces.append((row.input_ids[start : start + MAX_LENGTH], [IGNORE, *labels[1:]]))
    assert sorted(_documents(found)) == sorted(pieces)
    assert counts.num_trained_tokens == sum(label != IGNORE for _, labels in pieces for label in labels)


def _documents(found: Any) -> list[tuple[list[int], list[int]]]:
    documents = []
    for row in found:
        start = 0
        for length in row["seq_lengths"]:
            end = start + length
            documents.append((row["input_ids"][start:end], row["labels"][start:end]))
            start = end
    return documents


def test_the_manifest_tells_what_is_padding(make: Maker, tmp_path: Path):
    rows = write_messages(tmp_path / "rows.arrow", [conversation(1 + number % 13) for number in range(400)])
    plain, packed = make(rows).counts, make(rows, packing=True).counts
    assert plain.useful_fraction["1"] == 1.0
    assert 0.4 < plain.useful_fraction["8"] < plain.useful_fraction["2"] < 1.0
    assert packed.useful_fraction["8"] > 0.95
    lengths = sorted(len(ids) for ids in make(rows).dataset()["input_ids"])
    assert plain.num_tokens / (lengths[-1] * len(lengths)) < plain.useful_fraction["32"]


@pytest.mark.parametrize("packing", [True, False])
def test_plain_text_is_learned_whole(make: Maker, tmp_path: Path, packing: bool):
    rows = tmp_path / "text.arrow"
    texts = ["The queue keeps every job in order.", "A checkpoint holds the weights. " * 20]
    with write_canonical(rows, Kind.TEXT) as out:
        for line, text in enumerate(texts, 1):
            out.write(line, {"text": text})
    prepared = make(rows, packing=packing)
    tokenizer, found = make_tiny_tokenizer(), prepared.dataset()
    documents = _documents(found) if packing else list(zip(found["input_ids"], found["labels"], strict=True))
    for ids, labels in documents:
        assert labels[1:] == ids[1:]
    assert prepared.counts.num_trained_tokens == sum(len(ids) - 1 for ids, _ in documents)
    whole = [ids for ids, _ in documents if tokenizer.decode(ids) == texts[0] + "<|im_end|>"]
    assert len(whole) == 1, "and that it ends"


def test_pairs_are_refused(make: Maker, tmp_path: Path):
    rows = tmp_path / "pairs.arrow"
    question, answer = [{"role": "user", "content": "Why?"}], [{"role": "assistant", "content": "So."}]
    with write_canonical(rows, Kind.PREFERENCE) as out:
        out.write(1, {"prompt": question, "chosen": answer, "rejected": answer})
    with pytest.raises(DatasetInvalidError, match="kind 'preference', and the method trains on messages or text"):
        make(rows)


def test_eval_rows_are_not_packed(tokenizer_folder: Path, tmp_path: Path):
    method = SftMethod(max_length=MAX_LENGTH, packing=True)
    assert PrepareSpec.of(tmp_path, tokenizer_folder, method).packing
    assert not PrepareSpec.of(tmp_path, tokenizer_folder, method, is_eval=True).packing


def test_progress_is_told_and_may_end_the_work(make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    class StopError(Exception):
        pass

    monkeypatch.setattr(prepare, "PROGRESS_ROWS", 10)
    told: list[int] = []

    def on_progress(done: int) -> None:
        told.append(done)
        if done == 20:
            raise StopError

    spec = make.spec(write_rows(tmp_path / "rows.arrow", 35))
    with pytest.raises(StopError):
        prepare_rows(spec, make.cache, make.tokenizer, on_progress)
    assert told == [10, 20]
    assert list((make.cache / "prepared").iterdir()) == []


@pytest.mark.parametrize("packing", [True, False])
def test_memory_does_not_grow_with_the_file(
    make: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packing: bool
):
    monkeypatch.setattr("train.data.rows.canonical.BATCH_ROWS", 50)
    monkeypatch.setattr("train.data.tokens.encode.BATCH_ROWS", 50)
    monkeypatch.setattr("train.data.tokens.arrow_rows.BATCH_NUMBERS", 2000)
    make(write_rows(tmp_path / "first.arrow", 10), packing=packing)  # what is made once
    peaks = []
    for count in (300, 1500):
        rows = write_rows(tmp_path / f"{count}.arrow", count)
        tracemalloc.start()
        make(rows, packing=packing)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # About 60 bytes a row stay: its length and its place. Its tokens would be 2,000.
    assert peaks[1] - peaks[0] < 1200 * 200


def test_counts_survive_the_manifest(make: Maker, tmp_path: Path):
    rows = write_rows(tmp_path / "rows.arrow", 8)
    assert isinstance(make(rows).counts, Counts)
    assert make(rows).counts == make(rows).counts


def test_a_rated_answer_has_its_rating(make: Maker, tmp_path: Path):
    rows = tmp_path / "rated.arrow"
    question = [{"role": "user", "content": "Why?"}]
    with write_canonical(rows, Kind.UNPAIRED) as out:
        for number, label in enumerate((True, False, True)):
            said = [{"role": "assistant", "content": f"So {number}."}]
            out.write(number + 1, {"prompt": question, "completion": said, "label": label})
    prepared = make(rows, kinds=(Kind.UNPAIRED,))
    found = prepared.dataset()
    assert found["is_desirable"][:] == [[1], [0], [1]]
    assert prepared.counts.num_desirable == 2
    trained = [[token for token in labels if token != IGNORE] for labels in found["labels"]]
    tokenizer = make_tiny_tokenizer()
    assert [tokenizer.decode(tokens).split("<|im_end|>")[0] for tokens in trained] == ["So 0.", "So 1.", "So 2."]
    check_labels(prepared.counts, KtoMethod())
    with pytest.raises(DatasetInvalidError, match="All 3 answers to train on are rated bad"):
        check_labels(replace(prepared.counts, num_desirable=0), KtoMethod())
    check_labels(replace(prepared.counts, num_desirable=0), SftMethod())
