"""One attempt at a job on Ray Train: its driver, its workers and its end."""
