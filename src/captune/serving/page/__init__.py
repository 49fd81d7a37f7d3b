"""The page at `/`: static files that talk to the server's own API, and nothing else."""
