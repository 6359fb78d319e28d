"""What the recorded series, attempts and events of a job say about its training. Pure functions, without PyTorch."""
