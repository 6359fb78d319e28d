"""ZIP downloads of models, checkpoints and logs."""
