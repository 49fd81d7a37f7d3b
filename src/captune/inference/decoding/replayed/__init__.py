"""Decoding in steps that a device records once and replays: all state is in tensors that stay."""
