"""Counts behind the scores: words and n-grams as integers, references, predictions, frequencies."""
