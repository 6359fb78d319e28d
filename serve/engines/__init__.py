"""Engines: which one answers for a model, how it is leased from the queue, and how requests reach it."""
