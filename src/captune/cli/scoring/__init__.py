"""Input and output of `captune score`, `evaluate` and `compare`."""
