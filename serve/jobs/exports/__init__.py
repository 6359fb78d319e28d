"""Exports: submitted, listed, and uploaded to a hub of models."""
