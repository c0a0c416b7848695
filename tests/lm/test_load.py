"""Models from folders, a shelf, the hub or the package; what runs code is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch

from linkwise.errors import InputError, ResourceError
from linkwise.lm import minilm
from linkwise.lm.load import (
    fingerprint,
    has_head,
    is_causal_model,
    load_model,
    locate,
    save_model,
)
from linkwise.lm.minilm import packaged_minilm


def test_a_masked_model_becomes_a_causal_one_only_when_asked(bert: Path, tmp_path: Path) -> None:
    assert has_head(str(bert), "masked")
    assert not is_causal_model(str(bert))
    with pytest.raises(InputError, match=r"this is a masked model .* --as causal"):
        load_model(str(bert), "causal")
    model = load_model(str(bert), "causal", as_causal=True)
    ids = torch.tensor([[2, 7, 8, 9, 10]])
    with torch.inference_mode():
        whole, start = model.network(ids).logits, model.network(ids[:, :3]).logits
    torch.testing.assert_close(whole[:, :3], start)  # what comes later is not seen
    save_model(model, tmp_path / "causal", note="kept")
    again = load_model(str(tmp_path / "causal"), "causal")
    assert again.about["note"] == "kept"
    assert is_causal_model(str(tmp_path / "causal"))
    with torch.inference_mode():
        torch.testing.assert_close(again.network(ids).logits, whole)


def test_a_causal_model_is_no_masked_one(gpt: Path) -> None:
    with pytest.raises(InputError, match="this is a causal model"):
        load_model(str(gpt), "masked")
    assert load_model(str(gpt), "causal", dtype="bfloat16").network.dtype == torch.bfloat16


def test_minilm_s_missing_head_begins_near_its_word_vectors() -> None:
    """The token itself is the likeliest at its own place: better than noise."""
    model = load_model("minilm", "masked")
    assert not has_head("minilm", "masked")
    ids = torch.tensor([[101, *model.encode("a film about living toys"), 102]])
    with torch.inference_mode():
        logits = model.network(ids).logits[0]
    ranks = [int((logits[i] > logits[i, t]).sum()) for i, t in enumerate(ids[0])]
    assert max(ranks[1:-1]) < 3000  # of 30,522


def test_a_pickle_in_the_folder_is_refused(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(InputError, match=r"pytorch_model\.bin is a pickle"):
        load_model(str(folder), "masked")


def test_code_in_the_folder_is_not_run(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "unheard-of"
    config["auto_map"] = {"AutoConfig": "evil.Evil", "AutoModelForMaskedLM": "evil.Evil"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    with pytest.raises(InputError, match=r"config\.json cannot be used"):
        load_model(str(folder), "masked")
    assert not (tmp_path / "ran").exists()


def test_names_are_looked_for_on_the_shelf_first(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(bert, tmp_path / "minilm")
    assert locate("minilm") != tmp_path / "minilm"
    monkeypatch.setenv("LINKWISE_MODELS", str(tmp_path))
    assert locate("minilm") == tmp_path / "minilm"
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"config\.json is missing"):
        locate("empty")
    with pytest.raises(InputError, match="there is no such folder"):
        locate(str(tmp_path / "nothing"))


def test_without_a_network_one_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def fetch(name: str, **options: Any) -> str:
        asked.append(options.get("local_files_only", False))
        raise huggingface_hub.errors.LocalEntryNotFoundError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    with pytest.raises(ResourceError, match=r"cannot be reached.*hf download some/model") as found:
        load_model("some/model", "causal")
    assert asked == [True, False]  # the cache, then the hub, once
    assert str(found.value).count(". ") <= 2
    assert locate("minilm") == packaged_minilm()
    packaged_minilm.cache_clear()
    monkeypatch.setattr(minilm, "PACKAGE", "gt_not_there")
    with pytest.raises(ResourceError, match=r"linkwise\[offline\]"):
        locate("minilm")
    packaged_minilm.cache_clear()


def test_a_fingerprint_is_of_the_weights(bert: Path, tmp_path: Path) -> None:
    model = load_model(str(bert), "masked", dtype="bfloat16")
    assert fingerprint(model.folder) == fingerprint(bert)
    shutil.copytree(bert, tmp_path / "same")
    assert fingerprint(tmp_path / "same") == fingerprint(bert)
    model = load_model(str(bert), "masked")
    with torch.no_grad():
        next(model.network.parameters())[0] += 1e-3
    save_model(model, tmp_path / "other")
    assert fingerprint(tmp_path / "other") != fingerprint(bert)


def test_a_broken_folder_is_named(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(bert, folder)
    (folder / "model.safetensors").write_bytes(b"\x00" * 64)
    with pytest.raises(InputError, match="the model cannot be loaded"):
        load_model(str(folder), "masked")
