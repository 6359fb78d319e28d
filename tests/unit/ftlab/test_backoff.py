import pytest

from ftlab.backoff import backoff_s, retry_after_s


def test_it_doubles_up_to_its_bound() -> None:
    waits = [backoff_s(number, first_s=1.0, longest_s=30.0) for number in (1, 2, 5, 6, 1_000_000)]
    assert waits == [1, 2, 16, 30, 30]


@pytest.mark.parametrize("header", ["", "soon", "-1", "Mon, 01 Jan 2024 00:00:00 +99999999999999999999", "Mon, 99"])
def test_a_time_that_cannot_be_read_is_none(header: str) -> None:
    assert retry_after_s(header) is None
