"""Who may ask what: connections, hosts, keys, sizes and times, before any route runs."""
