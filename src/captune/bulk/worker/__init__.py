"""The model in a process of its own: if it crashes or hangs on an image, it is restarted."""
