"""The training loop: the trainer, its callback and its rows."""
