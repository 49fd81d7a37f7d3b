"""Decoding in numpy: the twins of `captune.inference.decoding`, over an exported step graph."""
