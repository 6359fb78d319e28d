"""Quotas of each owner."""
