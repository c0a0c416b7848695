"""The command line: parse, call `linkwise.run`, show. `main` is the entry point."""

from linkwise.cli.app import main

__all__ = ["main"]
