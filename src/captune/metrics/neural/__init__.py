"""Metrics that need a model: CLIPScore, PAC-S and BERTScore."""
