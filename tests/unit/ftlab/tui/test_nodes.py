"""Machines and GPUs in the header and on their own screen."""

from dataclasses import replace

from ftlab.schemas import HostSample, NodeStatus
from ftlab.schemas.telemetry import HeldDevices
from ftlab.tui.device_lines import devices_line, node_lines
from ftlab.tui.frame import title_line
from ftlab.tui.plain import snapshot_document
from ftlab.tui.spans import text_of
from tests.unit.ftlab.device_samples import GPU as THROTTLED
from tests.unit.ftlab.device_samples import LOST
from tests.unit.ftlab.tui.fake_client import FakeFeed
from tests.unit.ftlab.tui.monitor_runs import monitor, press, quiet, run, screen_text
from tests.unit.ftlab.tui.sample_jobs import NOW, all_kinds, snapshot_of

HOST = HostSample(cpu_percent=42.4, memory_used_bytes=3 * 10**9, memory_total_bytes=16 * 10**9)
GPU = THROTTLED.model_copy(update={"utilization_percent": 95})
TRAINING = HeldDevices(job_id="job-1", job_name="support", cpus=4, gpus=[0])
ALPHA = NodeStatus(id="n1", name="alpha", cpus=8, gpus=2, host=HOST, devices=[GPU, LOST], jobs=[TRAINING])
SMALL = NodeStatus(id="n2", name="beta", cpus=1, gpus=0, host=HOST, jobs=[HeldDevices(cpus=1)])
NEW = NodeStatus(id="n3", name="gamma", cpus=4, gpus=0)


def test_the_header_counts_gpus_or_gives_the_load():
    assert text_of(devices_line([ALPHA, SMALL])) == "GPUs 1/2"
    assert text_of(devices_line([SMALL, NEW])) == "CPU 42 %"
    assert devices_line([NEW]) == devices_line([]) == ()
    snapshot = replace(snapshot_of(all_kinds()), nodes=(ALPHA,))
    assert "GPUs 1/2" in text_of(title_line(snapshot, 118, NOW, is_readonly=False))


def test_a_line_for_each_device():
    lines = [text_of(each).rstrip() for each in node_lines([ALPHA, SMALL, NEW], 118)]
    assert lines[0] == "alpha"
    assert lines[1].split() == ["8", "cores", *lines[1].split()[2:-6], "42", "%", "3.0", "of", "16.0", "GB"]
    assert lines[2].endswith("95 %  30.0 of 80.0 GB  64 °C  512 W")
    assert lines[3] == "    support  throttled: power"
    assert lines[4] == f"  GPU 1{' ' * 18}The driver has lost GPU 1: GPU is lost"
    assert lines[6:9] == ["beta", lines[7], "    another owner's job"]
    assert lines[10:12] == ["gamma  not sampled yet", f"  4 cores{' ' * 16}load not known"]
    assert text_of(node_lines([], 80)[0]) == "The machines are not known yet."


def test_the_screen_opens_and_closes_by_key():
    jobs = all_kinds()
    feed = FakeFeed()
    feed.put(replace(snapshot_of(jobs), nodes=(ALPHA,)))

    async def test():
        async with monitor(jobs, feed=feed) as (app, pilot):
            assert "GPUs 1/2" in screen_text(app)
            await press(app, pilot, "m")
            await quiet(app, pilot)
            shown = screen_text(app)
            assert "GPU 0 NVIDIA H100" in shown
            assert "throttled: power" in shown
            assert all(len(each) <= 80 for each in shown.splitlines())
            await press(app, pilot, "escape")
            assert "GPU 0 NVIDIA H100" not in screen_text(app)

    run(test)


def test_the_snapshot_has_the_machines():
    document = snapshot_document(replace(snapshot_of([]), nodes=(ALPHA,)), None)
    assert document["nodes"][0]["devices"][1]["error"] == LOST.error
