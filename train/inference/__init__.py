"""An engine: one base model in memory that answers requests, also with adapters on it."""
