"""What the doctor says about datasets, rule by rule, and that its figures are those of training."""

import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ftlab.schemas.check_rules import CheckRule, Severity
from ftlab.schemas.checks import CheckReport
from tests.support.rows import encode
from tests.support.tiny_models import make_tiny_tokenizer
from tests.unit.train.data.doctor.doctor_rows import FIRST_LINE, Row, answer, chat, chats, check, sentence, user, write
from train.data.doctor import CheckOptions, EvalRows, examine, worst
from train.data.rows.canonical import Kind
from train.data.tokens import encode as module
from train.data.tokens.encode import IGNORE

TOKENIZER = make_tiny_tokenizer()
REFUSING = (
    "{% for m in messages %}{% if m['role'] == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DEAF = (
    "{% for m in messages %}{% if m['role'] != 'system' %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ENDLESS = (
    "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
REWRITING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ASKED_FIRST = (
    "{% if not messages %}{{ raise_exception('nothing is asked') }}{% endif %}{% for m in messages %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TRIMMING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SOUND = chat("Where does my job wait?", "It waits in the queue until devices are free.")


def with_template(template: str | None) -> PreTrainedTokenizerFast:
    tokenizer = make_tiny_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def talk(*texts: str) -> Row:
    return {"messages": [answer(text) if i % 2 else user(text) for i, text in enumerate(texts)]}


def told(role: str, content: str) -> Row:
    """A question, something said by `role`, and an answer."""
    return {"messages": [user("Where?"), {"role": role, "content": content}, answer("In the queue.")]}


def rows_of(report: CheckReport, rule: CheckRule) -> list[int | None]:
    return [finding.row for finding in report.findings if finding.rule == rule]


def test_a_sound_dataset_has_no_error_and_no_warning(tmp_path: Path):
    report = check(tmp_path, chats(50))
    assert report.counts == {"no_generation_marks": 1}
    assert not report.has_errors
    assert (report.num_rows, report.kind, report.template) == (50, "messages", "model")
    assert (report.num_truncated, report.num_untrained, report.num_dropped_tokens) == (0, 0, 0)


@pytest.mark.parametrize(
    ("rule", "row", "template"),
    [
        (CheckRule.TEMPLATE_FAILED, told("tool", "5"), REFUSING),
        (CheckRule.TURNS_NOT_FOUND, talk("One?", "Two.", "Three?", "Four."), REWRITING),
        (CheckRule.UNTRAINED_ROW, chat("Who?", "Me.", weight=0), None),
        (CheckRule.EMPTY_ROW, chat("Say nothing.", " \u200b\n"), None),
        (CheckRule.ROLE_ORDER, {"messages": [user("One?"), user("Two?"), answer("Three.")]}, None),
        (CheckRule.ROLE_ORDER, {"messages": [answer("Hello!"), user("Hi."), answer("How?")]}, None),
        (CheckRule.ROLE_ORDER, {"messages": [user("Hi."), answer("How?"), user("So.")]}, None),
        (CheckRule.ROLE_ORDER, told("system", "Be kind."), None),
        (CheckRule.ROLE_ORDER, told("tool", "5"), None),
        (CheckRule.UNKNOWN_ROLE, told("narrator", "It rains."), None),
        (CheckRule.ROLE_WORD_IN_TEXT, chat("Human: Who are you?\nAssistant: A model.", "So I am."), None),
        (CheckRule.ROLE_WORD_IN_TEXT, chat("Кто ты?", "**Пользователь:** я"), None),
        (CheckRule.ROLE_WORD_IN_TEXT, chat("你是谁", "用户：你是谁"), None),
        (CheckRule.ROLE_WORD_IN_TEXT, chat("Below is a task.\n\n### Instruction:\nCount.", "1 2 3"), None),
        (CheckRule.SPECIAL_TOKEN_IN_TEXT, chat("What is <|im_end|> for?", "It ends a turn."), None),
        (CheckRule.SCRIPT_MISMATCH, chat("Где моя задача?", "It waits in the queue."), None),
        (CheckRule.REPEATED_ANSWER, chat("Where does my job wait?", "where does my job wait? "), None),
        (CheckRule.REPEATED_ANSWER, talk("One?", "Please ask the operator.", "Two?", "Please ask the operator."), None),
        (CheckRule.LEFT_OUT_BY_TEMPLATE, told("system", "Be kind."), DEAF),
        (CheckRule.MISSING_VALUE, chat("What is the total?", " NaN\n"), None),
        (CheckRule.UNTRAINED_GREETING, {"messages": [answer("Hello!"), *talk("Hi.", "How?")["messages"]]}, ASKED_FIRST),
        (CheckRule.WHITE_SPACE_LEFT_OUT, chat("def f():", "    return 1\n"), TRIMMING),
    ],
)  # fmt: skip
def test_a_rule_that_a_row_breaks_is_named_with_row_and_line(
    tmp_path: Path, rule: CheckRule, row: Row, template: str | None
):
    tokenizer = with_template(template) if template else TOKENIZER
    report = check(tmp_path, [SOUND, row, SOUND], tokenizer=tokenizer)
    assert report.counts[rule] == 1
    (finding,) = [finding for finding in report.findings if finding.rule == rule]
    assert (finding.row, finding.line, finding.severity) == (2, FIRST_LINE + 1, rule.severity)
    assert check(tmp_path, [SOUND], tokenizer=tokenizer).counts.get(rule) is None


@pytest.mark.parametrize(
    "content",
    [
        "Dear user: hello",
        "I asked the user\nand he said: yes",
        "function user() { return 1 }",
        "System: Linux\nResponse: 200",
        "a < b and b > c",
        "x: y",
    ],
)
def test_words_that_only_look_like_markup_are_left_alone(tmp_path: Path, content: str):
    counts = check(tmp_path, [chat(content, content)]).counts
    assert "role_word_in_text" not in counts
    assert "special_token_in_text" not in counts


@pytest.mark.parametrize(
    "row",
    [
        chat("Say yes.", "Say yes."),
        chat("Where does my job wait?", "Where does my job wait?", weight=0),
        talk("Please ask the operator.", "I will.", "Please ask the operator.", "I did so a minute ago."),
    ],
)
def test_a_short_answer_an_untrained_one_and_a_repeated_question_are_no_echo(tmp_path: Path, row: Row):
    assert CheckRule.REPEATED_ANSWER not in check(tmp_path, [SOUND, row]).counts


@pytest.mark.parametrize("better", ["chosen", "rejected"])
def test_of_a_pair_only_the_better_answer_may_not_repeat_the_prompt(tmp_path: Path, better: str):
    echo, other = [answer("Where does my job wait?")], [answer("It waits in the queue.")]
    sides = {"chosen": other, "rejected": other} | {better: echo}
    report = check(tmp_path, [{"prompt": [user("Where does my job wait?")], **sides}], kind=Kind.PREFERENCE)
    assert report.counts.get(CheckRule.REPEATED_ANSWER) == (1 if better == "chosen" else None)


@pytest.mark.parametrize(
    ("rule", "template", "rows"),
    [
        (CheckRule.NO_CHAT_TEMPLATE, None, [SOUND]),
        (CheckRule.NO_END_OF_TURN, ENDLESS, [SOUND]),
        (CheckRule.NOTHING_TO_LEARN, DEAF, [chat("Who?", "Me.", weight=0), chat("Where?", "There.", weight=0)]),
    ],
)
def test_what_concerns_the_whole_dataset_is_said_once(
    tmp_path: Path, rule: CheckRule, template: str | None, rows: list[Row]
):
    report = check(tmp_path, rows * 3, tokenizer=with_template(template))
    assert report.counts[rule] == 1
    assert rows_of(report, rule) == [None]


def test_nothing_to_learn_is_a_hard_stop_and_so_is_a_row_that_the_template_refuses(tmp_path: Path):
    assert check(tmp_path, [chat("Who?", "Me.", weight=0)]).has_errors
    assert check(tmp_path, [SOUND, told("tool", "5")], tokenizer=with_template(REFUSING)).has_errors
    assert not check(tmp_path, [SOUND, chat("Who?", "Me.", weight=0)]).has_errors


def test_a_repaired_template_is_said(tmp_path: Path):
    from trl import chat_template_utils

    template = (Path(chat_template_utils.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    report = check(tmp_path, [talk("One?", "Two.", "Three?", "Four.")], tokenizer=with_template(template))
    assert report.counts == {"template_repaired": 1}
    assert report.template == "training"
    assert report.trained_tokens_per_epoch > 0


def test_few_findings_are_shown_and_all_are_counted(tmp_path: Path):
    rows = [chat("Human: hello", f"reply {number}", weight=0) for number in range(30)] + chats(5)
    report = check(tmp_path, rows, max_findings=7)
    assert len(report.findings) == 7
    assert report.counts["untrained_row"] == report.counts["role_word_in_text"] == 30
    assert report.num_findings == sum(report.counts.values()) > 60
    assert {finding.rule for finding in report.findings} >= {"untrained_row", "role_word_in_text"}
    assert check(tmp_path, rows, max_findings=0).findings == []


def test_long_rows_are_counted_as_training_counts_them(tmp_path: Path):
    rows = [chat("Short?", "Yes."), chat("Long? " * 40, "lost " * 40), chat("Half?", "kept " * 40)]
    report = check(tmp_path, rows, max_length=64)
    assert rows_of(report, CheckRule.TRUNCATED_ROW) == [2, 3]
    assert rows_of(report, CheckRule.UNTRAINED_ROW) == [2]
    assert "beyond max_length" in next(f.message for f in report.findings if f.rule == CheckRule.UNTRAINED_ROW)
    assert not check(tmp_path, rows, max_length=64, packing=True).num_truncated
    assert check(tmp_path, [chat("Long?", "very " * 800)], max_length=64).counts["huge_row"] == 1


def test_a_token_that_begins_a_piece_is_not_counted_as_trained(tmp_path: Path):
    rows = [chat("Long?", "kept " * 200)]
    whole = check(tmp_path, rows, max_length=1024, packing=True)
    split = check(tmp_path, rows, max_length=64, packing=True)
    assert whole.tokens_per_epoch == split.tokens_per_epoch
    pieces = -(-split.tokens_per_epoch // 64)
    assert split.trained_tokens_per_epoch == whole.trained_tokens_per_epoch - (pieces - 1)


@settings(deadline=None, max_examples=60)
@given(
    texts=st.lists(
        st.lists(st.text(alphabet="ab \n☃é😀<|", min_size=1, max_size=40), min_size=2, max_size=5), min_size=1
    ),
    max_length=st.integers(8, 60),
    only=st.booleans(),
    weight=st.sampled_from([0, 1, None]),
)
def test_the_figures_are_those_of_training(
    tmp_path_factory: pytest.TempPathFactory,
    texts: list[list[str]],
    max_length: int,
    only: bool,
    weight: int | None,
):
    rows = [talk(*row) for row in texts]
    if weight is not None:
        rows[0]["messages"][1]["weight"] = weight
    encoded = list(encode(rows, TOKENIZER, max_length=max_length, assistant_only_loss=only))
    report = check(
        tmp_path_factory.mktemp("rows"), rows, tokenizer=TOKENIZER, max_length=max_length, assistant_only_loss=only
    )
    learned = [row for row in encoded if row.labels is not None]
    assert report.num_untrained == len(encoded) - len(learned)
    assert report.num_truncated == sum(row.num_tokens > max_length for row in encoded)
    assert report.num_dropped_tokens == sum(max(0, row.num_tokens - max_length) for row in encoded)
    assert report.tokens_per_epoch == sum(len(row.input_ids) for row in learned)
    assert report.trained_tokens_per_epoch == sum(
        label != IGNORE for row in learned for label in (row.labels or [])[1:]
    )
    assert report.lengths.longest == max(row.num_tokens for row in encoded)
    assert sum(length_bin.num_rows for length_bin in report.lengths.bins) == len(rows)


def test_offsets_that_leave_spaces_out_change_no_figure(tmp_path: Path):
    from tokenizers import processors

    rows = [talk("Where?  ", "  In   the queue.   ", "   And?", " ")]
    before = check(tmp_path, rows).trained_tokens_per_epoch
    tokenizer = make_tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    assert check(tmp_path, rows, tokenizer=tokenizer).trained_tokens_per_epoch == before


def test_plain_texts_are_learned_whole(tmp_path: Path):
    report = check(tmp_path, [{"text": "Once upon a time"}, {"text": " \n"}], kind=Kind.TEXT)
    assert report.trained_tokens_per_epoch == report.tokens_per_epoch - 2
    assert rows_of(report, CheckRule.EMPTY_ROW) == [2]
    assert not report.roles


def test_of_a_pair_both_answers_are_read(tmp_path: Path):
    pair = {"prompt": [user("Where?")], "chosen": [answer("In the queue.")], "rejected": [answer("Go away. " * 30)]}
    same = "The same words for a long time. " * 8
    twins = {"prompt": [user("Where?")], "chosen": [answer(same + "A.")], "rejected": [answer(same + "B.")]}
    report = check(tmp_path, [pair, twins], kind=Kind.PREFERENCE, max_length=64)
    assert not report.has_errors
    assert rows_of(report, CheckRule.TRUNCATED_ROW) == [1, 2]
    assert rows_of(report, CheckRule.EQUAL_WHEN_CUT) == [2]
    assert report.num_untrained == 1


def rated(*labels: bool) -> list[Row]:
    return [
        {"prompt": [user(f"Where is {number}?")], "completion": [answer(f"There: {number}.")], "label": label}
        for number, label in enumerate(labels)
    ]


@pytest.mark.parametrize(("label", "word", "other"), [(True, "good", "bad"), (False, "bad", "good")])
def test_rated_answers_that_all_have_the_same_label_are_a_hard_stop(tmp_path: Path, label: bool, word: str, other: str):
    report = check(tmp_path, rated(label, label), kind=Kind.UNPAIRED)
    (finding,) = [finding for finding in report.findings if finding.rule == CheckRule.ONE_LABEL]
    assert finding.message.startswith(f"All 2 answers to train on are rated {word}")
    assert f"Add answers that are rated {other}" in finding.message
    assert report.has_errors
    assert not check(tmp_path, rated(True, False), kind=Kind.UNPAIRED).has_errors


def test_only_answers_that_are_trained_on_count_for_the_balance(tmp_path: Path):
    late = {"prompt": [user("What? " * 100)], "completion": [answer("That.")], "label": False}
    report = check(tmp_path, [*rated(True, True), late], kind=Kind.UNPAIRED, max_length=64)
    assert rows_of(report, CheckRule.UNTRAINED_ROW) == [3]
    assert rows_of(report, CheckRule.ONE_LABEL) == [None]


@pytest.mark.parametrize(
    ("labels", "remedy", "weights"),
    [
        ([True] * 6 + [False] * 2, "method.undesirable_weight to a value from 2.25 to 3,", (1.0, 2.25)),
        ([True] * 2 + [False] * 6, "method.desirable_weight to a value from 3 to 4,", (4.0, 1.0)),
    ],
)
def test_the_weights_that_balance_rated_answers_are_named(
    tmp_path: Path, labels: list[bool], remedy: str, weights: tuple[float, float]
):
    report = check(tmp_path, rated(*labels), kind=Kind.UNPAIRED)
    (finding,) = [finding for finding in report.findings if finding.rule == CheckRule.UNBALANCED_LABELS]
    assert remedy in finding.message
    assert not report.has_errors
    balanced = check(tmp_path, rated(*labels), kind=Kind.UNPAIRED, label_weights=weights)
    assert "unbalanced_labels" not in balanced.counts


@pytest.mark.parametrize(
    ("rule", "row", "template"),
    [
        (CheckRule.EVAL_TEMPLATE_FAILED, told("tool", "5"), REFUSING),
        (CheckRule.EVAL_TURNS_NOT_FOUND, talk("One?", "Two.", "Three?", "Four."), REWRITING),
    ],
)
def test_a_row_to_evaluate_on_that_a_job_would_fail_with_is_a_hard_stop(
    tmp_path: Path, rule: CheckRule, row: Row, template: str
):
    tokenizer = with_template(template)
    report = check(tmp_path, [SOUND], tokenizer=tokenizer, eval_rows=[chat("And now?", "Still there."), row])
    (finding,) = [finding for finding in report.findings if finding.rule == rule]
    assert (finding.row, finding.line, finding.severity) == (2, FIRST_LINE + 1, rule.severity)
    assert finding.message.startswith("In the evaluation dataset: ")
    assert report.has_errors
    assert report.counts.keys().isdisjoint({"template_failed", "turns_not_found"})
    sound = check(tmp_path, [SOUND], tokenizer=tokenizer, eval_rows=[chat("And now?", "Still there.")])
    assert not sound.has_errors


@pytest.mark.parametrize("packing", [False, True])
def test_rows_to_evaluate_on_without_a_token_to_learn_are_a_hard_stop(tmp_path: Path, packing: bool):
    late = [chat("What? " * 100, "That."), chat("Who? " * 100, "Me.")]
    report = check(tmp_path, [SOUND], eval_rows=late, max_length=64, packing=packing)
    assert rows_of(report, CheckRule.EVAL_NOTHING_TO_LEARN) == [None]
    assert report.has_errors
    assert (report.num_truncated, report.num_untrained, report.lengths.longest < 64) == (0, 0, True), "of the others"
    report = check(tmp_path, [SOUND], eval_rows=[*late, chat("And?", "So.")], max_length=64, packing=packing)
    assert not report.has_errors


def test_pairs_to_evaluate_on_are_a_hard_stop(tmp_path: Path):
    pair = {"prompt": [user("Where?")], "chosen": [answer("Here.")], "rejected": [answer("No.")]}
    held_out = write(tmp_path / "pairs.arrow", [pair], Kind.PREFERENCE)
    rows = write(tmp_path / "rows.arrow", [SOUND])
    report = examine(rows, TOKENIZER, CheckOptions(512), eval_rows=EvalRows("ds-eval", held_out))
    assert (report.counts["eval_no_method"], report.has_errors) == (1, True)


def test_rows_to_evaluate_on_that_are_known_to_be_sound_are_only_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    rows = write(tmp_path / "rows.arrow", chats(20))
    path = write(tmp_path / "eval.arrow", [*chats(5, seed=1), *chats(2)])
    report = examine(rows, TOKENIZER, CheckOptions(512), eval_rows=EvalRows("ds-eval", path))
    monkeypatch.setattr("train.data.doctor.eval_rows.tokenise", None)
    done: list[int] = []
    known = EvalRows.read("ds-eval", path, done.append)
    assert done == [7]
    assert examine(rows, TOKENIZER, CheckOptions(512), eval_rows=known) == report
    assert report.overlap is not None
    assert report.overlap.num_exact == 2


@pytest.mark.parametrize("most", [0, 1, 6, 14, 23, 25, 40])
def test_fewer_findings_are_those_that_would_have_been_chosen_at_once(tmp_path: Path, most: int):
    rows = [chat("Human: hello", f"reply {number}", weight=0) for number in range(9)] + [
        chat("Где?", "It waits."),
        told("tool", "5"),
    ] * 4
    tokenizer = with_template(REFUSING)
    report = check(tmp_path, rows, tokenizer=tokenizer, max_findings=25)
    if most <= 25:
        assert worst(report.findings, most) == check(tmp_path, rows, tokenizer=tokenizer, max_findings=most).findings
    else:
        assert worst(report.findings, most) == report.findings


def test_roles_are_described(tmp_path: Path):
    report = check(tmp_path, [chat("Где?", "Здесь."), chat("Where?", "Here."), chat("어디?", "ここです、そこ")])
    assert {fact.role: (fact.num_messages, fact.scripts) for fact in report.roles} == {
        "user": (3, {"Cyrillic": 1, "Latin": 1, "Hangul": 1}),
        "assistant": (3, {"Cyrillic": 1, "Latin": 1, "Kana": 1}),
    }


def test_progress_reaches_the_end_and_never_goes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BATCH_ROWS", 10)
    told: list[tuple[int, int]] = []
    examine(
        write(tmp_path / "rows.arrow", chats(35)),
        TOKENIZER,
        CheckOptions(512),
        eval_rows=EvalRows("ds-eval", write(tmp_path / "eval.arrow", chats(5, seed=1))),
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told == sorted(told)
    assert told[0] == (10, 40)
    assert told[-1] == (40, 40)


def test_batches_of_long_rows_end_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BATCH_CHARS", 500)
    told: list[int] = []
    rng = random.Random(0)
    rows = [chat("Where?", sentence(rng, 20)) for _ in range(20)]
    examine(write(tmp_path / "rows.arrow", rows), TOKENIZER, CheckOptions(512), on_progress=lambda n, _: told.append(n))
    assert len(told) >= 5


WITH_TOOLS = (
    "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}{{ m['tool_calls'] | default([]) | tojson }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "look", "description": "Looks. " * 100}}
CALL = {"type": "function", "function": {"name": "look", "arguments": {"place": "queue " * 100}}}


@pytest.mark.parametrize(
    "row",
    [
        chat("Where?", "There.") | {"tools": [TOOL]},
        chat("Where?", "There.", tool_calls=[CALL]),
        told("tool", "5") | {"tools": [TOOL]},
    ],
    ids=["tools", "calls", "refused"],
)
def test_tools_and_calls_end_a_batch_as_words_do(tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BATCH_CHARS", 500)
    refuses = row["messages"][1]["role"] == "tool"
    told_rows: list[int] = []
    examine(
        write(tmp_path / "rows.arrow", [row] * 5),
        with_template(REFUSING if refuses else WITH_TOOLS),
        CheckOptions(2048),
        on_progress=lambda done, _: told_rows.append(done),
    )
    assert told_rows == [1, 2, 3, 4, 5]


def bytes_a_row(look: Callable[[int], None]) -> float:
    """By how much the peak of memory grows with the rows; `look` starts to trace it, and looks at so many."""

    def peak(number: int) -> int:
        try:
            look(number)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)
    few, many = peak(300), peak(1_500)
    return (many - few) / 1_200


def test_memory_hardly_grows_with_the_number_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BATCH_ROWS", 100)
    monkeypatch.setattr("train.data.rows.canonical.BATCH_ROWS", 100)

    def look(number: int) -> None:
        path = write(tmp_path / f"{number}.arrow", chats(number, num_words=4))
        tracemalloc.start()
        examine(path, TOKENIZER, CheckOptions(512))

    assert bytes_a_row(look) < 400


def test_memory_hardly_grows_with_the_number_of_rows_to_evaluate_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "BATCH_ROWS", 100)
    monkeypatch.setattr("train.data.rows.canonical.BATCH_ROWS", 100)
    rows = write(tmp_path / "rows.arrow", chats(100, num_words=4))

    def look(number: int) -> None:
        held_out = write(tmp_path / f"{number}.arrow", chats(number, seed=1, num_words=4))
        tracemalloc.start()
        examine(rows, TOKENIZER, CheckOptions(512), eval_rows=EvalRows("ds-eval", held_out))

    assert bytes_a_row(look) < 400


def test_a_slow_tokenizer_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from ftlab.errors import InvalidRequestError

    monkeypatch.setattr(PreTrainedTokenizerFast, "is_fast", False)
    with pytest.raises(InvalidRequestError) as caught:
        check(tmp_path, [SOUND])
    assert caught.value.code == "tokenizer_unsupported"


@pytest.mark.parametrize(
    ("rewards", "blank", "wordy"),
    [((), [], []), (("exact_match",), [2, 3], []), (("exact_match", "numeric_answer"), [2, 3], [4])],
)
def test_reference_answers_are_checked_for_the_rewards_that_compare_with_them(
    tmp_path: Path, rewards: tuple[str, ...], blank: list[int], wordy: list[int]
):
    rows = [chat("1 + 1?", "It is 2."), chat("2 + 2?", " "), talk("Hi", "Hello 5", "2 + 3?", "\n"), chat("4?", "No.")]
    rows.append({"messages": [answer(" ")]})  # no prompt: the method skips it
    report = check(tmp_path, rows, rewards=rewards)
    assert rows_of(report, CheckRule.NO_REFERENCE) == blank
    assert rows_of(report, CheckRule.NO_NUMBER) == wordy
    assert report.has_errors == bool(blank)


@pytest.mark.parametrize("kind", [Kind.PROMPTS, Kind.MESSAGES])
def test_rows_whose_answers_the_model_generates_are_not_judged_by_their_tokens(tmp_path: Path, kind: Kind):
    is_prompt = kind is Kind.PROMPTS
    rows = [{"prompt": [user(f"Question {i}?")]} if is_prompt else chat("Hi " * 99, f"No {i}.") for i in range(3)]
    report = check(tmp_path, rows, kind=kind, max_length=16, generates_answers=True)
    assert {CheckRule(rule).severity for rule in report.counts} <= {Severity.INFO}
    assert report.num_truncated == report.num_untrained == 0


def test_white_space_that_a_template_keeps_is_not_reported(tmp_path: Path):
    row = chat("def f():", "    return 1\n")
    assert "white_space_left_out" not in check(tmp_path, [row]).counts
    assert "white_space_left_out" not in check(tmp_path, [row], tokenizer=with_template(None)).counts
    trailing = chat("def f():", "return 1\n\n")
    assert "white_space_left_out" not in check(tmp_path, [trailing], tokenizer=with_template(TRIMMING)).counts


def test_characters_without_a_token_are_reported(tmp_path: Path):
    """A tokenizer of words or letters, unlike one of bytes, writes its unknown token for them."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "Yes": 1, "No": 2, "</s>": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="</s>", pad_token="</s>")
    fast.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    report = check(tmp_path, [chat("Yes", "No"), chat("Yes", "答え No 😀")], tokenizer=fast)
    [finding] = [finding for finding in report.findings if finding.rule == CheckRule.UNKNOWN_TOKEN]
    assert (finding.row, report.counts[CheckRule.UNKNOWN_TOKEN]) == (2, 1)
    assert "2 of its tokens are the unknown token" in finding.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "The row is the same as row 1 (line 11) before it."),
        ({"label": False}, "The row is the same as row 1 (line 11) before it, except for the label."),
        ({"tools": [{"name": "look"}]}, "The row is the same as row 1 (line 11) before it, except for the tools."),
        (
            {"completion": [answer("In the queue.", reasoning_content="It is long.")]},
            "The row is the same as row 1 (line 11) before it, except for the reasoning, the weights or the names in "
            "its messages.",
        ),
    ],
)
def test_a_repeated_row_that_differs_in_more_than_words_says_in_what(tmp_path: Path, change: Row, words: str):
    row = {"prompt": [user("Where?")], "completion": [answer("In the queue.")], "label": True}
    report = check(tmp_path, [row, row | change], kind=Kind.UNPAIRED)
    assert [finding.message for finding in report.findings if finding.rule == CheckRule.EXACT_DUPLICATE] == [words]


@pytest.mark.parametrize(
    ("reference", "is_reported"),
    [
        ("She has 3 + 4 = 7 eggs.\n#### 7", False),
        ("So $x^2 = 9$, and the answer is $\\boxed{1,234.5}$.", False),
        ("#### -18", False),
        ("There were 12 of them in 1912, and 14 more came later, so 26 in the end.", False),
        ("Thus 3 of 4: $\\boxed{\\frac{3}{4}}$", True),
        ("3/4", True),
        ("\\boxed{(2, 5)}", True),
        ("2024-05-01", True),
    ],
)
def test_a_result_with_several_numbers_is_reported(tmp_path: Path, reference: str, is_reported: bool):
    rows = [chat("How many?", reference)]
    assert ("several_numbers" in check(tmp_path, rows, rewards=("numeric_answer",)).counts) == is_reported
    assert "several_numbers" not in check(tmp_path, rows, rewards=("exact_match",)).counts
