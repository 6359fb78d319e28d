"""Estimates of what a job needs, from its config and the files of its base model; nothing is loaded."""
