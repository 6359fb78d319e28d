"""Base models that a job may name, and the models that jobs delivered."""
