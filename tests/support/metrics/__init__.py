"""METEOR's small language, and its slow twin."""
