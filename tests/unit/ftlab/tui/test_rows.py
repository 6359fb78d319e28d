"""The table and the tabs as text: columns, notes, order, and what fits."""

import pytest

from ftlab.cli.text import clipped, fitted
from ftlab.status import JobStatus
from ftlab.tui.actions import Action, changes_in, changes_text, downloadable, why_not
from ftlab.tui.charts import ChartOptions
from ftlab.tui.comparison import comparison, differences
from ftlab.tui.detail_feed import with_event
from ftlab.tui.details import (
    Tab,
    checkpoint_tab,
    config_tab,
    event_tab,
    head,
    log_lines,
    log_tab,
    sample_tab,
    tabs_of,
    why_tab,
)
from ftlab.tui.frame import empty_lines, hint_line, title_line
from ftlab.tui.job_columns import RowContext, TableLayout, glyph, passes, short
from ftlab.tui.line_area import highlighted
from ftlab.tui.snapshot import LinkState, rough, start_estimate, starts_again
from ftlab.tui.spans import in_ascii, line, spread, text_of, to_ascii, width_of
from tests.unit.ftlab.tui.sample_jobs import (
    NOW,
    all_kinds,
    analysis,
    detail_of,
    ended,
    event,
    failed,
    make_job,
    queued,
    running,
    snapshot_of,
)

S = JobStatus


def rows(jobs, width):
    snapshot = snapshot_of(jobs)
    layout = TableLayout.fitting(width)
    return [text_of(layout.head), *(text_of(layout.row(job, RowContext(snapshot, NOW))) for job in snapshot.jobs)]


def test_a_narrow_table_keeps_what_matters_most():
    assert rows([running()], 58)[0].split() == ["NAME", "PROGRESS", "STEP", "LOSS", "ETA"]
    assert rows([running()], 80)[0].split() == ["NAME", "PROGRESS", "STEP", "LOSS", "TREND", "ELAPSED", "ETA"]


def test_a_wide_table_has_every_column():
    head, row = rows([running(attempt=3)], 170)
    assert head.split() == [
        "NAME", "METHOD", "MODEL", "PROGRESS", "STEP", "LOSS", "TREND", "LR", "TOK/S", "ELAPSED", "ETA", "TRIES",
    ]  # fmt: skip
    assert row.split() == [
        "●", "run", "sft", "tiny", "━━━━╌╌╌╌╌╌", "412/1000", "1.823", "█▅▄▂▂▁▁▁", "0.0001", "5312", "28:00", "40:00",
        "3",
    ]  # fmt: skip


@pytest.mark.parametrize("width", [40, 58, 80, 100, 170])
def test_no_row_is_wider_than_the_table(width):
    jobs = [*all_kinds(), running("job-" + "x" * 90), running("job-模型模型模型模型模型模型模型模型模型")]
    widths = {width_of(TableLayout.fitting(width).row(job, RowContext(snapshot_of(jobs), NOW))) for job in jobs}
    assert max(widths) <= width


def test_the_order_is_running_queued_paused_ended():
    assert [job.name for job in snapshot_of(reversed(all_kinds())).jobs] == [
        "support-v3", "support-v4", "faq-dpo", "nightly", "steep", "support-v2", "typo",
    ]  # fmt: skip


def test_a_queued_job_says_when_it_starts():
    assert [row.split(maxsplit=2)[2].strip() for row in rows(all_kinds(), 100)[2:4]] == [
        "in about 40 min, after support-v3",
        "no. 2: attempt 2, after support-v4",
    ]


def test_a_job_of_a_chain_says_which_job_it_waits_for():
    parent = {"job_id": "job-run", "name": "run", "status": "running"}
    child = queued(
        "job-child", 1, parents=[parent], waiting_for="Waiting for job 'run' (job-run); that job is running."
    )
    held = queued("job-held", 2, parents=[parent | {"status": "failed"}], waiting_for="Held: job 'sft' has failed.")
    other = queued("job-other", 3)
    last = queued("job-last", 4)
    assert [row.split(maxsplit=2)[2].strip() for row in rows([running(), child, held, other, last], 100)[2:6]] == [
        "next: waiting for job 'run' (job-run); that job is running",
        "no. 2: held: job 'sft' has failed",
        "no. 3: waiting for its data",
        "no. 4: after other",
    ]


