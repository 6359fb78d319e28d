"""From characters to tokens: the short way, by one place, must find what a search through all offsets finds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from train.data.tokens.encode import _search_range, token_ranges

PIECES = [
    "hello",
    "wörld",
    "naïve",
    "日本語",
    "😀",
    "👩‍👩‍👧",
    "e\u0301",
    "ﬁn",
    "  ",
    "\n",
    "\t",
    "½",
    "İ",
    "\u200b",
    "ok.",
]
TEXTS = st.lists(st.sampled_from([*PIECES, " ", "<|im_end|>"]), min_size=1, max_size=25).map("".join)
CORPUS = [" ".join(PIECES[start:] + PIECES[:start]) for start in range(len(PIECES))] * 3
SHOWS_NOTHING = {"special_tokens": ["<unk>"], "show_progress": False}


def trained(model: models.Model, trainer: trainers.Trainer, **parts: object) -> Tokenizer:
    tokenizer = Tokenizer(model)
    for name, part in parts.items():
        setattr(tokenizer, name, part)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.add_special_tokens(["<|im_end|>"])
    return tokenizer


TOKENIZERS = {
    "bytes": trained(
        models.BPE(),
        trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), vocab_size=400, **SHOWS_NOTHING),
        pre_tokenizer=pre_tokenizers.ByteLevel(add_prefix_space=False),
    ),
    "words with their space": trained(
        models.Unigram(),
        trainers.UnigramTrainer(vocab_size=120, unk_token="<unk>", **SHOWS_NOTHING),
        pre_tokenizer=pre_tokenizers.Metaspace(),
        normalizer=normalizers.NFKC(),
    ),
    "lower case without accents": trained(
        models.WordPiece(unk_token="<unk>"),
        trainers.WordPieceTrainer(vocab_size=200, **SHOWS_NOTHING),
        pre_tokenizer=pre_tokenizers.BertPreTokenizer(),
        normalizer=normalizers.BertNormalizer(),
    ),
}


@pytest.mark.parametrize("name", TOKENIZERS)
@given(text=TEXTS, data=st.data())
def test_both_ways_find_the_same_tokens(name: str, text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.one_of(st.integers(start + 1, len(text)), st.just(len(text))))
    encoding = TOKENIZERS[name].encode(text, add_special_tokens=False)
    (first, last), expected = (
        token_ranges(encoding, [(start, end)], len(text))[0],
        _search_range(encoding.offsets, (start, end)),
    )
    assert (first, last) == expected or (first >= last and expected[0] >= expected[1])
