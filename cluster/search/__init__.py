"""How a sweep searches: the next values, which trials continue, and what mattered. Pure functions of its trials."""
