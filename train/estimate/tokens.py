"""How many tokens a run trains, from the mean length of its rows."""

from collections.abc import Sequence

from ftlab.schemas import GrpoMethod
from ftlab.schemas.methods import TrainingMethod
from train.row_schedule import RowSchedule


def tokens_of(schedule: RowSchedule, mean_tokens: Sequence[float], method: TrainingMethod) -> int:
    """Tokens of all steps, with the mean tokens of each file's rows; generated answers have their full length."""
    if schedule.mix is None:
        total = sum(end * mean for end, mean in zip(schedule.ends, mean_tokens, strict=True))
    else:
        per_epoch = sum(drawn * mean for drawn, mean in zip(schedule.mix.draws, mean_tokens, strict=True))
        total = schedule.end_rows / schedule.mix.num_rows * per_epoch
    if isinstance(method, GrpoMethod):
        total += schedule.end_rows * method.max_completion_length
    return round(total * method.answers_per_row)