@pytest.mark.parametrize(
    ("jobs", "sentence"),
    [
        ([running("job-one", eta_s=90)], "Starts in about 2 min, after one."),
        ([running("job-one", eta_s=20), running("job-two", eta_s=9000)],
         "The next devices are released in about 20 s, when one ends."),
        ([running("job-one", eta_s=None)], ""),
        ([], ""),
    ],
)  # fmt: skip
def test_the_estimate_of_the_next_job(jobs, sentence):
    head = queued("job-head", 1)
    assert start_estimate(head, snapshot_of([*jobs, head])) == sentence


@pytest.mark.parametrize(
    "waiting_for",
    [
        "Waiting for its data, which is being prepared: 40 %.",
        "Waiting for the quota: jobs of this owner may use 1 GPU at once and are using 1.",
        "Waiting until 12:30:00 UTC, when it is retried.",
        "Waiting for the scheduler, which is starting or unavailable.",
    ],
)
def test_a_job_that_waits_for_something_else_has_no_estimate(waiting_for):
    head = queued("job-head", 1, waiting_for=waiting_for)
    assert start_estimate(head, snapshot_of([running(), head])) == ""
    assert waiting_for[1:30] in rows([running(), head], 100)[2]


def test_a_job_that_starts_again_has_a_sign_of_its_own():
    again = queued("job-again", 2, attempt=1)
    assert starts_again(again)
    assert starts_again(make_job(status=S.INITIALIZING, attempt=2))
    assert not starts_again(make_job(status=S.INITIALIZING, attempt=1))
    assert not starts_again(running(attempt=2))
    assert glyph(again)[0] == "↻"
    assert "no. 3: attempt 2, waiting for its data" in rows([queued("job-x", 3, attempt=1)], 100)[1]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "1 s"), (59, "59 s"), (2400, "40 min"), (7200, "2.0 h"), (200_000, "2 d 7 h")]
)
def test_times_are_as_exact_as_an_estimate(seconds, text):
    assert rough(seconds) == text


@pytest.mark.parametrize(("value", "text"), [(None, ""), (1.82312, "1.823"), (-8.3412e-8, "-8e-8"), (14e9, "1.4e10")])
def test_short_numbers(value, text):
    assert short(value) == text


# The head and the tabs


def text(lines):
    return [text_of(spans).rstrip() for spans in lines]


def test_the_head_says_everything_in_five_lines():
    job = queued("job-next", 1, message="The job is next in the queue.")
    assert text(head(job, None, snapshot_of([running(), job]), (70, 20), NOW)) == [
        "next" + "○ queued".rjust(66),
        "The job is next in the queue. Starts in about 40 min, after run.",
        "job-next  sft  tiny",
        "",
        "priority 50",
    ]


def test_the_head_of_a_run_has_its_numbers():
    job = running()
    lines = text(head(job, detail_of(job), snapshot_of([job]), (78, 20), NOW))
    assert lines[3].split() == ["━" * 16 + "╌" * 24, "412/1000", "41", "%", "ran", "28:00", "ETA", "40:00"]
    assert lines[4].startswith("loss 1.823  eval 1.901  lr 0.0001178  tok/s 5213")


def test_a_long_message_is_clipped_where_the_pane_is_low():
    job = make_job(status=S.FAILED, message="word " * 60)
    assert [len(head(job, None, snapshot_of([job]), (60, height), NOW)) for height in (20, 40)] == [5, 8]


def test_only_a_failed_job_has_the_tab_why():
    assert Tab.WHY in tabs_of(detail_of(failed()))
    assert Tab.WHY not in tabs_of(detail_of(running()))
    shown = text(why_tab(detail_of(failed()), 60))
    assert "Suggestions" in shown
    assert "  1. training.learning_rate 0.01 -> 0.001" in shown


def test_only_a_job_with_answers_has_the_tab_samples():
    assert Tab.SAMPLES not in tabs_of(detail_of(running()))
    said = {"number": 1, "prompt": "What is\n2 + 2?", "num_tokens": 3}
    before = event("job-run", 70, "sample", step=0, text="No idea.", is_cut=True, **said)
    after = event("job-run", 71, "sample", step=9, text="Four.\n\nOr maybe five, as far as I can see it.", **said)
    detail = with_event(with_event(detail_of(running()), before), after)
    assert tabs_of(detail)[-1] is Tab.SAMPLES
    assert text(sample_tab(detail, 30)) == [
        "1  What is 2 + 2?",
        "  step 0  3 tokens, cut",
        "    No idea.",
        "  step 9  3 tokens",
        "    Four.",
        "",
        "    Or maybe five, as far as I",
        "    can see it.",
        "",
    ]


