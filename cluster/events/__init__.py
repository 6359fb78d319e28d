"""Readers and carriers of the event log: the event hub and the MLflow recorder process."""
