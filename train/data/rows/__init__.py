"""Rows in normal form: what they hold, how they are stored, and why one is refused."""
