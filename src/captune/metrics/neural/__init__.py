"""Metrics computed with a model: CLIPScore, PAC-S and BERTScore."""
