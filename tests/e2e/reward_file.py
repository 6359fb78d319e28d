"""A reward of a Python file, which the service of these tests allows."""


def reward(completions: list[str], references: list[str | None]) -> list[float]:
    """1 for every answer, whose row must have a reference answer."""
    return [float(reference is not None and reference.isdecimal()) for reference in references]
