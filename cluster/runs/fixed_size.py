"""The number of workers of a run, in Ray Train's controller, which imports this module."""

from types import SimpleNamespace
from typing import Any

from ray.train.v2._internal.execution.controller import controller
from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy

PANDAS = "pd"
"""Name of pandas in the module of the controller. With another one in a later Ray, it is imported when a run ends."""


class FixedSize(FixedScalingPolicy):
    """As many workers as the plan says, without a request to Ray's autoscaler.

    A run starts on machines that are there. The request goes through an actor of Ray Data, which the first controller
    starts, and for which every controller imports Ray Data.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        """Called by Ray Train in the process of the controller."""
        # The result of a run has a table of the metrics at its checkpoints, which nothing here reads.
        vars(controller)[PANDAS] = SimpleNamespace(DataFrame=lambda metrics: None)

    def _maybe_send_resource_request(self) -> None:
        pass
