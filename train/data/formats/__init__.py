"""File formats: JSON Lines, JSON, CSV, Parquet, compressed or not."""
