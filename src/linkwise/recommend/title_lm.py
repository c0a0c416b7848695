"""`title-lm`: a language model that ranks titles by how likely it is to say them after a history.

LMRecSys (Zhang et al. 2021), with exact scores for every title, a distribution over the catalogue to learn
from, and the model's taste for words measured and calibrated.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, field_validator

from linkwise.context import Context
from linkwise.data.interactions import Histories, Interactions, Longs, Singles
from linkwise.data.items import spoken_title
from linkwise.data.queries import Queries
from linkwise.errors import InputError, UsageError, optional
from linkwise.metrics.ranking import full_ranks, per_query
from linkwise.recommend.base import Arrays, ModelConfig, Recommender, cosine
from linkwise.recommend.title_calibration import (
    CANDIDATES,
    EXAMPLES,
    WEIGHTED,
    Calibration,
    calibrate,
)
from linkwise.recommend.title_prompt import Prompt, Words

Tuned = Literal["auto", "none", "one-pass", "by-length", "autoregressive", "catalogue"]
PAPERS_WEIGHT = 0.4


class TitleLMConfig(ModelConfig):
    """A language model as recommender."""

    lm: str = "minilm"
    """Language model: `minilm`, the folder of a model or adapter, or a name on the hub."""
    inference: Literal["one-pass", "by-length", "autoregressive"] = "autoregressive"
    """How titles are scored: in one run with gaps for all of a title's tokens, in one run for each length
    (masked models), or exactly, each token after those before it (causal models)."""
    normalise: Literal["auto", "mean", "sum", "bytes", "catalogue"] = "auto"
    """Log-probabilities as their mean over a title's tokens, their sum, their sum by byte, or each step's
    over the titles of the catalogue only, an end included; `auto`: catalogue where the model was tuned so,
    else mean."""
    prompt: str = "default"
    """`weak`, `default`, `strong` (those of the paper), or a template with {history} and {title}."""
    verb: str = "watch"
    """What users do with items, as the prompts say it."""
    past: str = "watched"
    """Its past."""
    noun: str = "movie"
    """What an item is called."""
    plural: str = "movies"
    """What items are called."""
    recent: int = Field(5, ge=1)
    """Last titles of a history that the prompt names."""
    title_tokens: int = Field(10, ge=1)
    """Tokens at which a title is cut."""
    calibrate: Calibration = "none"
    """Against the model's taste for words: `subtract` p - a p0, `ratio` p / p0, `log` log p - a log p0, `pmi`
    the same with p0 after the domain's words, `batch` with the mean after other users' histories."""
    a: float | None = Field(None, ge=0)
    """Weight of p0; by default the best of 0 to 1 on 50 validation queries."""
    tune: Tuned = "auto"
    """Fine-tuning on the log: cross-entropy of the item that was chosen, under one of the inferences, or
    `catalogue`; `auto` tunes a model without a trained head, and no other."""
    train: Literal["full", "lora"] = "full"
    """What of the model is tuned."""
    epochs: int = Field(2, ge=1)
    """Passes over the histories."""
    learning_rate: float = Field(2e-4, gt=0)
    """Adam's largest step."""
    patience: int = Field(3, ge=1)
    """Evaluations, two an epoch, without a gain on held-out users after which tuning stops."""
    batch_size: int = Field(16, ge=1)
    """Pieces of histories in an update."""
    window: int = Field(20, ge=2)
    """Titles of a piece of a history that is learned from."""
    pieces: int | None = Field(None, ge=1)
    """Pieces of histories that are learned from, drawn at random; by default all."""
    top: int | None = Field(None, ge=1)
    """Score only so many titles of each list, found by a best-first walk through the catalogue; the others
    share the last place. Exact for lists no longer than that."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Numbers that the model is run in."""
    seed: int = 0
    """Seed of the tuning."""

    @property
    def fits_weight(self) -> bool:
        """Whether the weight of a calibration is chosen on validation queries."""
        return self.a is None and self.calibrate in WEIGHTED

    @field_validator("lm")
    @classmethod
    def _absolute(cls, name: str) -> str:
        # So that the run's config means the same model wherever it is repeated from.
        return str(Path(name).absolute()) if Path(name).is_dir() else name


def filled(scores: Any) -> Singles:
    """Scores with a number for every item (n, n_items): what has none comes last, one below the least."""
    there = np.isfinite(scores)
    least = np.where(there, scores, np.inf).min(axis=1, keepdims=True)
    least = np.where(np.isfinite(least), least, 0.0)
    found: Singles = np.where(there, scores, least - 1.0).astype(np.float32)
    return found


