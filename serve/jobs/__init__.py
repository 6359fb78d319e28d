"""Submit, list, change and follow jobs, and the queue."""
