"""Checkpoints of jobs: chosen for a resume, pinned, deleted."""
