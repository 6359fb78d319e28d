"""One run on one set of devices: data, model, loop, checkpoints, failures. No database, no queue, no MLflow."""
