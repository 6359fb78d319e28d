"""The shapes that rows come in, and how each becomes a row in normal form."""
