"""Bulk captioning on a Ray cluster: the run stays here, and its models run on all nodes."""
