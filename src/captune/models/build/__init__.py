"""New and loaded models: named sizes, joined encoders and decoders, tokenizers, weights."""
