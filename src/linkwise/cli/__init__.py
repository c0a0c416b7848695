"""The command line: parse, call `linkwise.run`, show. `command` is the entry point, `main` what it runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def command() -> None:
    """The console script: `main`, then an end without the teardown of libraries that quarrel over it.

    With PyTorch loaded DuckDB's types outlive their module, and 35 lines about leaks would end every output.
    Spark needs its teardown.
    """
    code = main()
    if "torch" in sys.modules and "pyspark" not in sys.modules:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    try:
        from linkwise.cli.app import run_words

        return run_words(list(sys.argv[1:] if arguments is None else arguments))
    except KeyboardInterrupt:  # while the modules above were still loading
        print("linkwise: interrupted.", file=sys.stderr)
        return 130
