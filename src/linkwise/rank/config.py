"""The parameters of a ranker's training."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from linkwise.data.schema import parted
from linkwise.lm.config import TrainConfig, Trained

Hidden = Parameter(show=False, parse=False)  # set by a command, or of no use to a ranker


class RankConfig(TrainConfig):
    """One text model for all surfaces."""

    base: str = "small"
    """Model to begin with: `tiny`, `small` or `medium` (new, with MiniLM's words), a causal model's folder,
    its name on the hub, or a finished rank run's folder."""
    epochs: int = Field(1, ge=1)
    """Passes over all members' events."""
    learning_rate: float = Field(1e-3, gt=0)
    """Adam's largest step."""
    batch_size: int = Field(16, ge=1)
    """Sequences of an update, over all processes."""
    part_tokens: int = Field(8192, ge=1)
    """Tokens, with padding, run at once; a larger batch is run in parts, its gradients summed."""
    train: Annotated[Trained, Parameter(show_choices=False)] = "full"
    """`full`: all weights; `lora`: LoRA matrices beside frozen ones (by peft)."""
    dropout: float | None = Field(None, ge=0, lt=1)
    """Dropout in training; by default the model's own, .05 of LoRA (0 beside Mixtral's experts)."""
    prompt_tokens: Annotated[int, Hidden] = Field(20, ge=1)
    """Of a soft prompt, which a ranker has none of."""
    merge: Annotated[bool, Hidden] = False
    """Without effect: a ranker that LoRA trained is written whole, of a base in 4 bits its adapter."""
    shard: Annotated[bool, Hidden] = False
    """Divide weights, gradients and the optimiser among the processes of a team (`Ranker.fit`; FSDP2)."""
    max_tokens: int = Field(1024, ge=64)
    """Tokens of a sequence: what is known of a member and as many events as fit."""
    evaluations: int = Field(4, ge=1)
    """How often an epoch is judged on members held out."""
    sequences: int | None = Field(None, ge=1)
    """Sequences that answers are learned from, drawn at random where there are more; none: all."""
    grouped: int = Field(2, ge=1)
    """Events of a member that are learned from where past items are shown by action: such a prompt teaches
    its last answer only."""
    text: float = Field(0.05, ge=0, le=1)
    """Share of the tokens that are texts of members and items alone, read word by word."""
    matching_epochs: int = Field(3, ge=0)
    """Passes over what was acted on, before any answer is learned, to find each item among a batch's."""
    matching_rate: float = Field(2e-3, gt=0)
    """Adam's largest step in these."""
    matching_batch: int = Field(128, ge=2)
    """Events of an update in these: among their items each is to be found."""
    matching: float = Field(1.0, ge=0)
    """How much finding these items counts beside an answer, once answers are learned."""
    balance: bool = True
    """Give all answers of a task the same weight in training; their shares are put back in the scores."""
    seed: int = 0
    """Seed of the training."""


class RankStudyConfig(RankConfig):
    """A ranker's training, and how it is judged."""

    seed: Annotated[int, Hidden] = Field(0, exclude=True)
    """Taken from the run."""
    train_until: str | None = None
    """End of the training time, 2026-03-21 or 2026-03-21T12:00; by default the middle of the events."""
    gap_days: int = Field(30, ge=0)
    """Days between the end of the training time and the first event that is judged."""
    refresh_days: int = Field(7, ge=1)
    """Days after which a member's past is looked up anew."""
    held_out: Annotated[tuple[str, ...], BeforeValidator(parted)] = ()
    """Tasks that are judged and not trained on, by their names, separated by commas."""
    judged: int | None = Field(500, ge=1)
    """Members, drawn at random, whose events are judged, of each task; none: all."""
    bootstrap: int = Field(1000, ge=20, le=10000)
    """Resamples of the members behind each interval."""
    study: Annotated[str | None, Hidden] = None
    """A study of a trained ranker in place of the training, by its name."""
    run: Annotated[str | None, Hidden] = None
    """The ranker's run, for a study."""
    teacher: Annotated[str | None, Hidden] = None
    """Folder of a finished rank run whose probabilities are learned from, beside the answers given."""
    soft: Annotated[float, Hidden] = Field(0.5, ge=0, le=1)
    """How much the teacher's probabilities count against the answers really given; 1: they alone count."""

    def ranker(self, seed: int) -> RankConfig:
        """The training's own parameters."""
        own = {name: getattr(self, name) for name in RankConfig.model_fields}
        return RankConfig(**{**own, "seed": seed})


Names = Annotated[tuple[str, ...], BeforeValidator(parted)]


class NewSurfaceConfig(BaseModel):
    """What a surface made of a log says of its members and items."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    noun: str = Field("item", pattern=r"^[^\W\d_][\w -]*$")
    """What an item is called: movie."""
    action: str | None = Field(None, pattern=r"\w")
    """What yes means: `like` of ratings; else the kind of event, or a word for the only kind there is."""
    at_least: float = 4.0
    """The rating from which on an item is liked."""
    drawn: float = Field(0.0, ge=0)
    """Items to draw for each event of a log that tells only what was chosen, which stand as passed by."""
    titles: str | None = None
    """Table of the items: id, title, and genres if it has them; by default movies.csv or movies.dat beside
    the log."""
    texts: str | None = None
    """Table with more about the items, joined by their id."""
    text_column: Names = ()
    """Its columns to take, separated by commas."""
    text_id: str | None = None
    """Its column with the item's id; by default the one that is called so."""
    members: str | None = None
    """Table with what is known of the members, joined by their id; users.dat of MovieLens-1M too."""
    member_column: Names = ()
    """Its columns to take, separated by commas."""
    member_id: str | None = None
    """Its column with the member's id; by default the one that is called so."""
