"""The files of an evaluation's results, below `train.plan.RESULTS_FOLDER`."""

RESULTS_FILE = "results.json"
ROWS_FILE = "rows.jsonl"
"""The rows with the answers and scores of every model."""
PROGRESS_FILE = "measured.jsonl"
"""What is measured so far, model by model; the next attempt continues after it."""
