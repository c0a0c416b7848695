"""`ServeConfig`: where the service listens, and what a request may ask of it."""

from __future__ import annotations

import ipaddress
import os

from pydantic import BaseModel, ConfigDict, Field

from linkwise.errors import UsageError

TOKEN_VARIABLE = "LINKWISE_TOKEN"
SHORTEST_TOKEN = 16  # characters


class ServeConfig(BaseModel):
    """Address and limits of the service."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    host: str = "127.0.0.1"
    """Address to listen on. Any but this machine's own demands a token in LINKWISE_TOKEN."""
    port: int = Field(8765, ge=0, le=65535)
    """Port to listen on; 0: any that is free."""
    body_kib: int = Field(1024, ge=1)
    """Largest body of a request, KiB."""
    read_seconds: float = Field(10.0, gt=0)
    """A request must have come in whole after so many seconds."""
    answer_seconds: float = Field(60.0, gt=0)
    """An answer that takes longer is given up."""
    history: int = Field(2000, ge=1)
    """Longest history, or list of one user's events, in a request."""
    candidates: int = Field(1000, ge=1)
    """Most candidates, or items of a list, in a request."""
    edges: int = Field(100_000, ge=1)
    """Most edges of a graph in a request."""
    queue: int = Field(64, ge=1)
    """Requests that wait for one model; one more is turned away, to come again."""
    batch: int = Field(16, ge=1)
    """Requests for one model that are answered together, at most."""
    models: int = Field(8, ge=1)
    """Models held in memory; the one unused for longest leaves first."""


def is_own(host: str) -> bool:
    """Is it an address that only this machine reaches?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def read_token(host: str) -> str | None:
    """The token that requests must carry, of the environment; None where there is none and none is needed.

    Raises `UsageError` where the address can be reached from elsewhere and there is no token, or a short one.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
    if token is None and not is_own(host):
        raise UsageError(
            f"--host is {host}, which other machines can reach, and there is no token. Set "
            f"{TOKEN_VARIABLE} to a secret of {SHORTEST_TOKEN} characters or more, or listen on 127.0.0.1."
        )
    if token is not None and (len(token) < SHORTEST_TOKEN or not token.isascii()):
        raise UsageError(
            f"{TOKEN_VARIABLE} has {len(token)} characters; expected {SHORTEST_TOKEN} or more of ASCII."
        )
    return token
