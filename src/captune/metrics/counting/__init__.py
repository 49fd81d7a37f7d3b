"""What the scores count: words and n-grams as integers, references and predictions, frequencies."""
