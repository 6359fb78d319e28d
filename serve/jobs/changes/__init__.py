"""Changes of a job that exists: cancel, pause, order, append, resume, delete."""
