"""Alternating least squares on a Spark cluster: the item factors of `als`, by Spark's own ALS."""

from __future__ import annotations

import tempfile
from typing import Any

import narwhals as nw
import numpy as np

from linkwise.data.engine import EngineConfig, collect, engine_errors, open_spark
from linkwise.data.interactions import Singles


def spark_item_factors(
    counts: Any, factors: int, alpha: float, ridge: float, rounds: int, seed: int, master: str
) -> Singles:
    """Item factors (n_items, factors) of counts (n_users, n_items), sparse; zeros for items never chosen.

    Spark weighs the penalty of each user and item by its number of events (Zhou et al. 2008), so the same
    `ridge` holds more strongly than on one machine: it is divided by the mean number of events of a user.

    Raises `ResourceError` where Spark does not start.
    """
    import pyarrow as pa

    session = open_spark(EngineConfig(engine="spark", spark_master=master))
    from pyspark.ml.recommendation import ALS

    cells = counts.tocoo()
    table = pa.table(
        {
            "user": cells.row.astype(np.int32),
            "item": cells.col.astype(np.int32),
            "count": cells.data.astype(np.float32),
        }
    )
    estimator = ALS(
        rank=factors,
        alpha=alpha,
        regParam=ridge / max(1.0, counts.nnz / max(1, counts.shape[0])),
        maxIter=rounds,
        implicitPrefs=True,
        checkpointInterval=3,
        userCol="user",
        itemCol="item",
        ratingCol="count",
        seed=seed,
    )
    with tempfile.TemporaryDirectory(prefix="linkwise-spark-") as scratch, engine_errors():
        # Every round builds on the one before: without checkpoints the plan grows until Java's stack is full.
        # Their folder must be one that all executors see; on a cluster it is Spark's own setting.
        if master.startswith("local"):
            session.sparkContext.setCheckpointDir(scratch)
        fitted = estimator.fit(session.createDataFrame(table))
        learned = collect(nw.from_native(fitted.itemFactors))
    found = np.zeros((counts.shape[1], factors), dtype=np.float32)
    found[learned["id"].to_numpy()] = np.stack(learned["features"].to_list())
    return found
