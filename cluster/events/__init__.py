"""The event hub, and the processes of the MLflow recorder and of the notifier."""
