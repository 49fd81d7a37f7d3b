"""The page at `/`: static files that call only the server's own API."""
