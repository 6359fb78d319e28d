"""Jobs as replies: one job, its history, the queue, and several jobs compared."""
