import os
import subprocess
import sys
import threading

import pytest

from cluster.niceness import AHEAD_OF_TIME, TRAINING, import_behind, python_for_training

NICENESS_OF_THREAD = "import os, threading; VALUE = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())"


def test_processes_of_a_run_are_nice_before_they_import_anything():
    command = f"{python_for_training()} -c 'import os; print(os.nice(0))'"
    told = subprocess.run(
        ["nice", "-n", "0", "sh", "-c", f"exec {command}"], capture_output=True, text=True, check=True
    )
    assert int(told.stdout) == min(19, os.nice(0) + TRAINING)


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
