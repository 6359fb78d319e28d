"""The event hub, and the MLflow recorder process."""
