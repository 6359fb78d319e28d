"""The record: the database, the buckets of datasets, and the copy in MLflow. No Ray, no torch."""
