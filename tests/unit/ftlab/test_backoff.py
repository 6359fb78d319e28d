from ftlab.backoff import backoff_s


def test_it_doubles_up_to_its_bound() -> None:
    waits = [backoff_s(number, first_s=1.0, longest_s=30.0) for number in (1, 2, 5, 6, 1_000_000)]
    assert waits == [1, 2, 16, 30, 30]
