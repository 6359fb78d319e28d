"""Exports: a tuned model as files for other programs, checked against the tuned model."""
