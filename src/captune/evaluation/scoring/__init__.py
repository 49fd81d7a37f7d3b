"""Scoring of predictions: the scored images, the scores and their files."""
