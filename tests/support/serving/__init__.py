"""The server as a process, and images to send to it."""
