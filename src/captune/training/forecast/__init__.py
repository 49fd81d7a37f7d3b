"""The cost of a training: time and memory estimated before it starts, and steps for timing only."""
