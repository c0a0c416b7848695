"""What else technology tokens tell: a patent's codes from its text, and its abstract from its title.

    linkwise simulate patents --patents 10000 --codes 300 --seed 5 --out pat
    linkwise lm adapt --model minilm --texts pat/patents.parquet --objective technology-tokens --until 2005 \
        --code-titles pat/codes.tsv --epochs 5 --learning-rate 0.0005 --max-tokens 64 --out models/tt
    python benchmarks/technology_tokens.py pat/patents.parquet --model models/tt --test 2006-2007

Codes: macro-F1 over the codes of the test patents. The tokens' own probabilities, and logistic regression on
plain text vectors trained on the same years; both give the codes above a threshold that was chosen on the
last tenth of the tuning patents. Retrieval: the mean AUC of a title's own abstract
among all abstracts. All texts are cut at --max-tokens.
"""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import MultiLabelBinarizer

from linkwise.data.documents import DocumentsConfig, read_documents
from linkwise.lm.encode import TextEncoder
from linkwise.lm.load import load_model
from linkwise.technology.config import window
from linkwise.technology.tokens import TokenReader, head_of, known_codes, token_of


def token_probabilities(name: str, texts: list[str], max_tokens: int) -> np.ndarray:
    """The probability of every code at a hidden token before each text (n, n_codes)."""
    model = load_model(name, "masked")
    codes = known_codes(model.about)
    states = TokenReader(model).hidden(texts, max_tokens, unit=False)
    first = int(model.tokenizer.convert_tokens_to_ids(token_of(codes[0])))
    rows = slice(first, first + len(codes))
    with torch.inference_mode():
        seen = head_of(model.network)(torch.from_numpy(states))
        words, bias = (
            model.network.get_input_embeddings().weight,
            model.network.get_output_embeddings().bias,
        )
        return torch.softmax(seen @ words[rows].T + bias[rows], dim=1).numpy()


def best_threshold(p: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of the best macro-F1, of a few."""
    tried = np.quantile(p, 1 - np.array([0.25, 0.5, 0.75, 1, 1.5, 2, 3]) * truth.mean())
    return float(
        max(tried, key=lambda t: f1_score(truth, p >= t, average="macro", zero_division=0))
    )


def retrieval_auc(titles: np.ndarray, abstracts: np.ndarray) -> float:
    """The mean share of other abstracts that a title's own lies above; ties count against it."""
    alike = titles @ abstracts.T
    own = np.diag(alike)[:, None]
    return float(((alike < own).sum(axis=1) / (len(alike) - 1)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("patents")
    parser.add_argument("--model", required=True)
    parser.add_argument("--plain", default="minilm")
    parser.add_argument("--codes")
    parser.add_argument("--level")
    parser.add_argument("--test", default="2006-2007")
    parser.add_argument("--max-tokens", type=int, default=192)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = read_documents(
        options.patents, DocumentsConfig(codes=options.codes, level=options.level)
    )
    about = load_model(options.model, "encoder").about
    names = list(known_codes(about))
    years = window(options.test, "--test")
    year = found.table["year"].to_numpy()
    tuned = np.flatnonzero(year <= about["until"])
    test = np.flatnonzero((year >= years.first) & (year <= years.last))
    texts = found.texts("abstract")
    sets = [[c for c in own if c in set(names)] for own in found.table["codes"].to_list()]
    truth = MultiLabelBinarizer(classes=names).fit_transform(sets)
    train, check = tuned[: int(0.9 * len(tuned))], tuned[int(0.9 * len(tuned)) :]

    def macro_f1(of_check: np.ndarray, of_test: np.ndarray) -> float:
        t = best_threshold(of_check, truth[check])
        seen = truth[test].any(axis=0)
        return float(
            f1_score(truth[test][:, seen], of_test[:, seen] >= t, average="macro", zero_division=0)
        )

    some = np.concatenate([check, test])
    p = token_probabilities(options.model, [texts[k] for k in some], options.max_tokens)
    print(
        f"{len(train):,} patents to learn from, {len(test):,} of {years} to test, {len(names)} codes"
    )
    print(f"codes, technology tokens: macro-F1 {macro_f1(p[: len(check)], p[len(check) :]):.3f}")
    encoder = TextEncoder(options.plain)
    plain = {k: encoder.embed([texts[i] for i in rows], max_tokens=options.max_tokens)
             for k, rows in (("train", train), ("check", check), ("test", test))}  # fmt: skip
    there = truth[train].any(axis=0)
    model = OneVsRestClassifier(LogisticRegression(C=10, max_iter=300))
    model.fit(plain["train"], truth[train][:, there])
    scores = {k: np.zeros((len(v), len(names))) for k, v in plain.items()}
    for k in ("check", "test"):
        scores[k][:, there] = model.predict_proba(plain[k])
    print(
        f"codes, logistic on {options.plain}: macro-F1 {macro_f1(scores['check'], scores['test']):.3f}"
    )
    titles = [found.table["title"][int(k)] for k in test]
    abstracts = [found.table["abstract"][int(k)] for k in test]
    reader = TokenReader(load_model(options.model, "encoder"))
    tuned = partial(TextEncoder(options.model).embed, max_tokens=options.max_tokens)
    plain_texts = partial(encoder.embed, max_tokens=options.max_tokens)
    for label, embed in (
        ("technology tokens, hidden", lambda t: reader.hidden(t, options.max_tokens)),
        (f"{options.model}, mean of the text", tuned),
        (f"{options.plain}, mean of the text", plain_texts),
    ):
        print(
            f"title to abstract, {label}: AUC {retrieval_auc(embed(titles), embed(abstracts)):.4f}"
        )


if __name__ == "__main__":
    main()
