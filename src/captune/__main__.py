"""`python -m captune`, for use if the `captune` script is not on the path."""

from captune.cli import main

main()
