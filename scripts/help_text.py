"""Write the help text of every command into docs/cli.md, or check that it is up to date.

python scripts/help_text.py           writes docs/cli.md
python scripts/help_text.py --check   exits 1 where it differs
"""

from __future__ import annotations

import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
COMMANDS = (
    (),
    ("churn",),
    ("churn", "score"),
    ("recommend",),
    ("ask",),
    ("compare",),
    ("simulate", "music"),
    ("forecast",),
    ("data", "describe"),
    ("report",),
    ("run",),
    ("doctor",),
)


def page() -> str:
    """The whole page."""
    import io

    from rich.console import Console

    from linkwise.cli.app import build

    parts = [
        "# The command line\n",
        "Made by `make help-text` from the program's own help; `make check` fails where they differ.\n",
    ]
    for words in COMMANDS:
        out = io.StringIO()
        console = Console(file=out, width=100, color_system=None, force_terminal=False)
        build().help_print(list(words), console=console)
        title = " ".join(("linkwise", *words))
        lines = [line.rstrip() for line in out.getvalue().strip().splitlines()]
        parts.append(f"## {title}\n\n```text\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


def main() -> int:
    """Write or check; returns the exit code."""
    text = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != text:
            print(f"{PAGE.name} is out of date: run `make help-text`.", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
