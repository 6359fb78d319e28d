"""How a worker of Ray exits."""

import subprocess
import sys

PROCESS = """
import atexit, ctypes
from cluster.machine import worker_exit
native = ctypes.CDLL(None)
native.__cxa_atexit(native.pause, None, None)
atexit.register(print, "python's exit")
print("the end", end=" of ")
"""


def test_a_worker_ends_though_a_native_library_hangs_when_it_exits():
    """As Ray's do at times; what Python is to do at its end is done."""
    done = subprocess.run([sys.executable, "-c", PROCESS], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "the end of python's exit\n"
