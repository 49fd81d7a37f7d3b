"""The sides of `benchmarks/compare.py`: captune, plain transformers done well, and notebooks."""
