"""What the keys do, with a client that connects to nothing."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from textual.events import Paste
from textual.widgets import Input, TextArea

from ftlab.errors import ConflictError
from ftlab.status import JobStatus
from ftlab.tui.actions import DownloadChoice
from ftlab.tui.compare_screen import CompareScreen
from ftlab.tui.details import Tab
from ftlab.tui.dialogs import DownloadDialog, HelpPage, Question, ResumeDialog, ValueDialog
from ftlab.tui.job_table import JobTable
from ftlab.tui.line_area import LineArea
from ftlab.tui.series import XAxis
from ftlab.tui.snapshot import LinkState
from tests.unit.ftlab.tui.fake_client import FakeClient, FakeFeed
from tests.unit.ftlab.tui.monitor_runs import (
    LARGE,
    monitor,
    press,
    press_at_once,
    quiet,
    run,
    screen_text,
    settle,
    until,
)
from tests.unit.ftlab.tui.sample_jobs import NOW, all_kinds, ended, event, failed, queued, running, snapshot_of

S = JobStatus


def notices(app):
    return [notification.message for notification in app._notifications]


def test_moving_and_opening_and_going_back():
    async def test():
        async with monitor() as (app, pilot):
            assert app.selected_job.name == "support-v3"
            await press(app, pilot, "j", "down")
            assert app.selected_job.name == "faq-dpo"
            await press(app, pilot, "G")
            assert app.selected_job.name == "typo"
            await press(app, pilot, "g", "enter")
            assert app.is_job_pane
            assert "Checkpoints" in screen_text(app)
            await press(app, pilot, "escape")
            assert not app.is_job_pane
            assert "PROGRESS" in screen_text(app)

    run(test)


def test_lines_that_scroll_are_drawn_once(monkeypatch):
    names, draw = [], LineArea._draw

    def noted(area, spans, has_cursor):
        if isinstance(area, JobTable):
            names.append(spans[3][0].strip())
        return draw(area, spans, has_cursor)

    async def test():
        async with monitor([running(f"job-{place}", name=f"run-{place:02}") for place in range(40)]) as (app, pilot):
            await press(app, pilot, *"j" * 25)
            names.clear()
            first = app.table.scroll_offset.y
            press_at_once(app, *"j" * 5)
            await quiet(app, pilot)
            assert app.table.scroll_offset.y == first + 5
            # With each key, a line loses the cursor, another gets it, and one comes into sight.
            assert set(names) <= {f"run-{place:02}" for place in range(25, 35)}
            assert "run-30" in screen_text(app)

    monkeypatch.setattr(LineArea, "_draw", noted)
    run(test)


def test_tab_switches_panes_and_numbers_switch_tabs():
    async def test():
        async with monitor() as (app, pilot):
            await press(app, pilot, "tab", "3")
            assert app.pane.tab is Tab.CHECKPOINTS
            await press(app, pilot, "]", "left", "left", "left")
            assert app.pane.tab is Tab.CHARTS
            await press(app, pilot, "[")
            assert app.pane.tab is Tab.CONFIG
            await press(app, pilot, "l")
            assert app.pane.tab is Tab.LOGS
            await press(app, pilot, "tab")
            assert not app.is_job_pane

    run(test)


def test_enter_shows_one_chart_on_the_whole_screen():
    async def test():
        async with monitor(size=LARGE) as (app, pilot):
            await press(app, pilot, "enter", "enter", "right")
            assert "learning_rate  2/5" in screen_text(app)
            assert "PROGRESS" not in screen_text(app)
            await press(app, pilot, "escape")
            assert "PROGRESS" in screen_text(app)

    run(test)


def test_charts_follow_their_keys():
    async def test():
        async with monitor() as (app, pilot):
            await press(app, pilot, "y", "s", "s", "S", "x")
            options = app.chart_options
            assert (options.log_y, options.smoothing, options.axis) == (True, 0.8, XAxis.EPOCH)
            await press(app, pilot, *"SSSSSSSS")
            assert app.chart_options.smoothing == 0.0

    run(test)


def test_the_log_is_followed_until_it_is_scrolled():
    async def test():
        async with monitor() as (app, pilot):
            await press(app, pilot, "l")
            body = app.pane.body
            assert body.scroll_offset.y == body.max_scroll_y > 0
            assert not body.show_horizontal_scrollbar
            await press(app, pilot, "k", "k")
            assert not app.pane.follows
            await press(app, pilot, "G")
            assert app.pane.follows
            await press(app, pilot, "f")
            assert not app.pane.follows

    run(test)


def test_lines_are_searched():
    async def test():
        async with monitor() as (app, pilot):
            await press(app, pilot, "l", "slash", *"Row", "space", *"17", "enter")
            assert "Row 17 has 2,310 tokens" in screen_text(app)
            await press(app, pilot, "n", "N")
            await press(app, pilot, "escape")
            assert app.pane.body.search == ""
            await press(app, pilot, "slash", *"zzz", "enter")
            assert "No line contains 'zzz'." in notices(app)

    run(test)


def test_jobs_are_filtered_while_one_types():
    async def test():
        async with monitor() as (app, pilot):
            await press(app, pilot, "slash", *"dpo")
            assert [job.name for job in app.table.jobs] == ["faq-dpo"]
            await press(app, pilot, "enter")
            assert app.focused is app.table
            await press(app, pilot, "escape")
            assert len(app.table.jobs) == 7
            await press(app, pilot, "slash", *"qqq")
            assert "No job matches 'qqq'." in screen_text(app)
            await press(app, pilot, "escape")
            assert len(app.table.jobs) == 7

    run(test)


def test_a_job_stays_selected_while_the_order_changes():
    async def test():
        feed = FakeFeed.of(all_kinds())
        async with monitor(feed=feed) as (app, pilot):
            await press(app, pilot, "j", "j", "j")
            assert app.selected_job.name == "nightly"
            others = [job for job in all_kinds() if job.name != "nightly"]
            feed.put(snapshot_of([*others, running("job-nightly"), running("job-new")]))
            await until(lambda: len(app.snapshot.jobs) == 8)
            app.redraw()
            assert app.selected_job.name == "nightly"

    run(test)


def test_cancel_asks_and_its_default_is_no():
    async def test():
        async with monitor() as (app, pilot):
            await press(app, pilot, "d")
            await quiet(app, pilot)
            assert isinstance(app.screen, Question)
            assert "Cancel job 'support-v3' (job-support-v3)?" in screen_text(app)
            await press(app, pilot, "enter")
            assert app.acts.jobs.calls == []
            await press(app, pilot, "d")
            await press(app, pilot, "right", "enter")
            await until(lambda: app.acts.jobs.calls == [("cancel", "job-support-v3")])
            await until(lambda: app.feed.hurried == 1)

    run(test)


def test_pause_and_move_to_the_front():
    async def test():
        async with monitor() as (app, pilot):
            await press(app, pilot, "p", "j", "F")
            await until(lambda: len(app.acts.jobs.calls) == 2)
            assert app.acts.jobs.calls == [("pause", "job-support-v3"), ("move_to_front", "job-support-v4")]

    run(test)


def test_a_key_does_not_act_on_a_job_that_took_the_place_of_the_selected_one():
    async def test():
        first, second = running("job-a", name="a"), running("job-b", name="b")
        async with monitor([first, second]) as (app, pilot):
            app.feed.put(snapshot_of([second]))
            await until(lambda: app.selected_job.name == "b")
            await press(app, pilot, "p")
            assert app.acts.jobs.calls == []
            assert notices(app) == ["Job 'a' is not listed any more; 'b' is selected now. Press again."]
            await press(app, pilot, "p")
            await until(lambda: app.acts.jobs.calls == [("pause", "job-b")])

    run(test)


def test_a_dialog_that_is_ready_late_opens_once_and_not_over_another_job():
    async def test():
        async with monitor([failed(), ended("job-p", S.PAUSED)]) as (app, pilot):
            answered, read = asyncio.Event(), app.acts.jobs.failure

            async def failure(job):
                await answered.wait()
                return await read(job)

            await press(app, pilot, "G")
            assert app.selected_job.name == "bad"
            app.acts.jobs.failure = failure
            await press(app, pilot, "R", "R")
            answered.set()
            await opened(app, pilot, ResumeDialog)
            await press(app, pilot, "escape")
            assert len(app.screen_stack) == 1
            answered.clear()
            await press(app, pilot, "R", "g")
            answered.set()
            await until(lambda: notices(app) == ["The dialog of 'bad' was not opened: you have moved on."])
            assert len(app.screen_stack) == 1

    run(test)


def test_a_priority_has_bounds():
    async def test():
        async with monitor() as (app, pilot):
            await press(app, pilot, "j")
            await press(app, pilot, "P")
            await quiet(app, pilot)
            assert isinstance(app.screen, ValueDialog)
            app.screen.query_one(Input).value = "101"
            await press(app, pilot, "enter")
            await quiet(app, pilot)
            assert "Enter a whole number from 0 to 100." in screen_text(app)
            app.screen.query_one(Input).value = "90"
            await press(app, pilot, "enter")
            await until(lambda: app.acts.jobs.calls == [("set_priority", "job-support-v4", 90)])

    run(test)


async def opened(app, pilot, kind):
    await until(lambda: isinstance(app.screen, kind))
    await quiet(app, pilot)


def test_a_failed_job_resumes_with_the_suggestion_after_editing():
    async def test():
        async with monitor([failed()]) as (app, pilot):
            await press(app, pilot, "R")
            await opened(app, pilot, ResumeDialog)
            area = app.screen.query_one(TextArea)
            assert area.text == "training.learning_rate = 0.001"
            await press(app, pilot, "down")
            await quiet(app, pilot)
            assert area.text.splitlines()[1] == "training.lr_scheduler_type = cosine"
            area.text = "training.learning_rate = 0.0005"
            await press(app, pilot, "ctrl+r")
            changes = {"training": {"learning_rate": 0.0005}}
            call = ("resume", "job-bad", "step-00000030", {"config_adjustments": changes, "original": False})
            await until(lambda: app.acts.jobs.calls == [call])

    run(test)


def test_letters_that_arrive_with_the_key_before_them_go_where_it_leads():
    async def test():
        async with monitor([failed()]) as (app, pilot):
            press_at_once(app, "slash", "b", "d", "slash")
            app.post_message(Paste("pasted"))
            press_at_once(app, "x")
            await until(lambda: app.prompt.value == "bd/pastedx")
            await press(app, pilot, "escape", "R")
            await opened(app, pilot, ResumeDialog)
            area, place = app.screen.query_one(TextArea), app.screen.query_one(Input)
            area.text = place.value = ""
            press_at_once(app, "tab", "t", "g", "tab", "s", "shift+tab", "q")
            await until(lambda: (area.text, place.value) == ("tgq", "s"))

    run(test)


def test_keys_that_arrive_together_act_where_the_one_before_them_leads():
    async def test():
        async with monitor() as (app, pilot):
            press_at_once(app, "j", "d", "y")
            await until(lambda: app.acts.jobs.calls == [("cancel", "job-support-v4")])
            await settle(app, pilot)
            press_at_once(app, "P", "7", "enter", "j", "enter", "l", "slash", "x")
            await until(lambda: app.acts.jobs.calls[1:] == [("set_priority", "job-support-v4", 7)])
            await settle(app, pilot)
            assert (app.selected_job.name, app.is_job_pane, app.pane.tab) == ("faq-dpo", True, Tab.LOGS)
            assert (app.prompt.value, app.pane.body.search) == ("x", "x")

    run(test)


def test_changes_that_were_edited_stay_where_no_other_suggestion_is_chosen():
    async def test():
        async with monitor([failed()]) as (app, pilot):
            await press(app, pilot, "R")
            await opened(app, pilot, ResumeDialog)
            app.screen.query_one(TextArea).text = "training.learning_rate = 0.0005"
            await press(app, pilot, "up")
            assert app.screen.query_one(TextArea).text == "training.learning_rate = 0.0005"

    run(test)


def test_a_job_can_resume_with_the_config_it_was_submitted_with():
    async def test():
        changes = [{"field": "training.max_steps", "from": 500, "to": 1000}]
        adjustments = [{"at": NOW, "by": "user", "attempt": 1, "changes": changes}]
        job = ended("job-p", S.PAUSED, adjustments=adjustments)
        async with monitor([job]) as (app, pilot):
            await press(app, pilot, "R")
            await opened(app, pilot, ResumeDialog)
            await press(app, pilot, "down", "ctrl+r")
            call = ("resume", "job-p", None, {"config_adjustments": None, "original": True})
            await until(lambda: app.acts.jobs.calls == [call])

    run(test)


def test_a_setting_that_cannot_be_read_is_reported():
    async def test():
        async with monitor([failed()]) as (app, pilot):
            await press(app, pilot, "R")
            await opened(app, pilot, ResumeDialog)
            app.screen.query_one(TextArea).text = "more steps please"
            await press(app, pilot, "ctrl+r")
            await until(lambda: any("must look like training.max_steps=10" in text for text in notices(app)))
            assert app.acts.jobs.calls == []

    run(test)


def test_a_refused_change_is_reported_in_its_own_words():
    async def test():
        async with monitor() as (app, pilot):
            app.acts.jobs.error = ConflictError("Job job-support-v3 is being cancelled already.")
            await press(app, pilot, "p")
            await until(lambda: "Job job-support-v3 is being cancelled already." in notices(app))

    run(test)


def test_what_is_not_possible_says_why():
    async def test():
        async with monitor() as (app, pilot):
            await press(app, pilot, "R", "P")
            assert len(notices(app)) == 2
            assert "only a paused, failed or cancelled job can be resumed" in notices(app)[0]

    run(test)


def test_a_readonly_monitor_changes_nothing():
    async def test():
        async with monitor(is_readonly=True) as (app, pilot):
            await press(app, pilot, "p", "d", "j", "F", "P", "G", "R")
            assert app.acts.jobs.calls == []
            assert set(notices(app)) == {"This monitor is read-only: it was started with --readonly."}
            assert "read-only" in screen_text(app)

    run(test)


def test_a_model_is_downloaded(tmp_path):
    async def test():
        async with monitor([ended("job-done", S.COMPLETED)]) as (app, pilot):
            await press(app, pilot, "D")
            await opened(app, pilot, DownloadDialog)
            assert app.screen.query_one(Input).value == "job-done.zip"
            app.screen.dismiss(DownloadChoice("model", str(tmp_path)))
            await until(lambda: any(text.startswith("Saved ") for text in notices(app)))
            assert (tmp_path / "job-done.zip").read_bytes() == b"PK"

    run(test)


def test_a_download_that_cannot_be_written_is_reported():
    async def test():
        async with monitor([ended("job-done", S.COMPLETED)]) as (app, pilot):
            await press(app, pilot, "D")
            await opened(app, pilot, DownloadDialog)
            app.screen.query_one(Input).value = "/no/such/folder/x.zip"
            await press(app, pilot, "enter")
            await until(lambda: any("No such file or directory" in text for text in notices(app)))

    run(test)


def test_marked_jobs_are_compared_and_their_keys_do_not_reach_the_table():
    async def test():
        async with monitor(size=LARGE) as (app, pilot):
            await press(app, pilot, "c")
            assert "Mark at least two jobs with Space, then press c." in notices(app)
            await press(app, pilot, "space", "G", "k", "space")
            await press(app, pilot, "c")
            await opened(app, pilot, CompareScreen)
            await until(lambda: all(detail.series for detail in app.screen._details))
            app.screen.redraw()
            await quiet(app, pilot)
            shown = screen_text(app)
            assert "SETTINGS THAT DIFFER" in shown
            assert "2 jobs compared" in shown
            await press(app, pilot, "d", "p", "right", "x")
            await quiet(app, pilot)
            assert isinstance(app.screen, CompareScreen)
            assert screen_text(app).splitlines()[1].startswith(" eval_loss")
            assert app.acts.jobs.calls == []
            await press(app, pilot, "escape")
            await quiet(app, pilot)
            assert not isinstance(app.screen, CompareScreen)

    run(test)


def test_live_events_are_drawn():
    async def test():
        async with monitor([running("job-live", last_seq=10)]) as (app, pilot):
            await press(app, pilot, "l")
            values = {"loss": 0.7654321}
            app.reads.jobs.events_to_come.put_nowait(
                event("job-live", 11, "metrics", step=413, total_steps=1000, values=values, eta_s=600.0)
            )
            await until(lambda: app.detail.job.step == 413)
            app.redraw()
            await quiet(app, pilot)
            shown = screen_text(app)
            assert "413/1000" in shown
            assert "ETA 10:00" in shown
            assert "loss 0.7654" in shown

    run(test)


def test_events_that_are_ahead_of_the_poll_decide_what_is_possible():
    async def test():
        job = running("job-live", last_seq=10)
        async with monitor([job]) as (app, pilot):
            jobs = app.reads.jobs
            paused = job.model_copy(update={"status": S.PAUSED, "last_seq": 11})
            jobs.details["job-live"] = replace(jobs.details["job-live"], job=paused)
            jobs.events_to_come.put_nowait(event("job-live", 11, "status", status="paused"))
            await until(lambda: app.selected_job.status is S.PAUSED)
            assert app.table.selected.status is S.RUNNING
            await press(app, pilot, "R")
            await opened(app, pilot, ResumeDialog)

    run(test)


def test_a_job_that_has_ended_is_not_followed():
    async def test():
        async with monitor([ended("job-done", S.COMPLETED), running()]) as (app, pilot):
            await press(app, pilot, "j")
            assert app.selected_job.name == "done"
            assert app.reads.jobs.followed == ["job-run"]
            assert [worker for worker in app.workers if worker.group == "detail" and worker.is_running] == []

    run(test)


def test_scrolling_through_the_list_loads_nothing_on_the_way():
    async def test():
        jobs = [running(f"job-{number:03}") for number in range(60)]
        async with monitor(jobs) as (app, pilot):
            press_at_once(app, *"j" * 20)
            await settle(app, pilot)
            assert len(app.reads.jobs.followed) < 6

    run(test)


def test_a_lost_connection_keeps_the_data_and_says_how_old_it_is():
    async def test():
        feed = FakeFeed.of(all_kinds())
        async with monitor(feed=feed, size=LARGE) as (app, pilot):
            lost = snapshot_of(all_kinds(), state=LinkState.LOST, fetched_at=NOW.replace(hour=11, minute=58))
            feed.put(lost)
            await until(lambda: app.snapshot is lost)
            app.redraw()
            await quiet(app, pilot)
            shown = screen_text(app)
            assert "disconnected, shown as of 2 min ago" in shown
            assert "support-v3" in shown

    run(test)


@pytest.mark.parametrize(
    ("feed", "sentence"),
    [
        (FakeFeed(), "Connecting to http://127.0.0.1:8000 ..."),
        (FakeFeed.of([]), "There are no jobs yet."),
        (
            FakeFeed.of([], state=LinkState.REFUSED, problem="The key was refused. Set FTLAB_API_KEY."),
            "The key was refused.",
        ),
    ],
)
def test_designed_states(feed, sentence):
    async def test():
        async with monitor([], feed=feed) as (app, _):
            assert sentence in screen_text(app)

    run(test)


def test_a_small_terminal_is_told_what_is_needed():
    async def test():
        async with monitor(size=(50, 12)) as (app, pilot):
            assert "This terminal is 50x12." in screen_text(app)
            await pilot.resize_terminal(80, 24)
            await settle(app, pilot)
            assert "support-v3" in screen_text(app)
            await pilot.resize_terminal(120, 40)
            await settle(app, pilot)
            assert "Checkpoints" in screen_text(app)

    run(test)


def test_ascii_and_no_colour(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")

    async def test():
        async with monitor(size=LARGE, is_ascii=True) as (app, pilot):
            assert app.no_color
            assert screen_text(app).isascii()
            await press(app, pilot, "d")
            await quiet(app, pilot)
            assert screen_text(app).isascii()
            await press(app, pilot, "escape", "?")
            await opened(app, pilot, HelpPage)
            assert screen_text(app).isascii()
            await pilot.press("escape", "ctrl+p")
            await until(lambda: "Search for commands" in screen_text(app))
            await until(lambda: "Pause support-v3" in screen_text(app))
            assert screen_text(app).isascii()

    run(test)


def test_help_names_every_key():
    async def test():
        async with monitor() as (app, pilot):
            await press(app, pilot, "?")
            await opened(app, pilot, HelpPage)
            shown = screen_text(app)
            for what in ("pause", "resume", "cancel", "download", "priority", "theme", "smooth", "follow", "compare"):
                assert what in shown

    run(test)


def test_themes_take_turns_and_follow_the_terminal():
    async def test():
        async with monitor(background="#fdf6e3") as (app, pilot):
            assert app.theme == "light"
            await press(app, pilot, "t")
            assert app.theme == "contrast"
            await press(app, pilot, "t")
            assert app.theme == "dark"

    run(test)


def test_the_palette_offers_what_is_possible():
    async def test():
        async with monitor() as (app, _):
            titles = [command.title for command in app.get_system_commands(app.screen)]
            assert "Pause support-v3" in titles
            assert not any(title.startswith("Resume") for title in titles)

    run(test)


def test_nothing_acts_behind_a_dialog():
    async def test():
        async with monitor([failed(), running()], size=LARGE) as (app, pilot):
            await press(app, pilot, "G", "enter", "R")
            await opened(app, pilot, ResumeDialog)
            before = app.pane.tab, app.chart_options, app.theme, app.selected_job
            press_at_once(app, "right", "left", "left", "slash", "3", "y", "x", "t", "d", "p", "m", "q")
            await quiet(app, pilot)
            assert isinstance(app.screen, ResumeDialog)
            assert (app.pane.tab, app.chart_options, app.theme, app.selected_job) == before
            assert [command.title for command in app.get_system_commands(app.screen)] == ["Keys", "Theme", "Quit"]
            assert app.acts.jobs.calls == []

    run(test)


def test_a_job_named_on_the_command_line_is_open_at_once():
    async def test():
        async with monitor(job_id="job-support-v2") as (app, _):
            assert app.is_job_pane
            assert app.selected_job.name == "support-v2"

    run(test)


def test_the_mouse_selects_jobs_and_tabs():
    async def test():
        async with monitor(size=LARGE) as (app, pilot):
            await pilot.click("#jobs", offset=(5, 4))
            await settle(app, pilot)
            assert app.selected_job.name == "support-v2"
            await pilot.click("#tabs", offset=(10, 0))
            await settle(app, pilot)
            assert app.pane.tab is Tab.LOGS

    run(test)


def test_quitting_leaves_no_worker():
    async def test():
        async with monitor() as (app, pilot):
            with contextlib.suppress(asyncio.CancelledError):
                await pilot.press("q")
            await until(lambda: not app.is_running or app._exit)

    run(test)


def test_a_resumed_job_is_followed_again():
    async def test():
        client = FakeClient([failed()])
        feed = FakeFeed.of([failed()])
        async with monitor([failed()], feed=feed, client=client):
            assert client.jobs.followed == []
            again = queued("job-bad", 1, attempt=1)
            client.jobs.details["job-bad"] = replace(client.jobs.details["job-bad"], job=again, is_live=True)
            feed.put(snapshot_of([again]))
            await until(lambda: client.jobs.followed == ["job-bad"])

    run(test)
