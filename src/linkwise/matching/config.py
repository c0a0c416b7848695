"""The parameters of a match."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from cyclopts import Parameter
from pydantic import BaseModel, ConfigDict, Field, model_validator

VIEWS = ("document", "chapter", "section", "pair")  # of a reference work, see `views`
Hidden = Parameter(show=False, parse=False)  # set by a command


class MatchConfig(BaseModel):
    """What is matched with what, by what, and how it is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: Annotated[Literal["goals"], Hidden] = "goals"
    text: str = "text"
    """Column with the texts."""
    id: str | None = None
    """Column with the texts' ids; by default the column id where each has one text, else row numbers."""
    goal: str = "goal"
    """Column with the id of the goal that a text was judged against, where people have judged."""
    label: str = "label"
    """Column with what they said: yes or no, true or false, 1 or 0."""
    goals: str | None = None
    """File of goals: JSON as of the SDG targets, or a table with id, title, text and parent. By default
    the 17 Sustainable Development Goals in the package's own words."""
    lm: str = "minilm"
    """Text encoder: minilm, the folder of a model, or its name on the hub."""
    vectors: str | None = None
    """Folder in which vectors of texts are kept, so that a later run with the same encoder reads them; by
    default they are made anew."""
    max_tokens: int = Field(256, ge=8)
    """Tokens at which a text is cut; its sentences are read whole."""
    cost_wrong_yes: float = Field(1.0, gt=0)
    """What a yes that is wrong costs."""
    cost_wrong_no: float = Field(1.0, gt=0)
    """What a no that is wrong costs."""
    bootstrap: int = Field(1000, ge=20, le=10000)
    """Resamples of the texts behind each interval."""


class PairsConfig(BaseModel):
    """Which patents are matched with which sections, by which judge, and how it is judged."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    retrieve: int = Field(50, ge=1)
    """Sections that are judged for each patent: those whose text vectors go best with it."""
    lm: str = "minilm"
    """Text encoder that retrieves: minilm, the folder of a model, or its name on the hub."""
    vectors: str | None = None
    """Folder in which vectors of texts are kept, so that a later run with the same encoder reads them; by
    default they are made anew."""
    judge: str = "weighed"
    """Who judges them: weighed (similarities, weighed by a logistic regression), cross-encoder (--lm, trained
    on the pairs of both texts), server, a causal language model (a folder, or a name on the hub), or the
    folder of a finished run, whose judge is taken as it is."""
    labels: str | None = None
    """Table of pairs that people have judged: the ids of both sides, and yes or no."""
    patent_column: str | None = None
    """Column of the labels with the patent's id; by default found by its usual names."""
    section_column: str | None = None
    """Column of the labels with the section's id; by default found by its usual names."""
    section_id: str | None = None
    """Column of a table of sections with their ids; by default the first of code, codes, section_id, sec_id
    and id that a row has."""
    label_column: str = "label"
    """Column of the labels with yes or no, true or false, 1 or 0."""
    split: Literal["by-document", "by-patent", "random"] = "by-document"
    """What a judge has not seen of the pairs that it is tried on: the sections' documents, the patents, or
    only the pairs themselves."""
    folds: int = Field(5, ge=3, le=20)
    """Parts of the labelled pairs, of which each is judged by a judge that learned from the others."""
    epochs: int = Field(3, ge=0)
    """Passes over the labelled pairs in which a language model or a cross-encoder is tuned; 0 leaves a
    language model as it is."""
    learning_rate: float = Field(5e-5, gt=0)
    """Adam's largest step in tuning."""
    train: Literal["full", "lora"] = "full"
    """What of a language model is tuned: all weights, or LoRA matrices."""
    four_bit: bool = False
    """Hold a language model in 4 bits (bitsandbytes); with --train lora."""
    patent_tokens: int = Field(256, ge=8)
    """Tokens of a patent that a judge reads."""
    section_tokens: int = Field(96, ge=8)
    """Tokens of a section, its titles first, that a judge reads."""
    instruction: str = "You judge whether a patent helps with a technique."
    """What a language model is told first."""
    question: str = "Does the patent help with this technique?"
    """What a language model is asked about each pair."""
    patent_name: str = "Patent"
    """What a patent is called before its text."""
    section_name: str = "Technique"
    """What a section is called before its text."""
    examples: int = Field(0, ge=0, le=50)
    """Labelled pairs that a server's model is shown before each question."""
    chain_of_thought: bool = False
    """Let a server's model reason before it answers; the probability is a share over several answers."""
    server: str | None = None
    """Address of an OpenAI-compatible API, up to and with /v1; with --judge server."""
    model: str | None = None
    """Name of the model, as the server calls it."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable with the server's key; unset: no key."""
    requests: int = Field(10_000, ge=1)
    """Requests to the server at most."""
    cost_wrong_yes: float = Field(1.0, gt=0)
    """What a yes that is wrong costs."""
    cost_wrong_no: float = Field(1.0, gt=0)
    """What a no that is wrong costs."""
    bootstrap: int = Field(1000, ge=20, le=10000)
    """Resamples of the patents behind each interval."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.judge == "server") != (self.server is not None) or (
            self.server is not None and self.model is None
        ):
            raise ValueError(
                "--judge server, --server and --model go together; give all three or none"
            )
        if self.four_bit and self.train != "lora":
            raise ValueError("a model in 4 bits is tuned with --train lora")
        if self.chain_of_thought and self.examples:
            raise ValueError(
                "--examples show no reasoning, and would teach to give none; leave out one of --examples "
                "and --chain-of-thought"
            )
        if (self.examples or self.chain_of_thought) and self.judge != "server":
            raise ValueError("--examples and --chain-of-thought go with --judge server")
        if self.examples and self.labels is None:
            raise ValueError("--examples are taken from --labels, and none are given")
        if self.judge == "cross-encoder" and (self.labels is None or not self.epochs):
            raise ValueError(
                "a cross-encoder is learned from labelled pairs: give --labels, and --epochs of 1 or more"
            )
        return self
