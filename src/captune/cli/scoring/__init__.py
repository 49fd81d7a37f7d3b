"""What `captune score`, `evaluate` and `compare` read, print and write."""
