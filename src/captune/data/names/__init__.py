"""What a name in a data set means: which image, which split, and whether it may be read."""
