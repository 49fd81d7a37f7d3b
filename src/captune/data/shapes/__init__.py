"""The built-in data set: coloured shapes with captions that can be checked for truth."""
