"""`python -m taketwo`, for where the script is not on the path."""

from taketwo.cli.main import script

script()