def test_the_log_is_wrapped_below_its_time(monkeypatch):
    [warning] = [entry for entry in detail_of(running()).logs if entry.level == "warning"]
    first, second = text(log_lines(warning, 42))
    assert first[9:] == "warning Row 17 has 2,310 tokens"
    assert second == "         and is cut to 2,048."
    assert log_lines(warning, 42)[0][1][1] == "warning"


def test_control_characters_of_a_log_do_not_reach_the_terminal():
    evil = running(message="\x1b[2Jgone\x07")
    lines = head(evil, None, snapshot_of([evil]), (80, 20), NOW)
    assert "\x1b" not in "".join(text(lines))


@pytest.mark.parametrize(
    ("tab", "sentence"),
    [
        (lambda detail: log_tab(detail, 60), "The log is empty. It begins when the job starts."),
        (lambda detail: checkpoint_tab(detail, 60, NOW), "There are no checkpoints yet."),
        (lambda detail: event_tab(detail, 60), "Nothing has happened yet."),
    ],
)
def test_an_empty_tab_says_why(tab, sentence):
    empty = detail_of(make_job(), logs=(), checkpoints=(), events=())
    assert text(tab(empty)) == [sentence]


def test_checkpoints_and_events_and_config():
    detail = detail_of(running())
    assert text(checkpoint_tab(detail, 60, NOW))[1].split() == [
        "step-00000400", "1.92", "1.98", "14.2", "MB", "6", "min", "ago", "best",
    ]  # fmt: skip
    assert text(event_tab(detail, 60))[2].endswith("checkpoint  Saved checkpoint step-00000100 (14.2")
    shown = text(config_tab(detail, 80))
    assert "training.max_steps  1000" in shown
    assert any(entry.startswith("1  10:00 from the base model: worker_crashed") for entry in shown)


def test_changed_and_chosen_settings_are_marked():
    changes = [{"field": "training.max_steps", "from": 500, "to": 1000}]
    job = running(
        adjustments=[{"at": NOW, "by": "user", "attempt": 1, "changes": changes}],
        auto={"method.type": {"value": 1, "reason": "it is the usual one"}},
    )
    shown = text(config_tab(detail_of(job), 80))
    assert "training.max_steps  1000  was 500" in shown
    assert "method.type         sft  auto: it is the usual one" in shown


# Comparison


def test_a_comparison_shows_what_differs():
    other = ended("job-b", S.COMPLETED, config={"model": "acme/tiny", "training": {"max_steps": 1000, "lr": 0.1}})
    details = [detail_of(running("job-a")), detail_of(other)]
    assert differences(details) == [
        ("dataset", ["ds-1", ""]),
        ("method.type", ["sft", ""]),
        ("training.lr", ["", "0.1"]),
    ]
    shown = text(comparison(details, 0, (80, 40), ChartOptions()))
    assert shown[0].startswith("loss")
    assert " a 1." in shown[0]
    assert any(entry.split() == ["a", "b"] for entry in shown)


def test_equal_jobs_are_said_to_be_equal():
    details = [detail_of(running("job-a")), detail_of(running("job-b"))]
    assert "All settings are the same." in text(comparison(details, 1, (80, 40), ChartOptions()))


# The frame


def test_the_title_counts_jobs_and_shortens_itself():
    snapshot = snapshot_of(all_kinds())
    wide, narrow = (text_of(title_line(snapshot, width, NOW, is_readonly=False)) for width in (110, 60))
    assert "● 1 running  ○ 2 queued  ‖ 1 paused  ✗ 1 failed" in wide
    assert "● 1  ○ 2  ‖ 1  ✗ 1" in narrow
    assert wide.endswith("live")


def test_the_age_of_old_data_is_shown():
    snapshot = snapshot_of(all_kinds(), state=LinkState.LOST, fetched_at=NOW.replace(minute=0, hour=11))
    assert text_of(title_line(snapshot, 110, NOW, is_readonly=True)).endswith(
        "read-only  disconnected, shown as of 1.0 h ago"
    )


