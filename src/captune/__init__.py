"""captune: fine-tune, evaluate and run image captioning models."""

__version__ = "0.1.0"
