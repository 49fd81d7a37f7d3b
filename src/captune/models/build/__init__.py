"""Build and load models: named sizes, joined encoders and decoders, tokenizers, weights."""
