"""`linkwise lm adapt` and `linkwise lm tune`: language models trained on one's own texts."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from linkwise.cli.options import Json, Overwrite, Quiet, Resume, Seed, Threads, use_threads
from linkwise.cli.show import progress
from linkwise.context import Context
from linkwise.data.documents import DocumentsConfig
from linkwise.errors import InputError, Interrupted, UsageError
from linkwise.folders import prepare_partial, whole_or_not
from linkwise.lm.config import AdaptConfig, TuneConfig

Model = Annotated[str, Parameter(help="`minilm`, the folder of a model, or its name on the hub.")]
Out = Annotated[str, Parameter(help="Folder of the model; must not exist yet.")]
As = Annotated[
    Literal["causal"] | None,
    Parameter(
        name="--as", help="Make a causal model of a masked one, warm-started from its weights."
    ),
]
PATENTS = Group("Patents (technology-tokens)", sort_key=2)
TRAINING = Parameter(name="*", group=Group("Training", sort_key=1))
Place = Literal["auto", "cpu", "cuda"]
Device = Annotated[Place, Parameter(help="Where to train.")]


def adapt(
    *,
    texts: Annotated[
        str,
        Parameter(
            help="Table of the texts: Parquet, CSV, TSV or JSON lines; or .txt, one per line."
        ),
    ],
    out: Out,
    column: Annotated[
        str | None, Parameter(help="Column with the text; not needed for .txt.")
    ] = None,
    title_column: Annotated[
        str, Parameter(help="Column with the title, which mlm-hybrid hides.")
    ] = "title",
    until: Annotated[
        int | None,
        Parameter(
            help="Last year of the texts to learn from; the model says so, and a forecast holds it to that."
        ),
    ] = None,
    code_titles: Annotated[
        str | None,
        Parameter(
            group=PATENTS,
            help="Table of the codes' titles (columns code and title), which new tokens begin from.",
        ),
    ] = None,
    documents: Annotated[DocumentsConfig, Parameter(name="*", group=PATENTS)] = DocumentsConfig(),  # noqa: B008
    model: Model = "minilm",
    as_: As = None,
    device: Device = "auto",
    threads: Threads = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
    json_: Json = False,
    training: Annotated[AdaptConfig, TRAINING] = AdaptConfig(),  # noqa: B008 (frozen)
) -> None:
    """Go on with a model's pre-training on your texts.

    ```
    printf 'Toys come to life\\nA game swallows two children\\nA retired spy returns\\n' > plots.txt
    linkwise lm adapt --model minilm --texts plots.txt --objective mlm --epochs 1 --out models/film
    ```

    One text in twenty is held out to stop by. On several GPUs or machines, start it with torchrun:
    torchrun --nproc-per-node 4 -m linkwise lm adapt ..., with --shard for a model too large for each of
    them. From a decoder to an embedding model (LLM2Vec): mntp, then contrastive on what it wrote.
    Technology tokens for a forecast, of patents with codes:

    ```
    linkwise simulate patents --patents 1000 --codes 60 --seed 5 --out small
    linkwise lm adapt --model minilm --texts small/patents.parquet --objective technology-tokens \
      --until 2005 --epochs 1 --max-tokens 64 --out models/tt
    ```
    """
    from linkwise.data.texts import read_texts

    options = {k: v for k, v in locals().items() if k not in PASSING}

    def work(context: Context, team: Any) -> tuple[Any, Any]:
        from linkwise.data.items import spoken_title
        from linkwise.lm import adapt as lm

        if training.objective == "technology-tokens":
            return _technology_tokens(
                texts, documents, code_titles, until, model, training, context, team, device
            )
        table = read_texts(texts, column)
        if until is not None:
            table = _of_years(table, texts, documents.year or "year", until)
        hybrid = training.objective == "mlm-hybrid"
        if hybrid and title_column not in table.columns:
            raise InputError(
                f'{texts}: no column "{title_column}", and mlm-hybrid hides titles; name it with '
                f"--title-column. The columns are {', '.join(table.columns)}."
            )
        if hybrid:
            table = table.drop_nulls(title_column)
        table = table.filter(table["text"].fill_null("").str.strip_chars() != "")
        titles = [spoken_title(str(t)) for t in table[title_column]] if hybrid else None
        head = lm.head_for(training.objective, model)
        prepared = lm.prepare(
            model,
            head,
            training,
            as_causal=as_ == "causal",
            device=_place(device, team, training.shard),
        )
        plain = table["text"].to_list()
        lm.note_until(prepared.model.about, until)
        fitted = lm.adapt(prepared.model, plain, training, context, titles=titles, team=team)
        return prepared, fitted

    _train(work, options, out, seed, threads, device, overwrite, resume, quiet, json_)


def _of_years(table: Any, texts: str, column: str, until: int) -> Any:
    """Rows up to a year."""
    import polars as pl

    if column not in table.columns:
        raise InputError(
            f'{texts}: no column "{column}" for --until; name the year\'s with --year. The columns are '
            f"{', '.join(table.columns)}."
        )
    year = table[column].cast(pl.String).str.slice(0, 4).cast(pl.Int32, strict=False)
    kept = table.filter(year <= until)
    if not len(kept):
        raise InputError(f'{texts}: no text is of {until} or before, by its column "{column}".')
    return kept


def _technology_tokens(
    texts: str,
    documents: DocumentsConfig,
    code_titles: str | None,
    until: int | None,
    model: str,
    training: AdaptConfig,
    context: Context,
    team: Any,
    device: Place,
) -> tuple[Any, Any]:
    """Technology tokens learned beside a masked model, and put into it."""
    import polars as pl

    from linkwise.data.documents import read_code_titles, read_documents
    from linkwise.lm.adapt import Prepared, note_until
    from linkwise.lm.fit import fit
    from linkwise.lm.load import load_model
    from linkwise.lm.objectives import set_dropout
    from linkwise.technology.tokens import TechnologyTokens

    if len(documents.text) > 1:
        raise UsageError("--text names several parts; technology tokens are learned from one.")
    part = documents.text[0]
    found = read_documents(texts, documents)
    found.check_codes()
    if said := found.spelling():
        context.progress.say(said)
    if until is not None:
        found.check_years()
    kept = pl.repeat(True, len(found.table), eager=True)
    if until is not None:
        kept = found.table["year"] <= until
    table = found.table.filter(kept)
    some = [row for row, there in zip(found.texts(part), kept, strict=True) if there]
    codes = table["codes"].to_list()
    names = sorted({code for own in codes for code in own})
    if len(names) < 2:
        raise InputError(
            f"{texts}: {len(names)} technology codes{'' if until is None else f' up to {until}'}; "
            "expected two "
            "or more. Name their column with --codes."
        )
    titles = {} if code_titles is None else read_code_titles(code_titles)
    loaded = load_model(model, "masked", device=_place(device, team, training.shard))
    note_until(loaded.about, until)
    if training.dropout is not None:
        set_dropout(loaded.network, training.dropout)
    part_of = training.train
    assert part_of != "soft-prompt"
    tokens = TechnologyTokens(
        loaded, names, titles, part_of, layout=training.layout, rank=training.rank,
        dropout=training.dropout,
    )  # fmt: skip
    rows = tokens.rows_of(some, codes, training.max_tokens)
    fitted = fit(tokens, tokens.task(rows), training, context, "adapt technology-tokens", team=team)
    tokens.settle({"level": documents.level, "text": part})
    return Prepared(loaded, None, model, training), fitted


def tune(
    *,
    data: Annotated[
        str, Parameter(help="Table of prompts and answers: Parquet, CSV, TSV or JSON lines.")
    ],
    out: Out,
    prompt_column: Annotated[str, Parameter(help="Column with the prompt.")] = "prompt",
    answer_column: Annotated[str, Parameter(help="Column with the answer.")] = "answer",
    model: Model = "minilm",
    as_: As = None,
    device: Device = "auto",
    threads: Threads = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
    json_: Json = False,
    training: Annotated[TuneConfig, TRAINING] = TuneConfig(),  # noqa: B008 (frozen)
) -> None:
    """Tune a causal model on prompts with their answers.

    ```
    printf 'prompt,answer\\nA cat says,meow\\nA dog says,woof\\nA cow says,moo\\n' > pairs.csv
    linkwise lm tune --model minilm --as causal --data pairs.csv --epochs 1 --out models/animals
    ```

    On several GPUs or machines: torchrun --nproc-per-node 4 -m linkwise lm tune ..., with --shard for a model
    too large for each.
    """
    from linkwise.data.texts import read_texts

    options = {k: v for k, v in locals().items() if k not in PASSING}

    def work(context: Context, team: Any) -> tuple[Any, Any]:
        from linkwise.lm import adapt as lm
        from linkwise.lm.fit import fit

        table = read_texts(data, prompt_column, option="--prompt-column")
        if answer_column not in table.columns:
            raise InputError(
                f'{data}: no column "{answer_column}" (--answer-column); the columns are '
                f"{', '.join(table.columns)}."
            )
        table = table.drop_nulls([prompt_column, answer_column])
        prompts = table[prompt_column].cast(str).to_list()
        answers = table[answer_column].cast(str).to_list()
        prepared = lm.prepare(
            model,
            "causal",
            training,
            as_causal=as_ == "causal",
            device=_place(device, team, training.shard),
        )
        make = lm.instruct_task if training.objective == "instruct" else lm.catalogue_task
        task = make(prepared.model, prompts, answers, training.max_tokens)
        name = f"tune {training.objective}"
        return prepared, fit(prepared.model.network, task, training, context, name, team=team)

    _train(work, options, out, seed, threads, device, overwrite, resume, quiet, json_)


PASSING = ("out", "overwrite", "resume", "quiet", "json_", "threads", "read_texts")
"""What may differ between an interrupted training and the one that goes on with it."""


def _place(device: Place, team: Any, shard: bool) -> Place:
    """The device of this process; a model that is to be divided may not fit there before that."""
    if shard:
        return "cpu"
    return device if team is None else "cuda" if team.device.type == "cuda" else "cpu"


def _train(
    work: Callable[[Context, Any], tuple[Any, Any]],
    options: dict[str, Any],
    out: str,
    seed: int,
    threads: int | None,
    device: str,
    overwrite: bool,
    resume: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Carry a training out into a folder that is made whole or not at all, and say how it went.

    `work` gives what was prepared for training, and how it was fitted.
    """
    from linkwise.errors import optional

    optional("torch", "lm", "training a language model")
    from linkwise.lm.team import check_team, launched_team

    use_threads(threads)
    team = launched_team(cpu=device == "cpu")
    check_team(options["training"].shard, team)
    partial = _prepare(Path(out).absolute(), options, overwrite, resume, team)
    leads = team is None or team.rank == 0
    shown = progress(quiet or not leads)
    try:
        with (
            _kept(partial),
            whole_or_not(partial, Path(out).absolute()) if leads else nullcontext(),
        ):
            context = Context(folder=partial if leads else Path(), seed=seed, progress=shown)
            prepared, fitted = work(context, team)
            if leads:
                from linkwise.lm.adapt import write

                write(prepared, partial, objective=options["training"].objective)
    finally:
        shown.close()
        if team is not None:
            team.accelerator.end_training()
    history = fitted.history
    if not leads:
        return
    if as_json:
        print(json.dumps({"out": out, "history": history}, indent=1))
    elif not quiet:
        print(f"Model: {out}", file=sys.stderr)


@contextmanager
def _kept(partial: Path) -> Iterator[None]:
    """Say at an interrupt what is kept of a training."""
    try:
        yield
    except KeyboardInterrupt as error:
        if not any((partial / ".work").glob("*.pt")):
            raise Interrupted(
                "the training was interrupted before its first checkpoint; the same command starts it afresh."
            ) from error
        raise Interrupted(
            "the training was interrupted; the same command with --resume goes on from the last checkpoint "
            "(every epoch, and every five minutes)."
        ) from error


def _prepare(out: Path, options: dict[str, Any], overwrite: bool, resume: bool, team: Any) -> Path:
    """The folder in which a model is prepared, made by the first process of a team."""
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()
    partial = out.parent / f".{out.name}.partial-{digest[:12]}"
    if team is not None and team.rank > 0:
        return partial
    if out.exists():
        if not overwrite:
            raise UsageError(
                f"{out}: the folder exists. Choose another --out, or replace it with --overwrite."
            )
        models = ("config.json", "adapter_config.json")
        if not any((out / name).is_file() for name in models):
            raise UsageError(f"{out}: this is no model's folder, so --overwrite leaves it alone.")
    prepare_partial(partial, out, resume)
    return partial
