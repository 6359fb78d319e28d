"""Heartbeats of a run."""

from tests.unit.train.runs import Link
from train.loop.run_context import REMEMBERED_STEPS, Heartbeat
from train.plan import Beat, Phase


def test_every_beat_counts():
    link = Link()
    heartbeat = Heartbeat(link)
    heartbeat.enter(Phase.TRAINING, step=6)
    heartbeat.beat()
    heartbeat.step_done(7, 9.0)
    heartbeat.enter(Phase.SAVING)
    assert link.beats == [
        Beat(1, 6, None, "training"),
        Beat(2, 6, None, "training"),
        Beat(3, 7, None, "training"),
        Beat(4, 7, None, "saving"),
    ]


def test_the_median_is_that_of_the_newest_steps_without_the_first():
    link = Link()
    heartbeat = Heartbeat(link)
    for step, duration_s in enumerate((100.0, 1.0, 2.0, 30.0), 1):
        heartbeat.step_done(step, duration_s)
    assert [beat.median_step_s for beat in link.beats] == [None, 1.0, 1.5, 2.0]
    for step in range(REMEMBERED_STEPS):
        heartbeat.step_done(step, 5.0)
    assert link.beats[-1].median_step_s == 5.0
