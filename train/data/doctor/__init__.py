"""The doctor: checks a dataset for a model before a job is queued."""

from train.data.doctor.eval_rows import EvalRows
from train.data.doctor.examine import VERSION, CheckOptions, Examination, examine
from train.data.doctor.findings import worst

__all__ = ["VERSION", "CheckOptions", "EvalRows", "Examination", "examine", "worst"]
