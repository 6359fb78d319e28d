"""Proofs that the numbers of a run are right, which anybody can repeat: `python -m tests.proofs`."""
