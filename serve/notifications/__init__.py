"""Routes of notifications and of their channels."""
