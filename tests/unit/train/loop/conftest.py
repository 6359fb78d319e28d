"""Fixtures of tests that compare runs bit by bit; each module has its own jobs (`new_job`)."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.train.runs import Job
from tests.unit.train.traces import Rows, Trace, attempt


@pytest.fixture(scope="module")
def wholes() -> dict[str, Trace]:
    return {}


@pytest.fixture
def whole(new_job: Callable[[], Job], rows: Rows, wholes: dict[str, Trace]) -> Callable[..., Trace]:
    """The trace of a config that is trained without interruption, once for each config."""

    def get(**config: Any) -> Trace:
        key = json.dumps(config, sort_keys=True)
        if key not in wholes:
            wholes[key] = Trace(new_job())
            attempt(wholes[key], rows, **config)
        return wholes[key]

    return get
