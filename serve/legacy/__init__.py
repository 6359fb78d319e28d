"""Paths and request bodies of earlier clients."""
