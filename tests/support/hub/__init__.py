"""Servers on loopback: a hub, and one that misbehaves."""
