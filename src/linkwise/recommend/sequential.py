"""What `gru4rec` and `sasrec` share: a next-item network as a recommender."""

from __future__ import annotations

import json
from abc import abstractmethod
from pathlib import Path
from typing import Any, Self

import numpy as np

from linkwise.context import Context
from linkwise.data.interactions import Histories, Interactions, Longs, Singles
from linkwise.data.queries import Queries
from linkwise.errors import optional
from linkwise.estimators.sequence_config import SequenceConfig, sequence_module
from linkwise.recommend.base import Arrays, ModelConfig, Recommender, cosine

VALIDATED = 3000  # queries that an epoch is judged by


class SequentialConfig(SequenceConfig, ModelConfig):
    """Parameters of a next-item network as a recommender."""


class Sequential(Recommender):
    """Scores items by a network that reads the history in order."""

    config: SequentialConfig
    network_: Any
    trained_: Any

    @abstractmethod
    def _network(self, n_items: int) -> Any:
        """A new network for a catalogue."""

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        torch = optional("torch", "deep", "a neural recommender")
        from linkwise.estimators.fit_sequence import Validation, fit_next_item

        torch.set_num_threads(context.threads)
        torch.manual_seed(
            int(context.rng(f"{self.name} weights {self.config.seed}").integers(2**31))
        )
        self.network_ = self._network(log.n_items)
        judged_by = None
        if validation is not None and len(validation):
            rows = np.arange(len(validation))
            if len(rows) > VALIDATED:
                rows = context.rng("validated users").choice(rows, VALIDATED, replace=False)
            some = validation.take(np.sort(rows))
            judged_by = Validation(some.histories, some.targets, some.repeats)
        fit: Any = fit_next_item
        if self.config.processes > 1:
            from linkwise.estimators.team import fit_in_processes

            fit = fit_in_processes
        self.trained_ = fit(
            self.network_, log.histories, self.config, context, judged_by, self.name
        )

    def settled(self) -> SequentialConfig:
        """The config with as many epochs as were best."""
        return self.config.model_copy(update={"epochs": self.trained_.best_epoch + 1})

    def save(self, folder: Path) -> None:
        """Write the model, and how its training went (`training.json`: loss and NDCG@10 by epoch)."""
        super().save(folder)
        epochs = [{k: e[k] for k in ("loss", "ndcg")} for e in self.trained_.history]
        about = {"best_epoch": self.trained_.best_epoch, "epochs": epochs}
        (folder / "training.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path, log: Interactions | None = None) -> Self:
        """Read what `save` wrote."""
        from linkwise.estimators.fit_sequence import Trained

        self = super().load(folder, log)
        about = json.loads((folder / "training.json").read_text())
        self.trained_ = Trained({}, about["best_epoch"], about["epochs"])
        return self

    def _scores(self, histories: Histories) -> Singles:
        weights, bias = _outputs(self.network_)
        hidden = sequence_module().last_vectors(self.network_, histories, self.config.window)
        scores: Singles = hidden @ weights.T + bias
        return scores

    def _similar(self, items: Longs) -> Singles:
        return cosine(_outputs(self.network_)[0], items)

    def _arrays(self) -> Arrays:
        return {name: value.cpu().numpy() for name, value in self.network_.state_dict().items()}

    def _restore(self, arrays: Arrays) -> None:
        torch = sequence_module().torch
        self.network_ = self._network(len(self.catalogue_))
        self.network_.load_state_dict({name: torch.from_numpy(a) for name, a in arrays.items()})
        self.network_.eval()


def _outputs(network: Any) -> tuple[Singles, Singles]:
    """Item vectors (n_items, size) and biases (n_items,) as arrays."""
    weights, bias = network.outputs()
    vectors: Singles = weights.detach().float().cpu().numpy()
    if bias is None:
        return vectors, np.zeros(len(vectors), dtype=np.float32)
    return vectors, bias.detach().float().cpu().numpy()
