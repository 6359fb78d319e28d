"""Base models: found, fetched, described and loaded."""
