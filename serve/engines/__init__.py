"""Engines: which one answers for a model, how its job gets into the queue, and how requests reach it."""
