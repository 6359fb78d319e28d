"""Checkpoints on disk: committed, verified, resumed from."""
