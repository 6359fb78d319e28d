"""Telemetry: the load of machines, GPUs and training processes, sampled once a second."""
