"""Reports of a training process: events, metrics and log lines."""
