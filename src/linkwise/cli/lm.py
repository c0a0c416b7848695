"""`linkwise lm`: language models on their own: adapt, tune, embed and score."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from cyclopts import App, Parameter

from linkwise.cli.lm_score import probe, score
from linkwise.cli.lm_train import adapt, tune
from linkwise.cli.options import Json, Quiet
from linkwise.cli.show import progress, short
from linkwise.errors import InputError, UsageError


def embed(
    *,
    texts: Annotated[
        str,
        Parameter(
            help="Table of the texts: Parquet, CSV, TSV or JSON lines; or .txt, one per line."
        ),
    ],
    out: Annotated[
        str,
        Parameter(
            help="File of the vectors, .parquet or .npy (vectors alone); must not exist yet."
        ),
    ],
    column: Annotated[
        str | None, Parameter(help="Column with the text; not needed for .txt.")
    ] = None,
    model: Annotated[
        str, Parameter(help="`minilm`, the folder of a model, or its name on the hub.")
    ] = "minilm",
    id_column: Annotated[
        str | None,
        Parameter(help="Column to keep beside the vectors; by default the number of the row."),
    ] = None,
    max_tokens: Annotated[int, Parameter(help="Tokens at which a text is cut.")] = 256,
    int8: Annotated[
        bool,
        Parameter(help="Run the model in 8-bit integers by ONNX Runtime, on the CPU.", negative=()),
    ] = False,
    threads: Annotated[
        int | None, Parameter(help="CPU threads; by default as many as there are cores.")
    ] = None,
    overwrite: Annotated[
        bool, Parameter(help="Replace the file if it exists.", negative=())
    ] = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Turn texts into vectors of length one, near each other where the texts mean something alike.

    ```
    printf 'Toy Story\\nA film about living toys\\nJumanji\\n' > films.txt
    linkwise lm embed --texts films.txt --out vectors.parquet
    ```

    Parquet gets the id column, or `row` (from 0), and `vector`. With --int8 the model is exported first, and
    refused where its vectors are no longer near those before (mean cosine below .99).
    """
    import polars as pl

    from linkwise.data.texts import read_texts

    path = Path(out)
    _check_embed(path, column, id_column, max_tokens, threads, overwrite)
    table = read_texts(texts, column)
    if id_column is not None and id_column not in table.columns:
        raise InputError(
            f'{texts}: no column "{id_column}" (--id-column); the columns are {", ".join(table.columns)}.'
        )
    empty = int((table["text"].fill_null("").str.strip_chars() == "").sum())
    if empty and not quiet:
        _say(
            f"{empty:,} of {len(table):,} texts are empty; their vectors are all the same and mean nothing."
        )
    plain = table["text"].fill_null("").to_list()
    result: dict[str, Any] = {"texts": len(table), "empty": empty, "model": model}
    path.parent.mkdir(parents=True, exist_ok=True)  # before the work: it may not be allowed
    with ExitStack() as stack:
        shown = progress(quiet)
        stack.callback(shown.close)
        began = time.monotonic()
        shown.start("load the model" if not int8 else "export the model to 8-bit integers", None)
        encoder: Any
        if int8:
            from linkwise.lm.onnx import OnnxEncoder, export_int8

            folder = Path(stack.enter_context(TemporaryDirectory(prefix="linkwise-"))) / "int8"
            agreement = export_int8(model, folder, plain, max_tokens=max_tokens, threads=threads)
            result["int8"] = asdict(agreement)
            encoder = OnnxEncoder(folder, threads=threads)
        else:
            from linkwise.lm.encode import TextEncoder

            encoder = TextEncoder(model, threads=threads)
        shown.finish(time.monotonic() - began)
        began = time.monotonic()
        shown.start("embed", len(plain))
        vectors = encoder.embed(plain, max_tokens=max_tokens, advance=shown.advance)
        shown.finish(time.monotonic() - began)
    ids = pl.int_range(len(table), eager=True).alias("row")
    _write_vectors(path, vectors, ids if id_column is None else table[id_column])
    result |= {"size": vectors.shape[1], "out": str(path)}
    if json_:
        print(json.dumps(result, indent=1))
    elif not quiet:
        if int8:
            _say(
                f"8-bit integers: cosine with the vectors before, on {agreement.texts:,} texts: mean "
                f"{short(agreement.mean)}, least {short(agreement.least)}."
            )
        _say(f"{len(vectors):,} vectors of {vectors.shape[1]} numbers: {path}")


def _write_vectors(path: Path, vectors: Any, ids: Any) -> None:
    import numpy as np
    import polars as pl

    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            if path.suffix == ".npy":
                np.save(file, vectors)
            else:
                pl.DataFrame([ids, pl.Series("vector", vectors)]).write_parquet(file)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _check_embed(
    path: Path,
    column: str | None,
    id_column: str | None,
    max_tokens: int,
    threads: int | None,
    overwrite: bool,
) -> None:
    """Raise `UsageError` where the options cannot be meant so, before anything is read."""
    if path.suffix not in (".parquet", ".npy"):
        raise UsageError(f"--out is {path}; expected a file ending in .parquet or .npy.")
    if path.is_dir():
        raise UsageError(f"--out is {path}, which is a folder; expected a file.")
    if path.exists() and not overwrite:
        raise UsageError(f"{path}: the file exists. Choose another --out, or use --overwrite.")
    if id_column is not None and path.suffix == ".npy":
        raise UsageError("--id-column has no place in .npy; choose an --out ending in .parquet.")
    if id_column == "vector" or (id_column == "text" and column not in (None, "text")):
        raise UsageError(f"--id-column {id_column} is the name of another column; rename it first.")
    if max_tokens < 2:
        raise UsageError(f"--max-tokens is {max_tokens}; expected 2 or more.")
    if threads is not None and threads < 1:
        raise UsageError(f"--threads is {threads}; expected 1 or more.")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def add_to(app: App) -> None:
    """Add the verb to the command line."""
    text = "Language models: adapt, tune, embed, score and probe."
    verb = App(name="lm", help=text, help_format="markdown")
    for command in (adapt, tune, embed, score, probe):
        verb.command(command)
    app.command(verb)
