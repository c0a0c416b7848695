"""What a model knows of a domain: the rank of a title's own text among all (LMRecSys, figure 1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from linkwise.errors import InputError
from linkwise.lm.load import LanguageModel
from linkwise.lm.objectives import HYBRID_END
from linkwise.lm.titles import Gap, ended_titles, gap_scores, read_titles
from linkwise.lm.tree import score_trie
from linkwise.lm.trie import Floats, Longs


def true_text_ranks(
    model: LanguageModel,
    texts: Sequence[str],
    titles: Sequence[str],
    *,
    max_tokens: int = 128,
    causal: bool = False,
    advance: Callable[[int], None] = lambda done: None,
) -> Longs:
    """The rank of each title's own text among all texts, 1 the best, ties against it (n,).

    A text is scored for a title by the mean log-probability of the title's tokens in `[text]. This is the
    movie [title].`, less its mean over all titles: a text after which every title is likely gains nothing.
    """
    if len(texts) != len(titles) or not len(texts):
        raise InputError(
            f"there are {len(texts)} texts and {len(titles)} titles; expected as many."
        )
    names = read_titles(model, titles)
    middle = model.encode_after(f" {HYBRID_END}")
    stop, start, end = model.encode_after("."), model.text_start(), model.text_end()
    room = max_tokens - len(start) - len(middle) - 12 - len(end)
    before = [[*start, *model.encode(text.rstrip(" ."))[:room], *stop, *middle] for text in texts]
    sums: Floats
    if causal:
        plain = ended_titles(names, ())
        sums = np.full((len(texts), len(titles)), -np.inf)
        sums[:, plain.row] = score_trie(model.network, before, plain.trie, advance=advance)
    else:
        gaps = [Gap(tuple(tokens), (*stop, *end)) for tokens in before]
        sums = gap_scores(model, gaps, names, "one-pass", advance=advance)
    mean = sums / names.divisor("mean")  # (texts, titles)
    mean = np.where(np.isfinite(mean), mean, -1e9)
    mean -= mean.mean(axis=1, keepdims=True)
    own = mean.diagonal()
    found: Longs = (mean >= own[None, :]).sum(axis=0)
    return found
