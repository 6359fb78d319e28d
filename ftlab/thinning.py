"""Fewer points of a series, without losing its extremes."""

from collections.abc import Sequence


def thinned(xs: Sequence[float], ys: Sequence[float], max_points: int) -> tuple[list[float], list[float]]:
    """At most about `max_points`: the lowest and the highest value of each part of the series, in their order."""
    count = len(xs)
    if count <= max_points or max_points < 2:
        return list(xs), list(ys)
    parts = max_points // 2
    kept: list[int] = []
    for part in range(parts):
        places = range(part * count // parts, (part + 1) * count // parts)
        kept += sorted({min(places, key=ys.__getitem__), max(places, key=ys.__getitem__)})
    return [xs[place] for place in kept], [ys[place] for place in kept]
