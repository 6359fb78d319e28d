"""Evaluations: submitted, estimated, and what they found."""
