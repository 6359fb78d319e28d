"""The kernel's counts of processes that it killed for lack of memory, under both versions of control groups."""

from pathlib import Path

import pytest

from cluster.machine.memory_kills import MemoryKills, count_kills

VMSTAT = "nr_free_pages 12\noom_kill 7\nnuma_hit 3\n"
V2 = "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        file = root / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.parametrize(
    ("groups", "file", "text", "in_group"),
    [
        ("0::/system.slice/x\n", "sys/fs/cgroup/system.slice/x/memory.events", V2, 2),
        ("0::/\n", "sys/fs/cgroup/memory.events", V2, 2),
        ("9:memory:/a\n0::/\n", "sys/fs/cgroup/memory/a/memory.oom_control", V1, 4),
        ("9:memory:/host/a\n", "sys/fs/cgroup/memory/memory.oom_control", V1, 4),
        ("0::/a\n", "sys/fs/cgroup/other/memory.events", V2, 0),
        ("", "sys/fs/cgroup/memory.events", V2, 0),
    ],
)
def test_kills_are_counted(tmp_path: Path, groups: str, file: str, text: str, in_group: int):
    write(tmp_path, proc__vmstat=VMSTAT, proc__self__cgroup=groups, **{file: text})
    assert count_kills(tmp_path) == MemoryKills(in_group, 7)


def test_a_kernel_that_says_nothing(tmp_path: Path):
    assert count_kills(tmp_path) == MemoryKills(0, 0)


def test_this_machine_can_be_read():
    assert count_kills().on_machine >= 0


def test_the_sentence_says_where():
    since = MemoryKills(3, 9).since(MemoryKills(2, 9))
    assert since.sentence == "Shortly before the end, the kernel killed 1 process of the service for lack of memory."
    assert MemoryKills(0, 2).sentence.endswith("killed 2 processes of the machine for lack of memory.")
