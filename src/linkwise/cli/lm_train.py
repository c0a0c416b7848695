"""`linkwise lm adapt` and `linkwise lm tune`: language models trained on one's own texts."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from linkwise.cli.options import Json, Overwrite, Quiet, Resume, Seed
from linkwise.cli.show import progress
from linkwise.context import Context
from linkwise.errors import InputError, Interrupted, UsageError
from linkwise.folders import prepare_partial, put_in_place

Model = Annotated[str, Parameter(help="`minilm`, the folder of a model, or its name on the hub.")]
Out = Annotated[str, Parameter(help="Folder of the model; must not exist yet.")]
As = Annotated[
    Literal["causal"] | None,
    Parameter(
        name="--as", help="Make a causal model of a masked one, warm-started from its weights."
    ),
]
Epochs = Annotated[int, Parameter(help="Passes over the texts.")]
Rate = Annotated[
    float | None,
    Parameter(help="Adam's largest step; by default 2e-4, and 1e-5 for contrastive."),
]
Batch = Annotated[int, Parameter(help="Texts of an update, over all processes.")]
Train = Annotated[
    Literal["full", "lora", "soft-prompt"],
    Parameter(help="All weights, LoRA matrices, or a soft prompt (the last two by peft)."),
]
Rank = Annotated[int, Parameter(help="Rank of LoRA matrices.")]
PromptTokens = Annotated[int, Parameter(help="Vectors of a soft prompt.")]
FourBit = Annotated[
    bool, Parameter(help="Hold the base in 4 bits (bitsandbytes); with --train lora.", negative=())
]
Merge = Annotated[
    bool, Parameter(help="Write a LoRA-trained model whole, not the adapter.", negative=())
]
Tokens = Annotated[int, Parameter(help="Tokens at which a text is cut.")]
PartTokens = Annotated[
    int, Parameter(help="Tokens run at once; a larger batch is run in parts, its gradients summed.")
]
Precision = Annotated[
    Literal["float32", "bfloat16"],
    Parameter(help="bfloat16: mixed precision, where the processor has it."),
]
Patience = Annotated[
    int, Parameter(help="Epochs without a gain on held-out texts after which training stops.")
]
Device = Annotated[Literal["auto", "cpu", "cuda"], Parameter(help="Where to train.")]
Threads = Annotated[int | None, Parameter(help="CPU threads; by default PyTorch's choice.")]


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
        str | None,
        Parameter(help="Column with the title, which mlm-hybrid hides; by default `title`."),
    ] = None,
    objective: Annotated[
        Literal["mlm", "mlm-hybrid", "clm", "mntp", "contrastive"],
        Parameter(
            help="`mlm`: masked words. `mlm-hybrid`: words, or the title at a synopsis's end. `clm`: the "
            "next token. `mntp`: masked words, by a decoder that looks both ways. `contrastive`: two "
            "dropouts of one text."
        ),
    ] = "mlm",
    model: Model = "minilm",
    as_: As = None,
    epochs: Epochs = 3,
    learning_rate: Rate = None,
    batch_size: Batch = 32,
    max_tokens: Tokens = 256,
    dropout: Annotated[
        float | None, Parameter(help="Dropout; by default the model's own, .1 for contrastive.")
    ] = None,
    train: Train = "full",
    rank: Rank = 16,
    prompt_tokens: PromptTokens = 20,
    merge: Merge = False,
    four_bit: FourBit = False,
    part_tokens: PartTokens = 2048,
    precision: Precision = "float32",
    patience: Patience = 3,
    device: Device = "auto",
    threads: Threads = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Go on with a model's pre-training on your texts.

    ```
    printf 'Toys come to life\\nA game swallows two children\\nA retired spy returns\\n' > plots.txt
    linkwise lm adapt --model minilm --texts plots.txt --objective mlm --epochs 1 --out models/film
    ```

    One text in twenty is held out to stop by. On several GPUs or machines, start it with torchrun:
    torchrun --nproc-per-node 4 -m linkwise lm adapt ... From a decoder to an embedding model (LLM2Vec):
    mntp, then contrastive on what it wrote.
    """
    from linkwise.data.texts import read_texts

    options = {k: v for k, v in locals().items() if k not in PASSING}

    def work(folder: Path, context: Context, team: Any) -> list[dict[str, float]]:
        from linkwise.data.items import spoken_title
        from linkwise.lm import adapt as lm

        table = read_texts(texts, column)
        titles = None
        if objective == "mlm-hybrid":
            name = title_column or "title"
            if name not in table.columns:
                raise InputError(
                    f'{texts}: no column "{name}", and mlm-hybrid hides titles; name it with --title-column. '
                    f"The columns are {', '.join(table.columns)}."
                )
            table = table.drop_nulls(name)
        table = table.filter(table["text"].fill_null("").str.strip_chars() != "")
        if objective == "mlm-hybrid":
            titles = [spoken_title(str(t)) for t in table[title_column or "title"]]
        views = objective == "contrastive"
        config = lm.AdaptConfig(
            objective=objective,
            epochs=epochs,
            learning_rate=learning_rate or (1e-5 if views else 2e-4),
            batch_size=batch_size,
            max_tokens=max_tokens,
            dropout=0.1 if views and dropout is None else dropout,
            train=train,
            rank=rank,
            prompt_tokens=prompt_tokens,
            merge=merge,
            part_tokens=part_tokens,
            precision=precision,
            patience=patience,
        )
        head = lm.head_for(objective, model)
        loaded, wrapped = lm.prepare(
            model,
            head,
            config,
            as_causal=as_ == "causal",
            four_bit=four_bit,
            device=_place(device, team),
        )
        fitted = lm.adapt(
            loaded, table["text"].to_list(), config, context, titles=titles, team=team
        )
        if context.folder != Path():
            lm.write(loaded, wrapped, model, config, folder, objective=objective)
        return fitted.history

    _train(work, options, out, seed, threads, device, overwrite, resume, quiet, json_)


