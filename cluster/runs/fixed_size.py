"""The number of workers of a run. Ray Train's controller imports this module."""

from typing import Any

from ray.train.v2._internal.execution.scaling_policy import FixedScalingPolicy


class FixedSize(FixedScalingPolicy):
    """As many workers as the plan says, without a request to Ray's autoscaler.

    A run starts on machines that are there. The request goes through an actor of Ray Data, which the first controller
    starts, and for which every controller imports Ray Data.
    """

    def after_controller_start(self, train_run_context: Any) -> None:
        pass

    def _maybe_send_resource_request(self) -> None:
        pass
