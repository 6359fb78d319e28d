"""Devices that a run had reserved come back when nobody is left who could give them back."""

import subprocess
import sys

import pytest

from cluster.machine.environment import ray_environment
from tests.support.lab import Lab

pytestmark = pytest.mark.slow

LEAK = """
import time
import ray
from ray.util import placement_group, placement_group_table
from ray.util.placement_group import PlacementGroup

ray.init(namespace="leak", log_to_driver=False)

@ray.remote(num_cpus=0)
class Controller:
    def reserve(self):
        self.groups = [placement_group([{"CPU": cpus}]) for cpus in (1, 1000)]
        ray.get(self.groups[0].ready())
        return self.groups

@ray.remote(num_cpus=0)
class Driver:
    def reserve(self):
        self.controller = Controller.remote()
        return ray.get(self.controller.reserve.remote())

driver = Driver.options(lifetime="detached", name="leaks").remote()
groups = ray.get(driver.reserve.remote())
print([placement_group_table(group)["state"] for group in groups], flush=True)
ray.kill(driver)
# This process goes on living: its end would be the end of everything that was made for it.
deadline = time.monotonic() + 60
while (states := [placement_group_table(group)["state"] for group in groups]) != ["REMOVED", "REMOVED"]:
    assert time.monotonic() < deadline, states
    time.sleep(0.1)
print("given back", flush=True)
"""


def test_groups_of_a_dead_controller_are_given_back(lab: Lab) -> None:
    """A driver that dies before its workers are up has told nobody of its placement group."""
    done = subprocess.run(
        [sys.executable, "-c", LEAK],
        env=lab.environment() | ray_environment(lab.settings),
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["['CREATED', 'PENDING']", "given back"]
