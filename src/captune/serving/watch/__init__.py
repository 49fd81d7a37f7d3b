"""Observability of a server: metrics and a log."""
