"""Rows as text and token ids: chat templates, masks, packing and the cache of prepared data."""
