"""The split into training and evaluation rows: the same on every machine, with equal rows on one side."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftlab.errors import InvalidRequestError
from ftlab.schemas import JobConfig
from ftlab.schemas.job_file import parse_job_config
from tests.unit.train.runs import write_messages, write_pairs, write_rows
from train.data import row_keys as module
from train.data.eval_split import FileSplit, Keys, RowSelection, check_sides, split_rows
from train.data.row_keys import row_keys, split_files
from train.data.rows.canonical import Kind, write_canonical
from train.data.rows.errors import DatasetInvalidError
from train.data.split_spec import SplitSpec, no_eval_rows

KEYS = st.lists(st.integers(0, 12), min_size=1, max_size=30)
FILES = st.lists(KEYS, min_size=1, max_size=4)
SPECS = st.builds(SplitSpec, st.sampled_from([0.01, 0.1, 0.29, 1 / 3, 0.5, 0.9, 0.999]), st.integers(0, 2**32 - 1))


def keys(numbers: Sequence[int]) -> Keys:
    return np.asarray(numbers, dtype=np.uint64)


def sides(files: Sequence[Sequence[int]], spec: SplitSpec) -> list[tuple[list[int], list[int]]]:
    """The keys on both sides of each file."""
    splits = split_rows([keys(file) for file in files], spec)
    return [
        ([key for key, flag in zip(file, split.train.flags, strict=True) if flag],
         [key for key, flag in zip(file, split.eval.flags, strict=True) if flag])
        for file, split in zip(files, splits, strict=True)
    ]  # fmt: skip


@given(FILES, SPECS)
def test_every_row_is_on_one_side_and_equal_rows_are_on_the_same(files: list[list[int]], spec: SplitSpec):
    splits = split_rows([keys(file) for file in files], spec)
    assert all((split.train.flags ^ split.eval.flags).all() for split in splits)
    found = sides(files, spec)
    trained = {key for train, _ in found for key in train}
    held_out = {key for _, evaluated in found for key in evaluated}
    assert not trained & held_out


@given(KEYS, SPECS, st.randoms())
def test_the_order_of_the_rows_does_not_matter(file: list[int], spec: SplitSpec, random: Any):
    shuffled = random.sample(file, len(file))
    [one], [other] = sides([file], spec), sides([shuffled], spec)
    assert [sorted(side) for side in one] == [sorted(side) for side in other]


@given(FILES, KEYS, SPECS)
def test_a_later_file_changes_nothing_before_it(files: list[list[int]], added: list[int], spec: SplitSpec):
    assert sides([*files, added], spec)[:-1] == sides(files, spec)


@given(FILES, FILES, SPECS)
def test_appended_files_add_no_evaluation_rows(files: list[list[int]], added: list[list[int]], spec: SplitSpec):
    fixed = SplitSpec(spec.share, spec.seed, len(files))
    found, before = sides([*files, *added], fixed), sides(files, spec)
    assert found[: len(files)] == before
    held_out = {key for _, evaluated in before for key in evaluated}
    for (train, evaluated), file in zip(found[len(files) :], added, strict=True):
        assert evaluated == []
        assert train == [key for key in file if key not in held_out]


@given(st.integers(1, 200), SPECS)
def test_different_rows_give_exactly_their_share(num_rows: int, spec: SplitSpec):
    [(train, evaluated)] = sides([range(num_rows)], spec)
    assert len(evaluated) == spec.num_held_out(num_rows)
    assert train


@given(KEYS, SPECS)
def test_the_smallest_share_that_is_named_works(file: list[int], spec: SplitSpec):
    files = [keys(file)]
    splits = split_rows(files, spec)
    if splits[0].eval.num_rows:
        check_sides(splits, files, spec, ["ds-1"])
        return
    with pytest.raises(DatasetInvalidError, match=r"^eval_split .* leaves no row to evaluate on") as raised:
        check_sides(splits, files, spec, ["ds-1"])
    assert raised.value.param == "eval_split"
    if len(set(file)) == 1:
        assert "because all rows are equal" in raised.value.message
        return
    share = float(raised.value.message.removesuffix(".").rpartition(" ")[2])
    assert split_rows(files, SplitSpec(share, spec.seed))[0].eval.num_rows
    assert not split_rows(files, SplitSpec(share - 2e-6, spec.seed))[0].eval.num_rows


def test_shares_are_exact_decimals():
    assert SplitSpec(0.29, 0).num_held_out(100) == 29  # 0.29 * 100 is 28.999...
    assert SplitSpec(1 / 3, 0).num_held_out(3) == 1
    assert SplitSpec(1e-6, 0).num_held_out(1_000_000) == 1
    assert no_eval_rows(SplitSpec(0.01, 0), [(1, 9)]).endswith("the smallest share that works is 0.111112.")
    assert no_eval_rows(SplitSpec(1e-9, 0), [(1, 2_000_000)]).endswith("works is 0.0000005.")


def test_seeds_hold_out_different_rows_and_one_seed_always_the_same():
    """Another version that held out other rows would train on evaluation rows after a resume."""
    held_out = [sides([range(20)], SplitSpec(0.2, seed))[0][1] for seed in (0, 1, 2**32 - 1)]
    assert held_out == [[3, 10, 11, 18], [7, 14, 16, 19], [4, 16, 18, 19]]


def test_the_keys_of_rows_stay_the_same(tmp_path: Path):
    found = row_keys(write_rows(tmp_path / "rows.arrow", 2), tmp_path / "cache")
    assert list(found) == [0xEACD9313812AC5D9, 0x15E2195C80EEEFFD]


def test_a_file_whose_rows_are_all_held_out_is_refused():
    files = [keys(range(10)), keys([7])]
    seed = next(seed for seed in range(100) if 7 in sides([range(10)], SplitSpec(0.2, seed))[0][1])
    spec = SplitSpec(0.2, seed)
    with pytest.raises(
        DatasetInvalidError, match=r"^Every row of dataset ds-2 equals a row that eval_split sets aside"
    ):
        check_sides(split_rows(files, spec), files, spec, ["ds-1", "ds-2"])


def test_the_key_of_a_row_is_its_words_and_that_of_a_pair_its_prompt(tmp_path: Path):
    chat = [[{"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}] for text in "aba"]
    one, two, three = row_keys(write_messages(tmp_path / "chat.arrow", chat), tmp_path / "cache")
    assert one == three != two
    pairs = row_keys(write_pairs(tmp_path / "pairs.arrow", 8), tmp_path / "cache")
    assert list(pairs[:4]) == list(pairs[4:]), "their answers differ"
    assert len(set(pairs)) == 4
    texts = tmp_path / "texts.arrow"
    with write_canonical(texts, Kind.TEXT) as out:
        for line, text in enumerate(["a", "b", "a"], 1):
            out.write(line, {"text": text})
    one, two, three = row_keys(texts, tmp_path / "cache")
    assert one == three != two


def test_conversations_with_one_prompt_are_on_one_side_where_a_method_learns_from_prompts_alone(tmp_path: Path):
    chat = [
        [{"role": "user", "content": question}, {"role": "assistant", "content": f"Solution {number}."}]
        for question in ("a", "b")
        for number in range(3)
    ]
    file = write_messages(tmp_path / "chat.arrow", chat)
    assert len(set(row_keys(file, tmp_path / "cache"))) == 6
    keys = list(row_keys(file, tmp_path / "cache", by_prompt=True))
    assert keys == [keys[0]] * 3 + [keys[3]] * 3
    assert keys[0] != keys[3]
    grpo = {"type": "grpo", "rewards": [{"type": "length", "max_length": 9}]}
    for method, by_prompt in ((grpo, True), ({"type": "sft"}, False)):
        config = JobConfig.model_validate({"model": "m", "dataset": "d", "eval_split": 0.5, "method": method})
        assert SplitSpec.of(config) == SplitSpec(0.5, 0, by_prompt=by_prompt)


def test_keys_are_made_once_and_rebuilt_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rows = write_rows(tmp_path / "rows.arrow", 8)
    first = row_keys(rows, tmp_path / "cache")
    assert list(row_keys(rows, tmp_path / "other")) == list(first)
    monkeypatch.setattr(module, "_identity", lambda row, **_: "made again")
    assert list(row_keys(rows, tmp_path / "cache")) == list(first)
    with pytest.raises(DatasetInvalidError):
        row_keys(tmp_path / "gone.arrow", tmp_path / "cache")


def test_a_file_that_is_given_twice_is_split_once(tmp_path: Path):
    rows = write_rows(tmp_path / "rows.arrow", 10)
    one, two = split_files([rows, rows], SplitSpec(0.2, 3), tmp_path / "cache", ["ds-1", "ds-1"])
    assert list(one.eval.flags) == list(two.eval.flags)
    assert (one.train.num_rows, one.eval.num_rows) == (8, 2)
    assert list(one.eval.numbers()) == [number + 1 for number, flag in enumerate(one.eval.flags) if flag]


def test_selections_of_different_rows_have_different_digests():
    flags = [[True, False], [False, True], [True, False, False], [True] * 8, [True] * 8 + [False]]
    assert len({RowSelection(np.asarray(each)).digest for each in flags}) == len(flags)
    assert RowSelection(np.asarray(flags[0])).digest == RowSelection(np.asarray(flags[0])).digest


def config(**changes: Any) -> JobConfig:
    return parse_job_config({"model": "org/x", "dataset": "ds-1"} | changes)


def test_a_config_without_a_split_has_none():
    assert SplitSpec.of(config()) is None
    assert SplitSpec.of(config(eval_split=0.1, eval_split_seed=5)) == SplitSpec(0.1, 5, None)
    assert config(eval_split=0.1).has_evaluation
    assert not config().has_evaluation


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eval_split": 0.1, "eval_dataset": "ds-2"}, "eval_dataset and eval_split cannot be combined"),
        ({"eval_split_seed": 1}, "eval_split_seed has no effect without eval_split"),
        ({"eval_split_files": 1}, "eval_split_files has no effect without eval_split"),
        (
            {"eval_split": 0.1, "eval_split_files": 2},
            r"eval_split_files \(2\) must not be above the number of datasets",
        ),
        ({"eval_split": 0}, "eval_split"),
        ({"eval_split": 1}, "eval_split"),
    ],
)
def test_settings_that_do_not_fit_are_refused(changes: dict[str, Any], message: str):
    with pytest.raises(InvalidRequestError, match=message):
        config(**changes)


def test_a_split_of_one_file_has_two_sides():
    [split] = split_rows([keys(range(5))], SplitSpec(0.4, 0))
    assert isinstance(split, FileSplit)
    assert (split.train.num_rows, split.eval.num_rows) == (3, 2)