def tune(
    *,
    data: Annotated[
        str, Parameter(help="Table of prompts and answers: Parquet, CSV, TSV or JSON lines.")
    ],
    out: Out,
    prompt_column: Annotated[str, Parameter(help="Column with the prompt.")] = "prompt",
    answer_column: Annotated[str, Parameter(help="Column with the answer.")] = "answer",
    objective: Annotated[
        Literal["instruct", "catalogue"],
        Parameter(
            help="`instruct`: the answer's tokens, each after those before it. `catalogue`: the answer among "
            "all different answers of the table, whose probabilities add up to one."
        ),
    ] = "instruct",
    model: Model = "minilm",
    as_: As = None,
    epochs: Epochs = 3,
    learning_rate: Rate = None,
    batch_size: Batch = 32,
    max_tokens: Tokens = 512,
    train: Train = "full",
    rank: Rank = 16,
    prompt_tokens: PromptTokens = 20,
    merge: Merge = False,
    four_bit: FourBit = False,
    part_tokens: PartTokens = 2048,
    precision: Precision = "float32",
    patience: Patience = 3,
    device: Device = "auto",
    threads: Threads = None,
    seed: Seed = 0,
    overwrite: Overwrite = False,
    resume: Resume = False,
    quiet: Quiet = False,
    json_: Json = False,
) -> None:
    """Tune a causal model on prompts with their answers.

    ```
    printf 'prompt,answer\\nA cat says,meow\\nA dog says,woof\\nA cow says,moo\\n' > pairs.csv
    linkwise lm tune --model minilm --as causal --data pairs.csv --epochs 1 --out models/animals
    ```

    On several GPUs or machines: torchrun --nproc-per-node 4 -m linkwise lm tune ...
    """
    from linkwise.data.texts import read_texts

    options = {k: v for k, v in locals().items() if k not in PASSING}

    def work(folder: Path, context: Context, team: Any) -> list[dict[str, float]]:
        from linkwise.lm import adapt as lm
        from linkwise.lm.fit import fit

        table = read_texts(data, prompt_column)
        if answer_column not in table.columns:
            raise InputError(
                f'{data}: no column "{answer_column}" (--answer-column); the columns are '
                f"{', '.join(table.columns)}."
            )
        table = table.drop_nulls([prompt_column, answer_column])
        prompts = table[prompt_column].cast(str).to_list()
        answers = table[answer_column].cast(str).to_list()
        config = lm.TrainConfig(
            epochs=epochs,
            learning_rate=learning_rate or (1e-2 if train == "soft-prompt" else 2e-4),
            batch_size=batch_size,
            max_tokens=max_tokens,
            train=train,
            rank=rank,
            prompt_tokens=prompt_tokens,
            merge=merge,
            part_tokens=part_tokens,
            precision=precision,
            patience=patience,
        )
        loaded, wrapped = lm.prepare(
            model,
            "causal",
            config,
            as_causal=as_ == "causal",
            four_bit=four_bit,
            device=_place(device, team),
        )
        limit = max_tokens if loaded.positions is None else min(max_tokens, loaded.positions)
        make = lm.instruct_task if objective == "instruct" else lm.catalogue_task
        task = make(loaded, prompts, answers, limit)
        fitted = fit(loaded.network, task, config, context, f"tune {objective}", team=team)
        if context.folder != Path():
            lm.write(loaded, wrapped, model, config, folder, objective=objective)
        return fitted.history

    _train(work, options, out, seed, threads, device, overwrite, resume, quiet, json_)


