"""The sampler of this machine: its load, and the processes of an attempt."""

import os
import subprocess
import sys

from cluster.telemetry.host_reader import HostReader, ProcessReader
from cluster.telemetry.nvml_reader import NvmlReader
from cluster.telemetry.sampler import KEPT_SAMPLES, Sampler
from cluster.telemetry.samples import Watched
from tests.support.clocks import Clock
from tests.support.fake_nvml import FakeGpu, FakeNvml
from tracking.store.records import JobRef

REF = JobRef("job-1", 1)
BUSY = "import sys; sys.stdout.write('x'); sys.stdout.flush()\nwhile True: pass"


def test_the_load_of_this_machine() -> None:
    clock = Clock(100.0)
    reader = HostReader(clock)
    first = reader.read()
    assert first.memory_used_bytes is not None
    assert first.memory_total_bytes is not None
    assert 0 < first.memory_used_bytes < first.memory_total_bytes
    assert (first.disk_read_bytes_per_s, first.network_sent_bytes_per_s) == (None, None)
    clock.now += 2
    second = reader.read()
    assert second.cpu_percent is not None
    assert 0 <= second.cpu_percent <= 100
    for rate in (second.disk_write_bytes_per_s, second.network_received_bytes_per_s):
        assert rate is None or rate >= 0  # a machine without disks or links counts nothing


def test_a_busy_process_is_measured_until_it_ends() -> None:
    reader = ProcessReader()
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        watched = {REF: Watched((process.pid, 2**22 + 1), gpus=(0,))}
        first = reader.read(watched)[REF]
        assert (first.cpu_cores, first.had) == (None, watched[REF])
        while (second := reader.read(watched)[REF]).cpu_cores == 0:
            pass  # the system counts in ticks of 10 ms
        process.kill()
    assert second.cpu_cores is not None
    assert second.cpu_cores > 0
    assert second.memory_bytes > 1_000_000
    assert reader.read(watched) == {}


def test_each_sample_is_taken_once() -> None:
    clock = Clock(100.0)
    sampler = Sampler(NvmlReader(FakeNvml(FakeGpu(), FakeGpu())), clock=clock)
    assert sampler.take({REF: Watched((os.getpid(),))}) == ()
    for _ in range(2):
        sampler.sample()
        clock.now += 1
    first, second = sampler.take({})
    assert (first.at, second.at) == (100, 101)
    assert [gpu.index for gpu in first.gpus] == [0, 1]
    assert first.attempts[REF].memory_bytes > 0
    sampler.sample()
    (third,) = sampler.take({})
    assert third.attempts == {}


def test_samples_that_nobody_takes_do_not_pile_up() -> None:
    sampler = Sampler(host_reader=HostReader())
    sampler._samples.extend([None] * KEPT_SAMPLES)  # type: ignore[list-item]
    sampler.sample()
    taken = sampler.take({})
    assert len(taken) == KEPT_SAMPLES
    assert taken[-1] is not None
