"""Language models from a folder, the hub's cache, the hub, or a package; safetensors only, no remote code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from linkwise.errors import InputError, ResourceError, optional
from linkwise.lm.minilm import HUB_NAME, SHA256, check_weights, packaged_minilm

Head = Literal["causal", "masked", "encoder"]
DType = Literal["float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]

PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.pickle", "*.ckpt")
VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt")
FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
ABOUT = (
    "linkwise.json"  # what Linkwise knows of a model that it wrote, beside the library's own files
)


@dataclass
class LanguageModel:
    """A network of `transformers` with its tokenizer, ready to be run.

    `folder` is where it was loaded from; `about` what Linkwise wrote beside it: `attention`
    ("bidirectional" for a decoder that was taught to look both ways), how it was trained.
    """

    network: Any
    tokenizer: Any
    folder: Path
    about: dict[str, Any] = field(default_factory=dict)
    prefix: list[int] = field(default_factory=list)
    """Token numbers of a soft prompt, which every text begins with."""

    @property
    def bidirectional(self) -> bool:
        """Whether a decoder is to be run without its causal mask."""
        return self.about.get("attention") == "bidirectional"

    @property
    def positions(self) -> int | None:
        """Tokens that the network has room for; None where it has no limit."""
        from linkwise.lm.heads import room_of

        return room_of(self.network)

    def must_look_back(self) -> Self:
        """The model itself, if it can tell what comes next.

        Raises `InputError` for a decoder that was taught to look both ways.
        """
        if self.bidirectional:
            raise InputError(
                f"{self.folder}: this model was taught to look both ways (objective mntp); it embeds texts, "
                "but what it says of a next token means nothing. Use the model that it was made from."
            )
        return self

    def text_start(self) -> list[int]:
        """Tokens that every text begins with: a soft prompt, [CLS], the beginning-of-text token."""
        tokenizer = self.tokenizer
        for token in (tokenizer.cls_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id):
            if token is not None:
                return [*self.prefix, int(token)]
        raise InputError(
            f"{self.folder}: the tokenizer has no token for the beginning of a text ([CLS], BOS or EOS)."
        )

    def text_end(self) -> list[int]:
        """The token that ends a text, where the model has one: [SEP], the end-of-text token."""
        for token in (self.tokenizer.sep_token_id, self.tokenizer.eos_token_id):
            if token is not None:
                return [int(token)]
        return []

    def at_most(self, tokens: int) -> int:
        """So many tokens, or as many as the network has room for."""
        return tokens if self.positions is None else min(tokens, self.positions)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text, without special ones."""
        # Not verbose: texts that are longer than the model are cut by who asks, and need no warning.
        read = self.tokenizer(text, add_special_tokens=False, verbose=False)
        found: list[int] = read["input_ids"]
        return found

    def encode_after(self, text: str) -> list[int]:
        """The tokens of a text that stands behind another.

        Some tokenizers (Llama's, Mixtral's) put a space of their own before whatever they are given: the text
        is tokenised behind a line's end, which nothing merges with, and that is cut off.
        """
        if not text:
            return []
        anchor = self.encode("\n")
        found = self.encode("\n" + text)
        if anchor and found[: len(anchor)] == anchor:
            return found[len(anchor) :]
        return self.encode(text)


def load_model(
    name: str,
    head: Head,
    *,
    as_causal: bool = False,
    dtype: DType = "float32",
    device: Device = "auto",
    four_bit: bool = False,
) -> LanguageModel:
    """Load a model by the name `minilm`, a folder, or a name on the hub.

    `head` is what it is needed for. A masked model becomes a causal one, warm-started from its weights, with
    `as_causal`; a head that the weights lack begins untrained. The folder may be that of an adapter (peft),
    which is merged into its base. With `four_bit`, matrices are held in 4 bits (NF4, bitsandbytes), to be
    trained with LoRA.

    Raises `InputError` where it cannot be loaded or is of another kind, `ResourceError` where a package, the
    GPU or the network is missing.
    """
    transformers = optional("transformers", "lm", "a language model")
    folder = locate(name)
    about = read_about(folder)
    if (folder / "adapter_config.json").is_file():
        from linkwise.lm.adapters import load_adapted

        return load_adapted(folder, head, as_causal=as_causal, dtype=dtype, device=device)
    config = _config(folder, transformers)
    options: dict[str, Any] = {}
    if head == "causal":
        decodes = _is_causal(config, transformers)
        if not decodes and not as_causal:
            raise InputError(
                f"{name}: this is a masked model ({config.model_type}), and a causal one is needed. Make "
                f"one, warm-started from its weights: linkwise lm adapt --model {name} --as causal "
                "--objective clm --texts TEXTS --out FOLDER (in Python: load_model(..., as_causal=True))."
            )
        if not decodes:
            options["is_decoder"] = True
    elif head == "masked" and _is_causal(config, transformers):
        raise InputError(
            f"{name}: this is a causal model ({config.model_type}), and a masked one is needed, such as "
            "minilm or BERT."
        )
    if four_bit:
        optional("bitsandbytes", "four-bit", "a base in 4 bits")
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch_dtype(dtype)
        )
        options["device_map"] = {"": choose_device(device)}
    classes = {
        "causal": transformers.AutoModelForCausalLM,
        "masked": transformers.AutoModelForMaskedLM,
        "encoder": transformers.AutoModel,
    }
    with quiet(transformers):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
            network = classes[head].from_pretrained(
                folder,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch_dtype(dtype),
                **options,
            )
        except Exception as error:  # the library raises whatever its parts raise
            raise InputError(f"{folder}: the model cannot be loaded ({_first(error)}).") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if head != "encoder":
        _begin_head(network, folder)
    network.eval()
    if not four_bit:
        network.to(choose_device(device))
    for module in network.modules():
        # On processors with bf16 bitsandbytes packs a matrix anew when it is first evaluated: its scales are
        # rounded for good, training does not go on from there, and rows shorter than a block fail.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return LanguageModel(network, tokenizer, folder, about)


