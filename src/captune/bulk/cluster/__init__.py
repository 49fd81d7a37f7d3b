"""Bulk captioning on a Ray cluster: the run stays in this process, its models are on all nodes."""
