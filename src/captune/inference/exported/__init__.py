"""Captioning with an exported model: numpy and a runtime, without torch or transformers."""
