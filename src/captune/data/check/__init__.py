"""The check of a data set before training: what it contains, and its problems."""
