"""Recommenders: training time and quality against RecTools, fit times against implicit, lists per second.

    python benchmarks/recommend.py factors ../shared/data/ml-1m --schema movielens
    python benchmarks/recommend.py sequences ../shared/data/ml-1m --schema movielens --epochs 5 \
        --rectools ENV/bin/python

`factors`: CPU seconds to fit item-item and ALS, Linkwise's and the `implicit` library's own in turn, and
EASE; then top-20 lists for all users, exact, items seen before left out: lists per second of wall time.
Medians over --rounds. Linkwise folds every history in; implicit's ALS looks its users up.

`sequences`: GRU4Rec and SASRec beside RecTools' SASRec with full softmax, on the same training events of the
split, one after the other: wall seconds an epoch, and recall@10 and NDCG@10 after --epochs, on
the validation, whose histories are the training events for both.
RecTools needs numpy below 2, hence an environment of its own:
`pip install "rectools[torch]" "numpy<2"`.

Claims: fitting ALS costs at most 1.2 times the library that it stands on; SASRec's epoch takes no longer
than RecTools'.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits

from linkwise.context import Context
from linkwise.data.events import read_events
from linkwise.data.interactions import Interactions, chunks, read_interactions
from linkwise.data.queries import Split, split
from linkwise.metrics.ranking import MISSING, per_query
from linkwise.recommend.als import ALS
from linkwise.recommend.base import Recommender, top_k
from linkwise.recommend.ease import EASE
from linkwise.recommend.evaluate import judge
from linkwise.recommend.gru4rec import GRU4Rec, GRU4RecConfig
from linkwise.recommend.item_item import ItemItem
from linkwise.recommend.sasrec import SASRec, SASRecConfig
from linkwise.recommend.svd import SVD

RECTOOLS = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd, torch
from pytorch_lightning import Trainer
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel
job = json.loads(sys.argv[1])
torch.set_num_threads(job["threads"])
torch.manual_seed(0)
events = pd.read_csv(job["events"])
events[Columns.Datetime] = pd.to_datetime(events.pop("order"), unit="s")
events[Columns.Weight] = 1.0
data = Dataset.construct(events)
seconds = []
class Clock(__import__("pytorch_lightning").Callback):
    def on_train_epoch_start(self, *_): self.began = time.monotonic()
    def on_train_epoch_end(self, *_): seconds.append(time.monotonic() - self.began)
def trainer():
    return Trainer(max_epochs=job["epochs"], accelerator="cpu", logger=False, callbacks=[Clock()],
                   enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)
model = SASRecModel(n_factors=job["size"], n_blocks=job["blocks"], n_heads=job["heads"], loss="softmax",
                    session_max_len=job["window"], dropout_rate=job["dropout"], lr=job["rate"],
                    batch_size=job["batch"], epochs=job["epochs"],
                    get_trainer_func=trainer, deterministic=False)
model.fit(data)
users = pd.read_csv(job["users"])["user_id"].to_numpy()
lists = model.recommend(users=users, dataset=data, k=10, filter_viewed=True)
lists.to_csv(job["lists"], index=False)
print(json.dumps(seconds))
"""


def load(path: str, schema: str, text: str) -> Split:
    return split(read_interactions(read_events(path, schema=schema)), text)