def test_the_hints_name_only_what_is_possible():
    def hints(job, **more):
        return text_of(hint_line(job, None, 0, 110, **({"is_readonly": False} | more)))

    assert "d cancel" in hints(running())
    assert "R resume" not in hints(running())
    assert "R resume" in hints(failed())
    assert "d cancel" not in hints(running(), is_readonly=True)
    assert text_of(hint_line(queued("job-q", 1), None, 2, 50, is_readonly=False)).endswith("? keys  q quit")


@pytest.mark.parametrize(
    ("snapshot", "wanted", "sentence"),
    [
        (snapshot_of([], state=LinkState.LOADING), "", "Connecting to http://127.0.0.1:8000 ..."),
        (snapshot_of([]), "", "ftlab submit job.yaml"),
        (snapshot_of(all_kinds()), "zzz", "No job matches 'zzz'."),
        (
            snapshot_of([], state=LinkState.REFUSED, problem="The API key is not valid."),
            "",
            "The API key is not valid.",
        ),
    ],
)
def test_an_empty_table_says_what_to_do(snapshot, wanted, sentence):
    assert sentence in [entry.strip() for entry in text(empty_lines(snapshot, wanted))]


@pytest.mark.parametrize(
    ("wanted", "found"), [("dpo", 1), ("FAILED", 1), ("support v", 3), ("tiny", 7), ("job-typo", 1)]
)
def test_the_filter_looks_at_name_id_status_method_and_model(wanted, found):
    assert sum(passes(job, wanted) for job in all_kinds()) == found


# Actions


@pytest.mark.parametrize(
    ("job", "possible"),
    [
        (running(), {Action.PAUSE, Action.CANCEL, Action.DOWNLOAD}),
        (queued("job-q", 1), {Action.PAUSE, Action.CANCEL, Action.PRIORITY, Action.FRONT}),
        (ended("job-p", S.PAUSED), {Action.RESUME, Action.CANCEL, Action.PRIORITY, Action.DOWNLOAD}),
        (failed(), {Action.RESUME, Action.DOWNLOAD}),
        (ended("job-c", S.COMPLETED), {Action.DOWNLOAD}),
        (make_job(status=S.PAUSING, attempt=1), {Action.CANCEL, Action.DOWNLOAD}),
        (make_job(status=S.CANCELLING, attempt=1), {Action.DOWNLOAD}),
    ],
)
def test_what_is_possible_with_a_job(job, possible):
    assert {action for action in Action if why_not(action, job, is_readonly=False) is None} == possible
    assert {action for action in Action if why_not(action, job, is_readonly=True) is None} <= {Action.DOWNLOAD}


def test_what_is_refused_says_why():
    assert why_not(Action.RESUME, running(), is_readonly=False) == (
        "Job 'run' is running: only a paused, failed or cancelled job can be resumed."
    )


def test_suggestions_can_be_edited_as_text():
    first, second = analysis().suggestions
    assert changes_text(first) == "training.learning_rate = 0.001"
    assert changes_in(changes_text(second) + "\n\n lora.r = 8 \n") == {
        "training": {"max_grad_norm": 1.0, "lr_scheduler_type": "cosine"},
        "lora": {"r": 8},
    }
    assert changes_text(None) == ""


def test_the_model_is_offered_before_checkpoints_and_logs():
    assert downloadable(ended("job-c", S.COMPLETED), ["step-2"]) == ["model", "step-2", "logs"]
    assert downloadable(failed(), []) == ["logs"]


# Text


def test_widths_are_those_of_the_terminal():
    assert clipped("模型模型", 5) == "模型…"
    assert fitted("模型", 6) == "模型  "
    assert fitted("ab", 4, right=True) == "  ab"
    assert text_of(spread(line("a" * 20), line("right"), 15)) == "aaaaaaaa… right"


def test_ascii_is_as_wide_as_what_it_replaces():
    shown = "● ↻ ✗ ━╌ ▁█ ⠉ 模 é"
    assert to_ascii(shown) == "* ~ x #. _# * ?? ?"
    assert text_of(in_ascii(line(("✓ done", "good")))) == "+ done"


def test_matches_are_highlighted():
    assert highlighted((("The loss is Loss", "muted"),), "loss") == (
        ("The ", "muted"), ("loss", "muted match"), (" is ", "muted"), ("Loss", "muted match"), ("", "muted"),
    )  # fmt: skip
