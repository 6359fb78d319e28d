"""Recording of jobs in MLflow."""
