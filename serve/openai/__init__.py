"""The OpenAI-compatible API: routes below `/v1` for clients of OpenAI's files and fine-tuning."""
