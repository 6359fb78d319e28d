"""Evaluations: models measured on a dataset."""
