"""Decoding many images at once: in this process or in isolated ones, within memory limits."""
