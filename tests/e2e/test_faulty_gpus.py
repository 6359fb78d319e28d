"""A real Ray gives no run a GPU that is set aside. Its GPUs are numbers only, so that no machine needs any."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

HOLD = """
import time
import ray
from cluster.coordinator.gpu_holds import GpuHolds
from cluster.policy import Spot

ray.init(address="local", num_cpus=2, num_gpus=4, include_dashboard=False, log_to_driver=False)
node = ray.get_runtime_context().get_node_id()
holds = GpuHolds()

def hold(*gpus):
    deadline = time.monotonic() + 60
    while ray.available_resources().get("GPU", 0) != 4 - len(gpus) or len(holds._held) != len(gpus) or holds._searches:
        assert time.monotonic() < deadline, (ray.available_resources(), holds._held)
        holds.hold({Spot(node, gpu) for gpu in gpus}, ())
        time.sleep(0.2)

@ray.remote(num_cpus=0, num_gpus=1)
class Worker:
    def gpu(self):
        return int(ray.get_gpu_ids()[0])

hold(1, 3)
workers = [Worker.remote() for _ in range(3)]
calls = [worker.gpu.remote() for worker in workers]
ray.wait(calls, num_returns=2, timeout=60)
done, waiting = ray.wait(calls, num_returns=3, timeout=3)
print(sorted(ray.get(done)), len(waiting), flush=True)
holds.hold({Spot(node, 1)}, ())
print(sorted(ray.get(calls, timeout=60)), flush=True)
"""


def test_ray_gives_no_worker_a_gpu_that_is_set_aside() -> None:
    """In a Ray of its own, which has GPUs."""
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", HOLD],
        env=os.environ | {"PYTHONPATH": root, "RAY_raylet_start_wait_time_s": "120", "RAY_USAGE_STATS_ENABLED": "0"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["[0, 2] 1", "[0, 2, 3]"]
