"""The parameters of a match."""

from __future__ import annotations

from typing import Annotated, Literal

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field

VIEWS = ("document", "chapter", "section", "pair")  # of a reference work, see `views`
Hidden = Parameter(show=False, parse=False)  # set by a command


class MatchConfig(BaseModel):
    """What is matched with what, by what, and how it is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Annotated[Literal["goals"], Hidden] = "goals"
    text: str = "text"
    """Column with the texts."""
    id: str | None = None
    """Column with the texts' ids; by default their row numbers."""
    goal: str = "goal"
    """Column with the id of the goal that a text was judged against, where people have judged."""
    label: str = "label"
    """Column with what they said: yes or no, true or false, 1 or 0."""
    goals: str | None = None
    """File of goals: JSON as of the SDG targets, or a table with id, title, text and parent. By default
    the 17 Sustainable Development Goals in the package's own words."""
    lm: str = "minilm"
    """Text encoder: minilm, the folder of a model, or its name on the hub."""
    max_tokens: int = Field(256, ge=8)
    """Tokens at which a text is cut; its sentences are read whole."""
    cost_wrong_yes: float = Field(1.0, gt=0)
    """What a yes that is wrong costs."""
    cost_wrong_no: float = Field(1.0, gt=0)
    """What a no that is wrong costs."""
    bootstrap: int = Field(1000, ge=20, le=10000)
    """Resamples of the texts behind each interval."""
