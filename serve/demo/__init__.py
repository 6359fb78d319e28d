"""Demonstration of the main use case: `python -m serve.demo` fine-tunes a small real model and shows its answers."""
