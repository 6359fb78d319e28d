"""Helpers for tests of all levels: databases, tiny models, stand-ins and whole services."""