def load_outline(name: str) -> LanguageModel:
    """A causal model without its weights, on PyTorch's "meta" device: shapes and a tokenizer, in no memory.

    A folder with config.json will do, and of a model of the hub no weights are fetched. Where there is no
    tokenizer, MiniLM's stands in, and `about` has it as "tokenizer". Raises `InputError` as `load_model`.
    """
    transformers = optional("transformers", "lm", "a language model")
    import torch

    folder = _base_of(locate(name, weights=False))
    config = _config(folder, transformers)
    if not _is_causal(config, transformers):
        raise InputError(
            f"{name}: this is a masked model ({config.model_type}), and a causal one is needed."
        )
    about = read_about(folder)
    vocabulary = folder
    if not any((folder / file).is_file() for file in VOCABULARIES):
        vocabulary, about = locate("minilm"), {**about, "tokenizer": "minilm"}
    with quiet(transformers):
        try:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                vocabulary, trust_remote_code=False
            )
            with torch.device("meta"):
                network = transformers.AutoModelForCausalLM.from_config(
                    config, dtype=torch.float32, trust_remote_code=False
                )
        except Exception as error:  # the library raises whatever its parts raise
            raise InputError(f"{folder}: the model cannot be made ({_first(error)}).") from error
    return LanguageModel(network, tokenizer, folder, about)


def locate(name: str, *, weights: bool = True) -> Path:
    """The folder of a model: a given folder, the hub's cache, the package of `minilm`, or fetched.

    The folder in the environment variable LINKWISE_MODELS is looked into first. Without `weights` those of a
    model of the hub are not fetched.
    """
    given = Path(name)
    shelf = os.environ.get("LINKWISE_MODELS")
    if not given.is_dir() and shelf and (Path(shelf) / name).is_dir():
        given = Path(shelf) / name
    if given.is_dir():
        _refuse_pickles(given)
        if not any((given / f).is_file() for f in ("config.json", "adapter_config.json")):
            raise InputError(f"{given}: this is no model's folder (config.json is missing).")
        return given
    if name == "minilm":
        return _minilm()
    if given.is_absolute() or name.startswith(".") or name.count("/") > 1 or not name:
        raise InputError(f"{name}: there is no such folder.")
    return _from_hub(name, weights=weights)


def _minilm() -> Path:
    try:
        cached = _from_hub(HUB_NAME, local=True)
        check_weights(cached / "model.safetensors", SHA256)
        return cached
    except (InputError, ResourceError):
        pass
    try:
        return packaged_minilm()
    except ResourceError as missing:
        try:
            return _from_hub(HUB_NAME)
        except (InputError, ResourceError):
            raise missing from None


def _from_hub(name: str, *, local: bool = False, weights: bool = True) -> Path:
    """The folder of a hub's model, fetched unless it is in the cache."""
    hub = optional("huggingface_hub", "lm", "a model of the hub")
    errors = optional("huggingface_hub.errors", "lm", "a model of the hub")
    wanted = [pattern for pattern in FETCHED if weights or pattern != "*.safetensors"]
    try:
        # What is in the cache is taken as it is: no question to the network.
        found = Path(hub.snapshot_download(name, allow_patterns=wanted, local_files_only=True))
        if local or any(found.glob("*.safetensors" if weights else "config.json")):
            return found
    except errors.LocalEntryNotFoundError:
        if local:
            raise InputError(f"{name}: not in the hub's cache.") from None
    except errors.HFValidationError as error:
        raise InputError(f'"{name}": neither a folder nor a name on the hub ({error}).') from error
    try:
        return Path(hub.snapshot_download(name, allow_patterns=wanted))
    except errors.RepositoryNotFoundError as error:
        raise InputError(
            f'"{name}": there is no such folder, and no such model on the hub.'
        ) from error
    except (errors.HfHubHTTPError, OSError) as error:
        raise ResourceError(
            f'"{name}": there is no such folder, the model is not in the hub\'s cache, and the hub cannot be '
            f"reached. Fetch it where there is a network (hf download {name}) and give its folder, or use "
            "minilm, which the extra offline brings."
        ) from error


