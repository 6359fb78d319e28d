import os
import platform
import subprocess
import sys
import threading

import pytest

from cluster.machine.cpu_priority import AHEAD_OF_TIME, TRAINING, import_behind, python_for_training

NICENESS_OF_THREAD = "import os, threading; VALUE = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())"


def test_processes_of_a_run_are_nice_before_they_import_anything():
    command = f"{python_for_training(on_cpu=False)} -c 'import os; print(os.nice(0))'"
    told = subprocess.run(
        ["nice", "-n", "0", "sh", "-c", f"exec {command}"], capture_output=True, text=True, check=True
    )
    assert int(told.stdout) == min(19, os.nice(0) + TRAINING)


SAME_PAGES = """
import ctypes, resource, threading

def step():  # touch 96 MiB, as torch does: aligned, and freed right away
    libc.posix_memalign(ctypes.byref(place), 64, size)
    ctypes.memset(place, 1, size)
    libc.free(place)

def steps():
    for _ in range(10):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

libc, place, size = ctypes.CDLL(None), ctypes.c_void_p(), 96 * 1024**2
libc.posix_memalign.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
thread = threading.Thread(target=steps)
thread.start()
thread.join()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other libraries have other variables")
def test_on_a_cpu_memory_that_was_freed_is_used_again(tmp_path):
    script = tmp_path / "steps.py"
    script.write_text(SAME_PAGES)
    faults = {}
    for on_cpu in (True, False):
        command = f"exec {python_for_training(on_cpu=on_cpu)} {script}"
        faults[on_cpu] = int(subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout)
    assert faults[True] < 100 < 10_000 < faults[False]


@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux threads have a niceness each")
def test_an_import_behind_leaves_the_caller_as_it_was(tmp_path, monkeypatch):
    (tmp_path / "ftlab_slow_module.py").write_text(NICENESS_OF_THREAD, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    import_behind("ftlab_slow_module")
    assert sys.modules.pop("ftlab_slow_module").VALUE == AHEAD_OF_TIME
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == before


def test_what_an_import_behind_raises_is_raised():
    with pytest.raises(ModuleNotFoundError, match="ftlab_no_such_module"):
        import_behind("ftlab_no_such_module")
