"""The value of a trial."""

from collections.abc import Mapping

from ftlab.schemas.sweeps import Objective


def objective_value(objective: Objective, series: Mapping[int, float], until: int | None = None) -> float | None:
    """The value of an objective in a series of values by step; those of step 0 are from before the training."""
    values = [series[step] for step in sorted(series) if step > 0 and (until is None or step <= until)]
    if not values:
        return None
    if objective.value == "last":
        return values[-1]
    return min(values) if objective.is_minimised else max(values)
