"""The shapes of uploaded rows, and their conversion to the normal form."""
