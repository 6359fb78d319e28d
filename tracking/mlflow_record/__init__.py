"""The record of each job in MLflow."""
