"""The command line: parse, call `linkwise.run`, show. `main` is the entry point."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        from linkwise.cli.app import run_words

        return run_words(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # while the modules above were still loading
        print("linkwise: interrupted.", file=sys.stderr)
        return 130
