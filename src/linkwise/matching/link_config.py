"""The parameters of the graph patent - technique - pollutant - goal."""

from __future__ import annotations

from typing import Annotated, Self

from cyclopts import Parameter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from linkwise.data.schema import parted

Hidden = Parameter(show=False, parse=False)  # set by a command
Files = Annotated[tuple[str, ...], BeforeValidator(parted), Parameter(negative=())]


class LinkConfig(BaseModel):
    """What is linked with what, by what, and what the links are compared with."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    sections: Annotated[Files, Hidden] = ()
    """Files of the techniques' sections, as `read_sections` takes them."""
    section_id: str | None = None
    """Column of a table of sections with their ids; by default the first of code, codes, section_id, sec_id
    and id that a row has."""
    pollutants: Annotated[str | None, Hidden] = None
    """File of pollutants: JSON or a table, with name and where there are synonyms, cas and formula."""
    goals: str | None = None
    """File of goals: JSON as of the SDG targets, or a table with id, title, text and parent. By default
    the 17 Sustainable Development Goals in the package's own words."""
    published: Files = ()
    """Files of published pairs, separated by commas: tables with two of patent, technique, pollutant and
    goal, and perhaps score (0 to 1), or JSON of goals with their pollutants and impacts (0 to 100)."""
    labels: Files = ()
    """Files of pairs that people have judged: two such columns, and label (yes or no)."""
    version: str | None = None
    """Which version is taken of files that hold several: a list of pollutants' JSON, a value of a column
    called version."""
    lm: str = "minilm"
    """Text encoder: minilm, the folder of a model, or its name on the hub."""
    vectors: str | None = None
    """Folder in which vectors of texts are kept, so that a later run with the same encoder reads them; by
    default they are made anew."""
    max_tokens: int = Field(256, ge=8)
    """Tokens at which a sentence is cut."""
    near: int = Field(30, ge=1)
    """Pollutants nearest to a text by their vectors that are looked at, beside those that it names."""
    link_from: float = Field(0.5, gt=0, lt=1)
    """Score from which on a text is linked with a pollutant: a probability where a judge has learned or a
    server answers. What is below stands in ranking.parquet alone."""
    retrieve: int = Field(50, ge=1)
    """Techniques nearest to a patent by their vectors that are looked at."""
    techniques: int = Field(10, ge=1)
    """Techniques that a patent is linked to at most."""
    map: bool = False
    """Draw the map of the patents, with the pollutants that they are linked with."""
    server: str | None = None
    """Address of an OpenAI-compatible server, up to and with /v1, that judges pollutants; none: no server."""
    model: str | None = None
    """Name that the server has for its model."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the server's key; a server without one takes none."""
    requests: int | None = Field(None, ge=0)
    """Most requests to the server; beyond it the run stops, and can be resumed."""
    bootstrap: int = Field(1000, ge=20, le=10000)
    """Resamples of the pollutants, or patents, behind each interval."""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.server is None) != (self.model is None):
            raise ValueError("--server and --model go together; give both, or neither")
        return self
