"""Conversion of an uploaded file to token ids."""
