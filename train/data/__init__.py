"""From an uploaded file to token ids."""
