"""`/api/sweeps`: searches for the settings of a job. The coordinator runs them; this submits, shows and stops them."""
