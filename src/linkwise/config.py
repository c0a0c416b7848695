"""`RunConfig`: everything that a run depends on, from options, TOML and ``--set``, and back to TOML."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from linkwise.anomaly.study_config import DetectConfig
from linkwise.churn.config import ChurnConfig
from linkwise.data.documents import DocumentsConfig
from linkwise.data.engine import EngineConfig
from linkwise.data.interactions import InteractionsConfig
from linkwise.data.schema import InputConfig
from linkwise.errors import UsageError, explain
from linkwise.matching.config import MatchConfig, PairsConfig
from linkwise.matching.link_config import LinkConfig
from linkwise.rank.config import RankStudyConfig
from linkwise.recommend.config import RecommendConfig
from linkwise.technology.config import ForecastConfig, check_levels

# Which field of the config holds each verb's parameters.
GROUPS = {
    "churn": "churn",
    "recommend": "recommend",
    "rank": "rank",
    "forecast": "forecast",
    "match": "match",
    "match-pairs": "pairs",
    "match-link": "link",
    "detect": "detect",
}
# What each verb reads its records by; a surface's own file says how its records are read.
READS = {
    "churn": "input",
    "recommend": "input",
    "rank": None,
    "forecast": "documents",
    "match": None,
    "match-pairs": "documents",
    "match-link": "documents",
    "detect": None,
}


class RunConfig(BaseModel):
    """Everything that a run depends on but the files themselves; what `config.toml` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verb: Literal[
        "churn", "recommend", "rank", "forecast", "match", "match-pairs", "match-link", "detect"
    ] = "churn"
    paths: tuple[str, ...] = Field(min_length=1)
    seed: int = 0
    input: InputConfig = InputConfig()
    documents: DocumentsConfig = DocumentsConfig()
    engine: EngineConfig = EngineConfig()
    churn: ChurnConfig = ChurnConfig()
    recommend: RecommendConfig = RecommendConfig()
    rank: RankStudyConfig = RankStudyConfig()
    forecast: ForecastConfig = ForecastConfig()
    match: MatchConfig = MatchConfig()
    pairs: PairsConfig = PairsConfig()
    link: LinkConfig = LinkConfig()
    detect: DetectConfig = DetectConfig()

    @model_validator(mode="after")
    def _levels(self) -> Self:
        if self.verb == "forecast":
            check_levels(self.documents.level, self.forecast.also_level)
        return self

    def values(self) -> dict[str, Any]:
        """The nested values that the run depends on: not those of other verbs."""
        others = {*GROUPS.values(), "input", "documents"} - {GROUPS[self.verb], READS[self.verb]}
        return self.model_dump(mode="json", by_alias=True, exclude=others)

    @property
    def digest(self) -> str:
        """Twelve hex digits that differ where anything in the config does."""
        text = json.dumps(self.values(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def to_toml(self) -> str:
        """The config as TOML; `from_toml` reads it back."""
        import tomli_w

        return tomli_w.dumps(_without_nulls(self.values()))

    @classmethod
    def from_values(cls, values: dict[str, Any], where: str) -> Self:
        """Validate nested values; raises `UsageError` naming the field, the value and what was expected."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UsageError(f"{where}: {explain(error)}") from error

    @classmethod
    def from_toml(cls, path: Path, changes: Sequence[str] = ()) -> Self:
        """Read a config file and apply changes of the form ``churn.feature_days=20``.

        Raises `UsageError` where the file, a field or a value is wrong.
        """
        try:
            values = tomllib.loads(path.read_text())
        except OSError as error:
            raise UsageError(f"{path}: the config cannot be read ({error.strerror}).") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: this is not TOML ({error}).") from error
        return cls.from_values(with_changes(values, changes), str(path))


def _without_nulls(values: dict[str, Any]) -> dict[str, Any]:
    """What TOML can hold, which has no null."""
    return {
        name: _without_nulls(value) if isinstance(value, dict) else value
        for name, value in values.items()
        if value is not None
    }


def with_changes(values: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """Nested values with ``a.b=c`` changes applied; c is read as TOML, else taken as text.

    A path that begins with no group of the config is one within the verb's own: ``sasrec.epochs=20``.
    Raises `UsageError` for a change of another form.
    """
    changed: dict[str, Any] = json.loads(json.dumps(values, default=str))
    for change in changes:
        path, sign, raw = change.partition("=")
        if not sign or not path.strip():
            raise UsageError(f'--set "{change}": expected FIELD=VALUE, such as churn.trials=5.')
        try:
            value = tomllib.loads(f"value = {raw}")["value"]
        except tomllib.TOMLDecodeError:
            value = raw
        *parents, name = path.strip().split(".")
        if (parents or [name])[0] not in RunConfig.model_fields:
            verb = str(values.get("verb", "churn"))
            parents = [GROUPS.get(verb, verb), *parents]
        place = changed
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise UsageError(f'--set "{change}": "{parent}" is a value, not a group of fields.')
        place[name] = value
    return changed


def sorted_options(verb: str, options: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Flat options by the group whose field they name; raises `UsageError` for a name of none."""
    studies: dict[str, type[BaseModel]] = {
        "churn": ChurnConfig,
        "recommend": RecommendConfig,
        "rank": RankStudyConfig,
        "forecast": ForecastConfig,
        "match": MatchConfig,
        "match-pairs": PairsConfig,
        "match-link": LinkConfig,
        "detect": DetectConfig,
    }
    readers: dict[str, type[BaseModel]] = {"input": InputConfig, "documents": DocumentsConfig}
    groups: dict[str, type[BaseModel]] = {"engine": EngineConfig, GROUPS[verb]: studies[verb]}
    if (reads := READS[verb]) is not None:
        groups = {reads: readers[reads], **groups}
    found: dict[str, dict[str, Any]] = {name: {} for name in groups}
    for option, value in options.items():
        if verb == "recommend" and option in InteractionsConfig.model_fields:
            found[verb].setdefault("interactions", {})[option] = value
            continue
        for name, group in groups.items():
            if option in group.model_fields or (option == "schema" and name == "input"):
                found[name][option] = value
                break
        else:
            fields = {field for group in groups.values() for field in group.model_fields}
            if verb == "recommend":
                fields = fields - {"interactions"} | set(InteractionsConfig.model_fields)
            known = sorted(fields - {"log_schema"} | {"schema"})
            raise UsageError(f'there is no option "{option}"; the options are {", ".join(known)}.')
    return found
