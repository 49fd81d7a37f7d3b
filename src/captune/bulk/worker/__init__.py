"""The model in a process of its own: if it crashes or hangs at an image, it is started again."""
