"""Checks that run before any route: connections, hosts, keys, sizes and times."""
