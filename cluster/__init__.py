"""Scheduling and running of jobs: pure policy, the coordinator, run drivers, the Ray Train launch, supervision."""