class TitleLM(Recommender):
    """Scores an item by the likelihood of its title after a prompt that names the last ones.

    Items without a title come last. Titles that are equal once cut cannot be parted: they share their score
    (under `catalogue`, its probability).
    """

    name = "title-lm"
    Config = TitleLMConfig
    config: TitleLMConfig
    slow = True
    at_once = 32

    def __init__(self, config: ModelConfig | None = None, *, min_items: int = 0) -> None:
        super().__init__(config, min_items=min_items)
        self.prior_: Singles = np.zeros(
            0, dtype=np.float32
        )  # (n_items,) log-probabilities without history
        self.a_ = 0.0
        self.tuned_: list[dict[str, float]] = []
        self.tune_ = "none"
        self._model: Any = None
        self._place = self.config.lm

    # -------------------------------------------------------------------------------------------- fitting

    def _fit(self, log: Interactions, validation: Queries | None, context: Context) -> None:
        torch = optional("torch", "lm", "the recommender title-lm")
        if not log.catalogue.titles.is_not_null().any():
            raise InputError(
                "title-lm ranks titles, and the log has none. Name their column with --text, or a table of "
                "them with --titles."
            )
        torch.set_num_threads(context.threads)
        for known in ("names", "titles", "ended", "plain", "_vectors"):  # of an earlier fit
            self.__dict__.pop(known, None)
        self._check()
        self._model = self._load()
        if self.tune_ != "none":
            from linkwise.recommend.title_tuning import tune

            if self.config.tune == "auto":
                context.progress.say(
                    f"title-lm: {self.config.lm} has no trained head for {self.config.inference}, and is "
                    "tuned on the log first (--set title_lm.pieces=N bounds how long; title_lm.tune=none "
                    "forbids it)."
                )
            self.tuned_ = tune(self, log, context)
        if self.config.calibrate != "none":
            self.prior_ = self._prior(log).astype(np.float32)
            self.a_ = self._weight(validation)

    def _check(self) -> None:
        config = self.config
        if config.inference != "autoregressive":
            for option, value in (
                ("normalise=catalogue", config.normalise),
                ("tune=catalogue", config.tune),
            ):
                if value == "catalogue":
                    raise UsageError(
                        f"title_lm.{option} goes with --inference autoregressive: a masked model has no "
                        "order in which titles end."
                    )
        walks = config.inference == "autoregressive" and config.calibrate == "none"
        if config.top is not None and not walks:
            raise UsageError(
                "title_lm.top walks through the titles best first, which needs --inference "
                "autoregressive and --calibrate none."
            )
        if config.tune not in ("auto", "none", config.inference) and not (
            config.tune == "catalogue" and config.inference == "autoregressive"
        ):
            raise UsageError(
                f"title_lm.tune={config.tune} trains for another inference than {config.inference}."
            )
        Prompt.of(config.prompt, self.words)

    def _load(self) -> Any:
        """The language model; one whose head is untrained is going to be tuned."""
        from linkwise.lm.load import has_head, load_model

        config = self.config
        head: Any = "causal" if config.inference == "autoregressive" else "masked"
        trained = has_head(self._place, head)
        self.tune_ = config.tune
        if config.tune == "auto":
            self.tune_ = "none"
            if not trained:
                self.tune_ = "catalogue" if head == "causal" else config.inference
        if self.tune_ == "none" and not trained:
            train = "clm" if head == "causal" else "mlm"
            raise InputError(
                f"{config.lm}: this model has no trained head that is {head}. Train one (linkwise lm adapt "
                f"--model {config.lm} --objective {train} ...), or let title-lm tune it on the log "
                "(--set title_lm.tune=auto)."
            )
        return load_model(
            self._place, head, as_causal=head == "causal" and not trained, dtype=config.dtype
        ).must_look_back()

    @property
    def model(self) -> Any:
        """The language model; a saved one is loaded when first needed."""
        if self._model is None:
            from linkwise.lm.load import load_model

            head: Any = "causal" if self.config.inference == "autoregressive" else "masked"
            self._model = load_model(self._place, head, dtype=self.config.dtype)
        return self._model

    @property
    def words(self) -> Words:
        """How the prompts speak."""
        c = self.config
        return Words(c.verb, c.past, c.noun, c.plural)

    @property
    def prompt(self) -> Prompt:
        """The prompt."""
        return Prompt.of(self.config.prompt, self.words)

    @property
    def normalise(self) -> Any:
        """The normalisation, decided."""
        if self.config.normalise == "auto":
            return "catalogue" if self.tune_ == "catalogue" else "mean"
        return self.config.normalise

    # ---------------------------------------------------------------------------------------------- titles

    @cached_property
    def names(self) -> list[str]:
        """The titles as they are said; empty where an item has none."""
        return [spoken_title(t) if t else "" for t in self.catalogue_.titles]

    @cached_property
    def titles(self) -> Any:
        """The titles' tokens."""
        from linkwise.lm.titles import read_titles

        most, lead = self.config.title_tokens, self.prompt.lead
        return read_titles(self.model, self.names, most=most, lead=lead)

    @cached_property
    def ended(self) -> Any:
        """The titles as a trie, an end token behind each."""
        from linkwise.lm.titles import ended_titles
        from linkwise.recommend.title_prompt import end_tokens

        return ended_titles(self.titles, end_tokens(self.model, self.prompt))

    @cached_property
    def plain(self) -> Any:
        """The titles as a trie, without an end."""
        from linkwise.lm.titles import ended_titles

        return ended_titles(self.titles, ())

    def room(self) -> int:
        """Tokens that a prompt may have before the title."""
        positions = self.model.positions or 2**20
        return int(positions) - int(self.titles.lengths.max()) - 2

    # --------------------------------------------------------------------------------------------- scoring

    def _scores(self, histories: Histories) -> Singles:
        raw = self.log_p(histories)
        found = raw
        if self.config.calibrate != "none":
            found = calibrate(raw, self.prior_.astype(np.float64), self.config.calibrate, self.a_)
        return filled(found)

    def log_p(self, histories: Histories) -> Any:
        """Normalised log-probabilities of all titles, not calibrated (n, n_items); -inf without tokens."""
        names = self.names
        last = histories.last(self.config.recent)
        said = [[names[item] for item in last[row] if names[item]] for row in range(len(last))]
        if self.config.inference != "autoregressive":
            from linkwise.recommend.title_prompt import gap

            gaps = [gap(self.model, self.prompt, history, self.room())[0] for history in said]
            return self._gaps(gaps)
        from linkwise.recommend.title_prompt import context

        contexts = [context(self.model, self.prompt, history, self.room())[0] for history in said]
        # What was seen may be left out of the list: as many more are looked for.
        more = [len(np.unique(histories[row])) for row in range(len(histories))]
        return self._after(contexts, more)

    def _gaps(self, gaps: Any) -> Any:
        from linkwise.lm.titles import gap_scores

        sums = gap_scores(self.model, gaps, self.titles, self.config.inference)
        return sums / self.titles.divisor(self.normalise)

    def _after(self, contexts: list[list[int]], more: Sequence[int] | None = None) -> Any:
        from linkwise.lm.tree import score_trie, walk

        titles = self.titles
        over: Any = "catalogue" if self.normalise == "catalogue" else "vocabulary"
        chosen = self.ended if self.normalise == "catalogue" else self.plain
        divisor = titles.divisor(self.normalise)
        found = np.full((len(contexts), len(titles)), -np.inf)
        if self.config.top is None:
            sums = score_trie(self.model.network, contexts, chosen.trie, over=over)
            found[:, chosen.row] = sums / divisor[chosen.row]
        else:
            # Twins lose their share only afterwards: as many more are found as may fall behind by that.
            shared = int((titles.twins > 1).sum()) if self.normalise == "catalogue" else 0
            for row, tokens in enumerate(contexts):
                best = walk(
                    self.model.network,
                    tokens,
                    chosen.trie,
                    self.config.top + shared + (more[row] if more is not None else 0),
                    lengths=divisor[chosen.row],
                    over=over,
                )
                found[row, chosen.row[best.items]] = best.scores
        if self.normalise == "catalogue":
            found -= np.log(titles.twins)[None, :]  # twins share the probability of their path
        if self.config.top is not None:
            for row in range(len(found)):
                k = self.config.top + (more[row] if more is not None else 0)
                if k < len(titles):
                    least = -np.partition(-found[row], k - 1)[k - 1]
                    found[row, found[row] < least] = -np.inf
        return found

    def _prior(self, log: Interactions) -> Any:
        """Log-probabilities of all titles without a user's history (n_items,)."""
        if self.config.calibrate == "batch":
            rows = np.flatnonzero(log.histories.lengths > 0)
            some = np.random.default_rng(self.config.seed).permutation(rows)[:EXAMPLES]
            return self.log_p(log.histories.take(np.sort(some))).mean(axis=0)
        words = self.prompt.domain if self.config.calibrate == "pmi" else ""
        return self.without_history(words)

    def without_history(self, words: str = "") -> Any:
        """Normalised log-probabilities of all titles after these words alone (n_items,)."""
        from linkwise.lm.titles import Gap
        from linkwise.recommend.title_prompt import gap

        before = [*self.model.text_start(), *self.model.encode(words)]
        if self.config.inference == "autoregressive":
            return self._after([before])[0]
        after = gap(self.model, self.prompt, [], self.room())[0].after
        return self._gaps([Gap(tuple(before), after)])[0]

    def _weight(self, validation: Queries | None) -> float:
        """The weight of p0: as given, or the best on some validation queries; what was tried is noted."""
        if not self.config.fits_weight:
            return 1.0 if self.config.a is None else self.config.a
        if validation is None or not len(validation):
            return PAPERS_WEIGHT
        rows = np.random.default_rng(self.config.seed).permutation(len(validation))[:EXAMPLES]
        queries = validation.take(np.sort(rows))
        raw = self.log_p(queries.histories)
        best = (-1.0, 0.0)
        for a in CANDIDATES:
            scores = calibrate(raw, self.prior_.astype(np.float64), self.config.calibrate, a)
            ranked = filled(scores)
            if not queries.repeats:
                ranked[queries.histories.rows, queries.histories.items] = -np.inf
            ranks = full_ranks(ranked, queries.targets.rows, queries.targets.items.astype(np.int64))
            quality = float(per_query(ranks, queries.targets.offsets, 10)["ndcg"].mean())
            self.tried_.append((f"a {a}", quality))
            best = max(best, (quality, -a))
        return -best[1]

    def settled(self) -> TitleLMConfig:
        """The config with the weight that was found."""
        return self.config.model_copy(update={"a": self.a_}) if self.tried_ else self.config

    def _similar(self, items: Longs) -> Singles:
        return cosine(self._vectors, items)

    @cached_property
    def _vectors(self) -> Singles:
        """The mean of the model's last states over each title (n_items, size)."""
        import torch

        from linkwise.lm.heads import padded, states
        from linkwise.lm.objectives import mean_state

        start = self.model.text_start()
        rows = [[*start, *tokens] for tokens in self.titles.tokens]
        parts = []
        for begin in range(0, len(rows), 256):
            ids, there = padded(
                rows[begin : begin + 256],
                self.model.tokenizer.pad_token_id or 0,
                self.model.network.device,
            )
            there[:, : len(start)] = False
            with torch.inference_mode():
                seen = there.clone()
                seen[:, : len(start)] = True
                found = states(self.model.network, ids, seen)
                parts.append(mean_state(found, there).float().cpu().numpy())
        return np.concatenate(parts)

    # ---------------------------------------------------------------------------------------------- saving

    def save(self, folder: Path) -> None:
        """Write the model; a tuned language model lies in `lm/` beside it, others stay where they are."""
        super().save(folder)
        if self.tune_ != "none":
            from linkwise.lm.load import save_model

            save_model(self.model, folder / "lm", tuned=self.tune_)
        # Without how long it took: equal fits are equal files.
        kept = ("step", "epoch", "loss", "held_out")
        tuned = [{k: v for k, v in entry.items() if k in kept} for entry in self.tuned_]
        about = {"tune": self.tune_, "a": self.a_, "tuned": tuned}
        (folder / "title_lm.json").write_text(json.dumps(about, indent=1))

    @classmethod
    def load(cls, folder: Path, log: Interactions | None = None) -> Self:
        """Read what `save` wrote."""
        self = super().load(folder, log)
        about = json.loads((folder / "title_lm.json").read_text())
        self.tune_, self.a_, self.tuned_ = about["tune"], about["a"], about["tuned"]
        if self.tune_ != "none":
            self._place = str(folder / "lm")
        return self

    def _arrays(self) -> Arrays:
        return {"prior": self.prior_}

    def _restore(self, arrays: Arrays) -> None:
        self.prior_ = arrays["prior"]
