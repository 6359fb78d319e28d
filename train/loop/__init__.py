"""The training loop: the trainer, its callback and the rows that it is fed."""
