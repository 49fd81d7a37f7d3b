"""The lines of `captune doctor`."""
