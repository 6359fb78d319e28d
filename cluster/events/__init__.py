"""Readers and carriers of the event log: the live hub and the MLflow recorder process."""
