"""`python -m linkwise`."""

from linkwise.cli import command

command()
