"""Live events of a job over WebSockets."""
