"""`linkwise ask`: a question about a finished run, answered from its records."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Group, Parameter

from linkwise.cli.options import Json
from linkwise.errors import LinkwiseError, ResourceError, UsageError

if TYPE_CHECKING:
    from linkwise.matching.answer import Answer, Session

SERVED = Group("Model behind a server", sort_key=1)
WIDE = 160  # characters of a source on the terminal


def ask(
    run: Annotated[str, Parameter(help="Folder of a finished run, of any study.")],
    question: Annotated[
        str | None, Parameter(help="The question; without one, on a terminal, one after the other.")
    ] = None,
    /,
    *,
    history: Annotated[
        str | None,
        Parameter(help="File of JSON lines that keeps questions and answers, for follow-ups."),
    ] = None,
    json_: Json = False,
    server: Annotated[
        str | None,
        Parameter(
            group=SERVED,
            help="Let a chat model word the answer: address of an OpenAI-compatible API, up to and with /v1.",
        ),
    ] = None,
    model: Annotated[
        str | None, Parameter(group=SERVED, help="Name of the model, as the server calls it.")
    ] = None,
    key_variable: Annotated[
        str, Parameter(group=SERVED, help="Environment variable with the key; unset: no key.")
    ] = "OPENAI_API_KEY",
) -> None:
    """Answer a question about a finished run, from its records alone, with numbered sources.

    What the records do not say is refused in one sentence, without asking a model. With --server each
    sentence of the model is checked against the records, and dropped where it cites none, or has a number
    that they have not.

    ```
    linkwise simulate music --users 6000 --days 86 --seed 7 --out sim
    linkwise recommend sim --schema music-box --models item-item,svd --out runs/rec
    linkwise ask runs/rec "Which model is best by NDCG@10?"
    ```
    """
    from linkwise.matching.answer import Session
    from linkwise.run import Run

    folder = Run.open(run).folder
    served = None
    if server is not None:
        from linkwise.lm.server import Server

        if model is None:
            raise UsageError(
                "--server needs --model, the name that the server has for what it serves."
            )
        served = Server(server, model, key_variable=key_variable)
    elif model is not None:
        raise UsageError("--model needs --server, the address of the server that has it.")
    if question is None and (json_ or not sys.stdin.isatty()):
        raise UsageError('there is no question; give one: linkwise ask RUN "Which model is best?"')
    session = Session(folder, server=served, history=history)
    if question is None:
        _converse(session)
        return
    if json_:
        print(json.dumps({"question": question, **session.ask(question).as_dict()}, indent=1))
        return
    _show_sources(session.ask(question, show=_show_line))


def _converse(session: Session) -> None:
    """Answer question after question, until an empty line or the end of the input."""
    while True:
        try:
            question = input("> ").strip()
        except EOFError:
            print()
            return
        if not question:
            return
        try:
            _show_sources(session.ask(question, show=_show_line))
        except ResourceError as error:  # the server may be there again for the next question
            print(f"linkwise: {error}", file=sys.stderr)
        except LinkwiseError as error:
            if error.exit_code != UsageError.exit_code:
                raise
            print(f"linkwise: {error}", file=sys.stderr)


def _show_line(line: str) -> None:
    print(line, flush=True)


def _show_sources(answer: Answer) -> None:
    if answer.sources:
        print("\nSources:")
    for source in answer.sources:
        text = f"{source.where}: {source.text}"
        print(f"[{source.number}] {text if len(text) <= WIDE else f'{text[: WIDE - 3]}...'}")
    if answer.dropped:
        n = answer.dropped
        print(
            f"{n} sentence{'s' * (n != 1)} of the model did not hold against the records and "
            f"{'were' if n != 1 else 'was'} dropped.",
            file=sys.stderr,
        )


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    app.command(ask)
