"""Checkpoints on disk: commit, verification and resume."""
