"""Braille, sparklines, bars, and whole charts as text."""

import pytest

from ftlab.tui.braille import Canvas, bar, sparkline
from ftlab.tui.chart_pane import chart_lines, groups_of, rooms
from ftlab.tui.charts import ChartOptions, Curve, chart, compact
from ftlab.tui.series import XAxis
from ftlab.tui.spans import text_of, width_of
from tests.unit.ftlab.tui.sample_jobs import detail_of, ended, make_job, running, series_of


def rows_of(canvas):
    return ["".join(text for text, _ in spans) for spans in canvas.rows()]


def test_each_dot_of_a_cell_has_its_bit():
    for x, y, char in ((0, 3, "⠁"), (0, 0, "⡀"), (1, 3, "⠈"), (1, 0, "⢀"), (0, 1, "⠄"), (1, 2, "⠐")):
        canvas = Canvas(1, 1)
        canvas.dot(x, y)
        assert rows_of(canvas) == [char]


def test_a_diagonal_goes_from_corner_to_corner():
    canvas = Canvas(2, 1)
    canvas.line((0, 0), (3, 3))
    assert rows_of(canvas) == ["⡠⠊"]


def test_dots_outside_are_left_out():
    canvas = Canvas(2, 2)
    canvas.path([(-50, -50), (90, 90)])
    canvas.dot(4, 0)
    assert canvas.rows()


def test_the_newest_role_of_a_cell_counts_and_neighbours_are_joined():
    canvas = Canvas(3, 1)
    canvas.path([(0, 0), (5, 0)], "raw")
    canvas.path([(4, 0), (5, 0)], "curve1")
    assert canvas.rows() == [[("⣀⣀", "raw"), ("⣀", "curve1")]]


@pytest.mark.parametrize(
    ("values", "width", "shown"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8], 8, "▁▂▃▄▅▆▇█"),
        ([5, 5, 5], 8, "▄▄▄"),
        ([], 8, ""),
        ([float("nan"), 1, 9], 4, "▁█"),
        ([0, 0, 8, 8], 2, "▁█"),
    ],
)
def test_sparklines(values, width, shown):
    assert sparkline(values, width) == shown


@pytest.mark.parametrize(("share", "filled"), [(0, 0), (0.5, 5), (1, 10), (1.7, 10), (-1, 0)])
def test_bars(share, filled):
    assert bar(share, 10) == ("━" * filled, "╌" * (10 - filled))


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.54321e-8, "1.543e-8"), (12345.678, "12346"), (1234567.8, "1.235e6"), (0.25, "0.25"), (-3.0, "-3"), (0.0, "0")],
)
def test_numbers_have_a_short_exponent(value, text):
    assert compact(value) == text


OPTIONS = ChartOptions()


def drawn_chart(values, size=(40, 8), options=OPTIONS, **more):
    return [text_of(spans) for spans in chart("loss", [Curve("", series_of(values), "curve1")], size, options, **more)]


def test_a_chart_fills_its_room_and_names_its_bounds():
    lines = drawn_chart([4, 3, 2, 1], options=ChartOptions(smoothing=0.0))
    assert len(lines) == 8
    assert lines[0].startswith("loss")
    assert lines[0].endswith(" 1")
    assert lines[1].startswith("      4 ┤⠉⠒")
    assert lines[5].startswith("      1 ┤")
    assert lines[5].endswith("⠤⣀")
    assert lines[7].split() == ["1", "step", "4"]


def test_labels_have_as_many_digits_as_tell_them_apart():
    lines = drawn_chart([6.2444, 6.2387], size=(40, 12), options=ChartOptions(smoothing=0.0))
    assert [text.split(" ┤")[0].strip() for text in lines if "┤" in text] == ["6.244", "6.242", "6.239"]


def test_a_single_step_is_in_the_middle_of_whole_steps():
    assert drawn_chart([4])[7].split() == ["0", "step", "2"]


def test_smoothing_leaves_a_constant_in_the_middle():
    lines = drawn_chart([14201.2] * 5, options=ChartOptions(smoothing=0.61))
    assert [text.split(" ┤")[0].strip() for text in lines if "┤" in text] == ["15600", "12800"]


def test_a_chart_without_labels_has_more_room_for_curves():
    assert len(drawn_chart([4, 3, 2, 1], has_labels=False)) == 8


def test_checkpoints_are_marked_on_the_axis():
    lines = drawn_chart([4, 3, 2, 1], marks=[1, 4, 99])
    assert lines[6].count("▲") == 2
    assert lines[6].endswith("▲")


def test_a_logarithmic_axis_leaves_out_what_is_not_positive():
    lines = drawn_chart([0.0, 1000.0, 10.0], options=ChartOptions(smoothing=0.0, log_y=True))
    assert "1000 ┤" in lines[1]
    assert drawn_chart([0.0, -1.0], options=ChartOptions(log_y=True))[1] == (
        "No value is above zero; press y for a linear axis."
    )


def test_a_time_axis_counts_in_minutes():
    lines = drawn_chart(range(100), options=ChartOptions(axis=XAxis.TIME))
    assert lines[-1].split() == ["0:00", "time", "6:36"]


def test_a_constant_and_a_single_point_are_drawn():
    for values in ([2.0] * 9, [2.0]):
        assert any(char > "⠀" for text in drawn_chart(values)[1:6] for char in text if char >= "⠀")


def test_the_loss_shares_its_chart_with_the_evaluation():
    groups = groups_of(detail_of(running()).series)
    assert [group.title for group in groups] == ["loss", "learning_rate", "grad_norm", "tokens_per_s", "step_time_s"]
    assert [curve.label for curve in groups[0].curves] == ["loss", "eval_loss"]
    assert [curve.smooth for curve in groups[0].curves] == [True, False]


def test_rewards_come_first():
    series = {"loss": series_of([1]), "reward": series_of([2]), "eval_reward": series_of([2])}
    assert [group.title for group in groups_of(series)] == ["reward", "loss"]


@pytest.mark.parametrize("height", range(4, 60, 4))
@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_the_charts_fit_every_height(count, height):
    heights = rooms(count, height)
    assert 1 <= len(heights) <= count
    assert sum(heights) <= max(height, 4)
    assert min(heights) >= 4


@pytest.mark.parametrize("size", [(30, 8), (58, 30), (78, 16), (200, 60)])
def test_all_charts_of_a_job_fit_their_pane(size):
    lines = chart_lines(detail_of(running()), size, ChartOptions())
    assert len(lines) <= size[1]
    assert max(map(width_of, lines)) <= size[0]


def test_one_chart_alone_takes_all_the_room():
    lines = chart_lines(detail_of(running()), (80, 20), ChartOptions(), alone=1)
    assert len(lines) == 20
    assert text_of(lines[0]).startswith("learning_rate  2/5")


@pytest.mark.parametrize(
    ("job", "sentence"),
    [
        (make_job(), "The charts begin with the first step."),
        (ended("job-a", make_job().status.FAILED), "The job ended before its first step."),
    ],
)
def test_a_job_without_steps_says_so(job, sentence):
    [line] = chart_lines(detail_of(job, series={}), (80, 20), ChartOptions())
    assert text_of(line) == sentence
