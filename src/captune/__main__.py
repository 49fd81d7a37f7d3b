"""`python -m captune`, for where the `captune` script is not on the path."""

from captune.cli import main

main()
