"""Technology tokens: only what is to be trained moves, and what is read is where it was put."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from linkwise.context import Context
from linkwise.errors import InputError, UsageError
from linkwise.lm.config import AdaptConfig
from linkwise.lm.fit import fit
from linkwise.lm.load import load_model, save_model
from linkwise.technology.tokens import SEPARATOR, TechnologyTokens, TokenReader, token_of

CODES = ("A01B1", "C08F4", "H04L9")
TEXTS = ["toys that live", "a user watched a movie", "star wars", "the dog says woof"] * 6
OWN = [["A01B1", "C08F4"], ["H04L9"], ["C08F4", "H04L9"], ["A01B1", "C08F4", "H04L9"]] * 6
TITLES = {"A01B1": "star wars", "C08F4": "toys"}


def trained(bert: Path, part: str, layout: str = "before", epochs: int = 2) -> TechnologyTokens:
    model = load_model(str(bert), "masked")
    tokens = TechnologyTokens(model, CODES, TITLES, part, layout=layout, rank=4)  # type: ignore[arg-type]
    config = AdaptConfig(
        objective="technology-tokens", train=part, epochs=epochs, batch_size=8, learning_rate=0.02
    )  # type: ignore[arg-type]
    rows = tokens.rows_of(TEXTS, OWN, 40)
    fit(tokens, tokens.task(rows), config, Context(folder=Path()), "tokens")
    return tokens


@pytest.mark.parametrize("part", ["new", "lora", "full"])
def test_the_old_rows_stay_and_heads_stay_tied(bert: Path, part: str, tmp_path: Path) -> None:
    old = load_model(str(bert), "masked").network
    words = old.get_input_embeddings().weight.detach().clone()
    tokens = trained(bert, part)
    first = tokens.rows.detach().clone()
    tokens.settle({"level": None})
    network = tokens.model.network
    assert network.get_output_embeddings().weight is network.get_input_embeddings().weight
    now = network.get_input_embeddings().weight
    assert len(now) == len(words) + len(CODES) + 1
    same = torch.equal(now[: len(words)], words)
    assert same == (part != "full")  # not by a bit
    assert torch.equal(now[len(words) :], first)
    inner = {n: p for n, p in old.named_parameters() if "encoder.layer" in n}
    moved = [
        n for n, p in network.named_parameters() if n in inner and not torch.equal(p, inner[n])
    ]
    assert bool(moved) == (part != "new")
    save_model(tokens.model, tmp_path / "out")
    again = load_model(str(tmp_path / "out"), "masked")
    assert again.about["technology_tokens"] == {"codes": list(CODES), "layout": "before"}
    number = again.tokenizer.convert_tokens_to_ids(token_of("C08F4"))
    assert torch.equal(again.network.get_input_embeddings().weight[number], first[1])
    assert again.network.get_output_embeddings().bias[number] == tokens.bias[1]


def test_new_rows_begin_as_the_mean_of_their_titles(bert: Path) -> None:
    model = load_model(str(bert), "masked")
    words = model.network.get_input_embeddings().weight.detach()
    star, wars = model.encode("star wars")
    tokens = TechnologyTokens(model, CODES, TITLES, "new")
    torch.testing.assert_close(tokens.rows[0].detach(), (words[star] + words[wars]) / 2)
    torch.testing.assert_close(tokens.rows[2].detach(), words.mean(dim=0))  # without a title


@pytest.mark.parametrize("layout", ["before", "after"])
def test_states_are_those_of_the_tokens_read_by_hand(
    bert: Path, layout: str, tmp_path: Path
) -> None:
    tokens = trained(bert, "new", layout, epochs=1)
    tokens.settle({})
    save_model(tokens.model, tmp_path / "out")
    model = load_model(str(tmp_path / "out"), "encoder")
    reader = TokenReader(model)
    codes = [np.array([CODES.index(c) for c in own]) for own in OWN[:4]]
    codes[1] = np.array([], dtype=np.int64)  # a patent without a code is passed over
    found = {}

    def take(patent: np.ndarray, code: np.ndarray, state: np.ndarray) -> None:
        for p, c, s in zip(patent, code, state, strict=True):
            found[int(p), int(c)] = s

    reader.each(TEXTS[:4], codes, 40, take, batch_tokens=12)
    assert sorted(found) == [(p, int(c)) for p in range(4) for c in sorted(codes[p])]
    for patent in (0, 2, 3):
        spoken = " ".join(token_of(CODES[c]) for c in codes[patent])
        if layout == "before":
            line = f"{spoken} {SEPARATOR} {TEXTS[patent]}"
        else:
            line = f"{TEXTS[patent]} {SEPARATOR} {spoken}"
        ids = model.tokenizer(line, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            states = model.network(input_ids=ids).last_hidden_state[0]
        for code in codes[patent]:
            number = model.tokenizer.convert_tokens_to_ids(token_of(CODES[code]))
            place = int((ids[0] == number).nonzero())
            np.testing.assert_allclose(found[patent, int(code)], states[place].numpy(), atol=1e-5)
    mask = model.tokenizer.mask_token
    about = reader.hidden(TEXTS[:4], 40, batch_tokens=12)
    for patent in range(4):
        line = f"{mask} {SEPARATOR} {TEXTS[patent]}"
        if layout == "after":
            line = f"{TEXTS[patent]} {SEPARATOR} {mask}"
        ids = model.tokenizer(line, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            states = model.network(input_ids=ids).last_hidden_state[0]
        there = states[int((ids[0] == model.tokenizer.mask_token_id).nonzero())].numpy()
        np.testing.assert_allclose(about[patent], there / np.linalg.norm(there), atol=1e-5)
    rows = model.network.get_input_embeddings().weight[-4:-1].detach().numpy()
    np.testing.assert_allclose(reader.static, rows, atol=1e-7)


@pytest.mark.parametrize("layout", ["before", "after"])
@pytest.mark.parametrize("n_codes", [17, 110])
def test_patents_of_many_codes_are_cut_to_the_positions_of_the_model(
    bert: Path, layout: str, n_codes: int, tmp_path: Path
) -> None:
    """The model has 96 positions: 17 codes shorten a long text, 110 do not all fit themselves."""
    codes = tuple(f"A01B{k}" for k in range(n_codes))
    tokens = TechnologyTokens(load_model(str(bert), "masked"), codes, {}, "new", layout=layout)  # type: ignore[arg-type]
    tokens.settle({})
    save_model(tokens.model, tmp_path / "out")
    reader = TokenReader(load_model(str(tmp_path / "out"), "encoder"))
    long = " ".join(["the dog says woof"] * 60)
    found: dict[int, np.ndarray] = {}

    def take(_: np.ndarray, code: np.ndarray, state: np.ndarray) -> None:
        found.update(zip(code.tolist(), state, strict=True))

    reader.each([long], [np.arange(n_codes)], 400, take)
    room = min(n_codes, 96 - 4)
    assert sorted(found) == list(range(room))
    model = reader.model
    words = model.encode(long)[: 96 - 3 - room]
    shown = model.tokenizer.convert_tokens_to_ids([token_of(c) for c in codes[:room]])
    mark = model.tokenizer.convert_tokens_to_ids(SEPARATOR)
    middle = [*shown, mark, *words] if layout == "before" else [*words, mark, *shown]
    ids = torch.tensor([[*model.text_start(), *middle, *model.text_end()]])
    assert ids.shape == (1, 96)
    with torch.inference_mode():
        states = model.network(input_ids=ids).last_hidden_state[0]
    place = ids[0].tolist().index(shown[-1])
    np.testing.assert_allclose(found[room - 1], states[place].numpy(), atol=1e-5)
    np.testing.assert_array_equal(reader.hidden([long], 400), reader.hidden([long], 96))


def test_the_loss_is_that_of_the_hidden_codes(bert: Path) -> None:
    """Of one patent with one code that is hidden by its mask, by the whole network and all words."""
    model = load_model(str(bert), "masked")
    tokens = TechnologyTokens(model, CODES, TITLES, "new").eval()
    rows = tokens.rows_of(["star wars"], [["C08F4"]], 40)

    class Hides:
        def permutation(self, x: np.ndarray) -> np.ndarray:
            return x

        def random(self, n: int | None = None) -> np.ndarray:
            return np.full(n or (), 0.2)  # hidden, and not kept to be seen

    loss = tokens.task(rows).loss(np.array([0]), Hides())  # type: ignore[arg-type]
    tokens.settle({})
    network, tokenizer = model.network.eval(), model.tokenizer
    ids = tokenizer(f"{tokenizer.mask_token} {SEPARATOR} star wars", return_tensors="pt")[
        "input_ids"
    ]
    with torch.inference_mode():
        logits = network(input_ids=ids).logits[0, 1, -4:-1]  # of the three codes
    assert loss.total.item() == pytest.approx(float(-logits.log_softmax(0)[1]), abs=1e-5)
    assert loss.units == 1


def test_codes_are_learned_from_texts(bert: Path) -> None:
    model = load_model(str(bert), "masked")
    texts = ["a cat says meow", "the dog says woof"] * 60
    own = [["A01B1"], ["C08F4"]] * 60
    tokens = TechnologyTokens(model, CODES, {}, "full")
    task = tokens.task(tokens.rows_of(texts, own, 40))
    config = AdaptConfig(
        objective="technology-tokens", epochs=6, batch_size=16, learning_rate=3e-3, patience=9
    )
    fitted = fit(tokens, task, config, Context(folder=Path()), "tokens")
    assert fitted.history[fitted.best]["held_out"] < 0.35 < np.log(2)


def test_what_cannot_be_trained(bert: Path, gpt: Path) -> None:
    model = load_model(str(bert), "masked")
    with pytest.raises(InputError, match="at least two codes"):
        TechnologyTokens(model, ["A01B1"], {}, "new")
    tokens = TechnologyTokens(model, CODES, {}, "new")
    with pytest.raises(InputError, match=r"--max-tokens is 4, which leaves no room"):
        tokens.rows_of(["star wars"], [["A01B1", "C08F4"]], 4)
    with pytest.raises(InputError, match="BERT-like"):
        TechnologyTokens(load_model(str(gpt), "causal"), CODES, {}, "new")
    with pytest.raises(UsageError, match="goes with --objective technology-tokens"):
        AdaptConfig(train="new")
    with pytest.raises(UsageError, match="--train new, lora or full"):
        AdaptConfig(objective="technology-tokens", train="soft-prompt")
    tokens = TechnologyTokens(load_model(str(bert), "masked"), CODES, {}, "new")
    tokens.settle({})
    again = TechnologyTokens(tokens.model, CODES, {}, "new")
    with pytest.raises(UsageError, match="has technology tokens already"):
        again.settle({})
