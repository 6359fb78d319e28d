"""What workers with different numbers of rows gather."""

import pytest
import torch

from train.loop.dealt_rows import joined


@pytest.mark.parametrize(
    ("rows", "values", "expected"),
    [
        ([2, 1], [[1.0, 2.0], [3.0]], [1.0, 2.0, 3.0]),
        ([1, 2, 0], [[1.0], [2.0, 3.0], [9.0]], [1.0, 2.0, 3.0]),
        ([1, 0], [[[1.0], [2.0]], [[8.0], [9.0]]], [[1.0], [2.0]]),
        ([2, 1], [[[1.0]] * 4, [[2.0]] * 2], [[1.0]] * 4 + [[2.0]] * 2),
        ([2, 0, 1], [5.0, 9.0, 6.0], [5.0, 6.0]),
    ],
    ids=["a row less", "no row", "two texts a row", "two texts a row, a row less", "one number"],
)
def test_values_of_rows_are_joined_and_those_of_a_worker_without_rows_left_out(
    rows: list[int], values: list[list[float]], expected: list[float]
) -> None:
    sent: list[list[torch.Tensor]] = [[], []]
    for found in sent:

        def gather(mine: torch.Tensor, found: list[torch.Tensor] = found) -> torch.Tensor:
            found.append(mine)
            return torch.cat(sent[0]) if len(sent[0]) == len(rows) else mine.repeat(len(rows), *[1] * (mine.dim() - 1))

        results = [joined(gather, rows, rank, torch.tensor(mine)) for rank, mine in enumerate(values)]
    assert len({mine.shape for mine in sent[0]}) == 1, "all ranks send as many values"
    assert all(torch.equal(result, torch.tensor(expected)) for result in results)
