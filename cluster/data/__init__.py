"""The data worker, which prepares and checks datasets outside of training processes."""
