"""Who runs when: pure policy, the coordinator, run drivers, the Ray Train launch, supervision."""
