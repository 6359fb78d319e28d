"""What a training process reports: events, metrics and log lines."""