def timed(work: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """Median CPU and wall seconds."""
    cpu, wall = [], []
    for _ in range(rounds):
        began, clock = time.process_time(), time.monotonic()
        work()
        cpu.append(time.process_time() - began)
        wall.append(time.monotonic() - clock)
    return float(np.median(cpu)), float(np.median(wall))


def fit(model: Recommender, log: Interactions) -> Recommender:
    return model.fit(log, context=Context(folder=Path(), threads=1))


def all_lists(model: Recommender, log: Interactions) -> None:
    """Top-20 lists of all users: exact, in chunks of matrix products."""
    for _, part in chunks(log.histories, log.n_items):
        scores = model.scores(part)
        scores[part.rows, part.items] = -np.inf
        top_k(scores, 20)


def factors(args: argparse.Namespace) -> None:
    import implicit

    log = load(args.path, args.schema, args.split).train
    counts, ones = (log.histories.matrix(log.n_items, v) for v in ("count", "one"))
    confidences = counts.copy()
    confidences.data = 1 + ALS().config.alpha * confidences.data

    def library_als() -> Any:
        c = ALS().config
        model = implicit.als.AlternatingLeastSquares(
            c.factors,
            regularization=c.ridge,
            alpha=1.0,
            iterations=c.rounds,
            num_threads=1,
            random_state=0,
        )
        model.fit(confidences, show_progress=False)
        return model

    def library_items() -> Any:
        model = implicit.nearest_neighbours.CosineRecommender(K=76, num_threads=1)
        model.fit(ones, show_progress=False)
        return model

    rows: list[tuple[str, float, float | None]] = []
    with threadpool_limits(limits=1):
        for name, ours, theirs in (
            ("item-item", ItemItem, library_items),
            ("als", ALS, library_als),
            ("ease", EASE, None),
            ("svd", SVD, None),
        ):
            mine = timed(lambda ours=ours: fit(ours(), log), args.rounds)[0]
            other = timed(theirs, args.rounds)[0] if theirs else None
            rows.append((name, mine, other))
        size = (
            f"{log.n_items:,} items, {len(log.users):,} users, {len(log.histories.items):,} events"
        )
        print(f"{size}; one thread")
        for name, mine, other in rows:
            against = f", implicit {other:.2f} s, ratio {mine / other:.2f}" if other else ""
            print(f"fit {name}: {mine:.2f} CPU s{against}")
        for ours in (ItemItem, ALS, EASE, SVD):
            model = fit(ours(), log)
            wall = timed(lambda model=model: all_lists(model, log), args.rounds)[1]
            print(f"lists {ours.name}: {len(log.users) / wall:,.0f} a second")
        for name, make in (("als", library_als), ("item-item", library_items)):
            model = make()
            users = np.arange(len(log.users))
            wall = timed(
                lambda model=model, users=users: model.recommend(users, ones, N=20), args.rounds
            )[1]
            print(f"lists of implicit's {name}: {len(log.users) / wall:,.0f} a second")


def report(name: str, seconds: list[float], ranks: np.ndarray, offsets: np.ndarray) -> None:
    found = per_query(ranks, offsets, 10)
    print(
        f"{name}: {np.median(seconds):.1f} s an epoch (median), {sum(seconds):.0f} s in all, recall@10 "
        f"{found['recall'].mean():.4f}, NDCG@10 {found['ndcg'].mean():.4f}",
        flush=True,
    )


def sequences(args: argparse.Namespace) -> None:
    parts = load(args.path, args.schema, args.split)
    sas = SASRecConfig(epochs=args.epochs, patience=args.epochs)
    gru = GRU4RecConfig(epochs=args.epochs, patience=args.epochs)
    models: list[Recommender] = [SASRec(sas), GRU4Rec(gru)]
    offsets = parts.validation.targets.offsets
    if args.rectools:
        report("RecTools SASRec", *rectools(args, parts, sas), offsets)
    for model in models:
        # Validation is not timed by RecTools, so ours goes without.
        model.fit(parts.train, context=Context(folder=Path(), threads=args.threads))
        seconds = [entry["seconds"] for entry in model.trained_.history]  # type: ignore[attr-defined]
        report(f"Linkwise {model.name}", seconds, judge(model, parts.validation).ranks, offsets)


def rectools(
    args: argparse.Namespace, parts: Split, sas: SASRecConfig
) -> tuple[list[float], np.ndarray]:
    """Seconds of each epoch, and the ranks of the targets in lists of ten."""
    histories = parts.train.histories
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pl.DataFrame(
            {
                "user_id": histories.rows,
                "item_id": histories.items,
                "order": np.arange(len(histories.items)),
            }
        ).write_csv(folder / "events.csv")
        pl.DataFrame({"user_id": parts.validation.users}).write_csv(folder / "users.csv")
        job = {
            "events": str(folder / "events.csv"),
            "users": str(folder / "users.csv"),
            "lists": str(folder / "lists.csv"),
            "threads": args.threads,
            "epochs": args.epochs,
            "size": sas.embedding_size,
            "blocks": sas.blocks,
            "heads": sas.heads,
            "window": sas.window,
            "dropout": sas.dropout,
            "rate": args.rectools_rate,
            "batch": args.rectools_batch,
        }
        done = subprocess.run(
            [args.rectools, "-c", RECTOOLS, json.dumps(job)],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr[-2000:])
        lists = pl.read_csv(folder / "lists.csv")
    place = {(u, i): r for u, i, r in lists.select("user_id", "item_id", "rank").rows()}
    targets = parts.validation.targets
    users = parts.validation.users[targets.rows]
    ranks = [
        place.get((int(u), int(i)), MISSING) for u, i in zip(users, targets.items, strict=True)
    ]
    return json.loads(done.stdout.splitlines()[-1]), np.array(ranks, dtype=np.int64)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("factors", "sequences"))
    parser.add_argument("path")
    parser.add_argument("--schema", default="none")
    parser.add_argument("--split", default="leave-last-out")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rectools", help="Python of an environment with rectools[torch]")
    parser.add_argument("--rectools-rate", type=float, default=1e-3)
    parser.add_argument("--rectools-batch", type=int, default=128)
    args = parser.parse_args()
    {"factors": factors, "sequences": sequences}[args.what](args)


if __name__ == "__main__":
    main()