def _refuse_pickles(folder: Path) -> None:
    found = sorted(path.name for pattern in PICKLES for path in folder.glob(pattern))
    if found:
        raise InputError(
            f"{folder}: {found[0]} is a pickle, and reading one can run any code. Only safetensors are "
            "loaded: save the model anew with save_pretrained, or remove the file if model.safetensors is "
            "there as well."
        )


def _config(folder: Path, transformers: Any) -> Any:
    with quiet(transformers):
        try:
            return transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:
            raise InputError(f"{folder}: config.json cannot be used ({_first(error)}).") from error


def _is_causal(config: Any, transformers: Any) -> bool:
    """Whether the weights are a causal model's: a decoder by kind, or an encoder saved as one."""
    names = config.architectures or []
    if any("CausalLM" in name or "LMHead" in name for name in names):
        return True
    mapping = transformers.models.auto.modeling_auto
    masked = mapping.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    return config.model_type not in masked


def is_causal_model(name: str) -> bool:
    """Whether a model, by its config, is causal."""
    transformers = optional("transformers", "lm", "a language model")
    folder = locate(name)
    if read_about(folder).get("as_causal"):
        return True
    return _is_causal(_config(_base_of(folder), transformers), transformers)


def _base_of(folder: Path) -> Path:
    """The folder itself, or that of the base of an adapter."""
    path = folder / "adapter_config.json"
    if not path.is_file():
        return folder
    try:
        return _base_of(locate(json.loads(path.read_text())["base_model_name_or_path"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: the adapter names no base ({error}).") from error


def has_head(name: str, head: Head) -> bool:
    """Whether a model's own weights have this head, trained; of an adapter, its base's.

    Causal heads are often the word vectors themselves, and have no weights of their own.
    """
    transformers = optional("transformers", "lm", "a language model")
    folder = _base_of(locate(name))
    config = _config(folder, transformers)
    if head == "causal":
        return _is_causal(config, transformers)
    return any("MaskedLM" in name or "PreTraining" in name for name in config.architectures or [])


def _begin_head(network: Any, folder: Path) -> None:
    """A head that the weights lack begins as nearly the identity, which trains faster than noise.

    Only BERT's head has a layer of its own before the tied word vectors.
    """
    import torch

    transform = getattr(
        getattr(getattr(network, "cls", None), "predictions", None), "transform", None
    )
    if transform is None or has_weights(folder, "cls.predictions.transform.dense.weight"):
        return
    with torch.no_grad():
        torch.nn.init.eye_(transform.dense.weight)
        transform.dense.bias.zero_()
        network.cls.predictions.bias.zero_()


def has_weights(folder: Path, name: str) -> bool:
    """Whether a tensor of this name is among the weights of a folder."""
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if name in file.keys():  # noqa: SIM118 (not a mapping)
                return True
    return False


def save_model(model: LanguageModel, folder: Path, **about: Any) -> None:
    """Write the network, tokenizer and `about` to a folder that `load_model` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    transformers = optional("transformers", "lm", "a language model")
    with quiet(transformers):
        model.network.save_pretrained(folder, safe_serialization=True)
        model.tokenizer.save_pretrained(folder)
    write_about(folder, {**model.about, **about})


def read_about(folder: Path) -> dict[str, Any]:
    """What Linkwise wrote beside a model; empty for others'."""
    path = folder / ABOUT
    if not path.is_file():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path}: this is not JSON ({error}).") from error
    return found


def write_about(folder: Path, about: dict[str, Any]) -> None:
    """Write what `read_about` reads."""
    (folder / ABOUT).write_text(json.dumps(about, indent=1))


def fingerprint(folder: Path) -> str:
    """A digest of the weights in a model's folder, by which an adapter knows its base.

    Of the files, so that it is the same for every head and number format.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def choose_device(device: Device) -> str:
    """Where to run; `auto` takes a GPU where there is one.

    Raises `ResourceError` where `cuda` is asked for and missing.
    """
    import torch

    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise ResourceError("--device cuda was asked for, and PyTorch finds no GPU; use auto.")
    return "cuda" if there and device != "cpu" else "cpu"


def torch_dtype(dtype: DType) -> Any:
    """PyTorch's name of a number format."""
    import torch

    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Without the library's progress bars and reports, which would stand in the output of every command."""
    logging = transformers.utils.logging
    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()


def _first(error: BaseException) -> str:
    """The first sentence of an error, whose rest may be pages."""
    return " ".join(str(error).split())[:200] or type(error).__name__
