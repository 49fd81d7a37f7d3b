"""A hub on loopback, honest and lying."""
