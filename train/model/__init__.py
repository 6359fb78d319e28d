"""Base models: finding, fetching, describing and loading them."""
