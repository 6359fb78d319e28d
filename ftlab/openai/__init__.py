"""What the OpenAI-compatible API and the import from OpenAI share: ids, settings and rows, and the import itself."""