PASSING = ("out", "overwrite", "resume", "quiet", "json_", "threads", "read_texts")
"""What may differ between an interrupted training and the one that goes on with it."""


def _place(device: str, team: Any) -> str:
    """The device of this process."""
    return device if team is None else team.device.type


def _train(
    work: Callable[[Path, Context, Any], list[dict[str, float]]],
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
    """Carry a training out into a folder that is made whole or not at all, and say how it went."""
    from linkwise.errors import optional

    torch = optional("torch", "lm", "training a language model")
    from linkwise.lm.team import launched_team

    if threads is not None:
        torch.set_num_threads(threads)
    team = launched_team(cpu=device == "cpu")
    if team is not None and resume:
        raise UsageError(
            "--resume goes on in one process; start it without torchrun, or afresh with --overwrite."
        )
    leads = team is None or team.rank == 0
    shown = progress(quiet or not leads)
    try:
        if leads:
            with _made(Path(out).absolute(), options, overwrite, resume) as folder:
                context = Context(folder=folder, seed=seed, progress=shown)
                history = work(folder, context, team)
        else:
            history = work(Path(), Context(folder=Path(), seed=seed), team)
    finally:
        shown.close()
        if team is not None:
            team.accelerator.end_training()
    if not leads:
        return
    if as_json:
        print(json.dumps({"out": out, "history": history}, indent=1))
    elif not quiet:
        for entry in history:
            held = f", held out {entry['held_out']:.3f}" if "held_out" in entry else ""
            print(
                f"epoch {entry['epoch']:.0f}: loss {entry['loss']:.3f}{held} nats, "
                f"{entry['tokens_per_second']:,.0f} tokens a second",
                file=sys.stderr,
            )
        print(f"Model: {out}", file=sys.stderr)


@contextmanager
def _made(out: Path, options: dict[str, Any], overwrite: bool, resume: bool) -> Iterator[Path]:
    """The folder in which a model is prepared; kept where the training was interrupted."""
    if out.exists():
        if not overwrite:
            raise UsageError(
                f"{out}: the folder exists. Choose another --out, or replace it with --overwrite."
            )
        models = ("config.json", "adapter_config.json")
        if not any((out / name).is_file() for name in models):
            raise UsageError(f"{out}: this is no model's folder, so --overwrite leaves it alone.")
    digest = hashlib.sha256(json.dumps(options, sort_keys=True, default=str).encode()).hexdigest()
    partial = out.parent / f".{out.name}.partial-{digest[:12]}"
    prepare_partial(partial, out, resume)
    try:
        yield partial
        shutil.rmtree(partial / ".work", ignore_errors=True)
        put_in_place(partial, out)
    except (Interrupted, KeyboardInterrupt):
        raise
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
