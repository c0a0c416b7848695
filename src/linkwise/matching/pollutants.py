"""Pollutants: read with their synonyms and CAS numbers, joined by what the package knows of them."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from linkwise.data.texts import read_table
from linkwise.errors import InputError, UsageError
from linkwise.matching.lexicon import Lexicon, Term, folded

CAS = re.compile(r"\d{2,7}-\d{2}-\d")
LAST_BRACKET = re.compile(r"\s*\(([^()]*)\)\s*$")
ABBREVIATION = re.compile(r"(?=.*[A-Z])[A-Z0-9][A-Za-z0-9,\-]{0,7}")
PERIODIC = (
    "H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr "
    "Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm "
    "Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu"
)
ELEMENTS = frozenset(PERIODIC.split())
WORDS_TOO = frozenset(
    ["As", "At", "Be", "He", "In", "No", "Am", "I"]
)  # symbols that are also words
NO_NAMES = frozenset(["a", "an", "the", "of", "and", "or", "to", "is"])
FIELDS = ("name", "synonyms", "cas", "formula")


@dataclass(frozen=True)
class Pollutant:
    """A pollutant: its id is its name as the file has it.

    `terms` are what it is called, `doubtful` those of them that are also other words; `groups` are what it
    belongs to, and `about` says what it does, in sentences. `known` tells whether the package knew it.
    """

    id: str
    terms: tuple[str, ...]
    doubtful: tuple[str, ...]
    cas: tuple[str, ...]
    groups: tuple[str, ...]
    about: tuple[str, ...]
    known: bool

    @property
    def parts(self) -> list[str]:
        """What its vectors are made of: its names in words, then what it does."""
        words = [term for term in self.terms if term == term.lower()]
        return [*(words or [self.id])[:4], *self.about]


@dataclass(frozen=True)
class _Known:
    """What the package knows, of `pollutants.toml`."""

    pollutants: list[dict[str, Any]]
    groups: dict[str, dict[str, Any]]
    stop: list[str]


@cache
def _known() -> _Known:
    text = (files("linkwise.matching") / "pollutants.toml").read_text(encoding="utf-8")
    found = tomllib.loads(text)
    return _Known(
        found["pollutant"], {group["name"]: group for group in found["group"]}, found["stop"]
    )


def read_pollutants(path: str | Path, version: str | None = None) -> list[Pollutant]:
    """Read pollutants: JSON (names, or objects) or a table, with name, and synonyms, cas, formula.

    Synonyms are lists, or texts separated by semicolons. JSON may also be an object of names with such
    objects, or of several lists, of which `version` names one. What the package knows of a pollutant (by its
    CAS number or a name) is added: synonyms, groups, effects.

    Raises `InputError` where the file has no pollutants, one twice, or a number that is no CAS number, and
    `UsageError` where it has several lists and none was named.
    """
    path = Path(path)
    entries = _of_json(path, version) if path.suffix.lower() == ".json" else _of_table(path)
    seen: dict[tuple[str, ...], int] = {}
    found: list[Pollutant] = []
    for number, entry in enumerate(entries, 1):
        name = str(entry.get("name") or "").strip()
        if not name:
            raise InputError(f"{path} entry {number}: the pollutant has no name.")
        if not _may_name(name):
            raise InputError(
                f'{path} entry {number}: "{name}" is no name of a pollutant; expected a word that texts have '
                "for it, of two letters or more."
            )
        key = folded(name)
        if key in seen:
            raise InputError(
                f'{path} entry {number}: the pollutant "{name}" stands already as entry {seen[key]}; name '
                "each once."
            )
        seen[key] = number
        cas = _several(entry.get("cas"))
        for value in cas:
            if not _is_cas(value):
                raise InputError(
                    f'{path} entry {number}: "{value}" is no CAS number of "{name}"; expected one such as '
                    "7440-66-6, whose last digit checks the others."
                )
        found.append(
            _with_what_is_known(
                name, [*_several(entry.get("synonyms")), *_several(entry.get("formula"))], cas
            )
        )
    if not found:
        raise InputError(f"{path}: there are no pollutants in it.")
    return found


def _of_json(path: Path, version: str | None) -> list[dict[str, Any]]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: the pollutants cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise InputError(f"{path}: this is not JSON ({error}).") from error
    if isinstance(found, dict) and found and all(isinstance(v, list) for v in found.values()):
        if len(found) > 1 or version is not None:
            if version is None:
                raise UsageError(
                    f"{path}: there are the lists {', '.join(found)}; choose one with --version."
                )
            if version not in found:
                raise UsageError(
                    f'{path}: there is no list "{version}" (--version); the lists are {", ".join(found)}.'
                )
            found = found[version]
        else:
            (found,) = found.values()
    elif isinstance(found, dict):
        for name, value in found.items():
            if not (value is None or isinstance(value, dict)):
                raise InputError(
                    f'{path}: "{name}" is {json.dumps(value)[:40]}; expected null or an object with '
                    "synonyms, cas and formula, or lists of pollutants throughout."
                )
        found = [
            {"name": name, **(value if isinstance(value, dict) else {})}
            for name, value in found.items()
        ]
    if not isinstance(found, list):
        raise InputError(f"{path}: expected a list of pollutants.")
    entries = []
    for number, entry in enumerate(found, 1):
        entry = {"name": entry} if isinstance(entry, str) else entry
        if not isinstance(entry, dict):
            raise InputError(f"{path} entry {number}: expected a name, or an object with a name.")
        entries.append(entry)
    return entries


def _of_table(path: Path) -> list[dict[str, Any]]:
    frame = read_table(path)
    by_lower = {name.lower(): name for name in frame.columns}
    name = next((by_lower[n] for n in ("name", "pollutant", "title", "id") if n in by_lower), None)
    if name is None:
        raise InputError(
            f'{path}: no column "name"; expected one, and where there are synonyms, cas and formula. The '
            f"columns are {', '.join(frame.columns)}."
        )
    return [
        {"name": row[name], **{n: row[by_lower[n]] for n in FIELDS[1:] if n in by_lower}}
        for row in frame.iter_rows(named=True)
    ]


def _may_name(term: str) -> bool:
    """Whether a text's word may be this name: no single letter, and no article."""
    said = [c for c in term if c.isalnum()]
    return len(said) >= 2 and any(c.isalpha() for c in said) and term.lower() not in NO_NAMES


def _several(value: Any) -> list[str]:
    if value is None:
        return []
    some = value if isinstance(value, list | tuple) else str(value).split(";")
    return [str(one).strip() for one in some if str(one).strip()]


def _is_cas(value: str) -> bool:
    if not CAS.fullmatch(value):
        return False
    digits = [int(digit) for digit in value.replace("-", "")]
    return sum(k * digit for k, digit in enumerate(digits[-2::-1], 1)) % 10 == digits[-1]


def names_of(name: str) -> list[str]:
    """What a register's name says: words in lower case, abbreviations and symbols as they are.

    "Zinc and compounds (as Zn)" is zinc and Zn; "1,2-dichloroethane (DCE-1,2)" also DCE-1,2 and 1,2-DCE;
    "PCDD + PCDF (dioxins + furans)" is four names.
    """
    brackets: list[str] = []
    # A bracket within a name, as in benzo(g,h,i)perylene, is part of it.
    while (match := LAST_BRACKET.search(name)) and match.start() > 0:
        brackets.append(match[1].strip())
        name = name[: match.start()]
    found: list[str] = []
    name = re.sub(r"\s+and\s+(?:its\s+|inorganic\s+)?compounds?\s*$", "", name.strip(), flags=re.I)
    for part in re.split(r"\s+\+\s+|\s+and\s+(?=[A-Z])", name):
        found.append(part if _is_abbreviation(part) else part.lower())
    for bracket in reversed(brackets):
        if match := re.match(r"as\s+(?:total\s+)?(\S+)$", bracket):
            if _is_formula(match[1]):
                found.append(match[1])
            continue
        if re.match(r"as\s", bracket):
            continue  # "as total C or COD/3": how it is measured
        for part in re.split(r"\s+\+\s+", bracket):
            short = _is_abbreviation(part)
            found.append(part if short else part.lower())
            if turned := re.fullmatch(r"([A-Za-z]+)-(\d+(?:,\d+)*)", part):
                word = turned[1] if short else turned[1].lower()
                found.append(f"{turned[2]}-{word}")
    return list(dict.fromkeys(term for term in found if term))


def _is_abbreviation(text: str) -> bool:
    letters = [c for c in text if c.isalpha()]
    capitals = sum(c.isupper() for c in letters)
    return bool(ABBREVIATION.fullmatch(text)) and (
        capitals >= 2 and capitals > len(letters) / 2 and len(letters) <= 6
    )


def _is_formula(text: str) -> bool:
    parts = re.findall(r"[A-Z][a-z]?", text)
    whole = re.fullmatch(r"(?:[A-Z][a-z]?\d*)+", text)
    return len(text) > 1 and bool(whole) and all(part in ELEMENTS for part in parts)


def _with_what_is_known(name: str, others: list[str], cas: list[str]) -> Pollutant:
    own = names_of(name)
    for other in filter(_may_name, others):
        own.append(other if _is_abbreviation(other) or _is_formula(other) else other.lower())
    doubtful = [term for term in own if term in WORDS_TOO]
    groups: list[str] = []
    about: list[str] = []
    entry = _entry_of([term for term in own if term == term.lower()] or own, cas)
    if entry is not None:
        own = [term for term in own if term not in entry.get("without", [])] + entry["terms"]
        doubtful += entry.get("doubtful", [])
        cas = [*cas, *entry.get("cas", [])]
        groups = entry.get("groups", [])
        about = list(entry.get("about", []))
        for group in groups:
            about += _known().groups[group]["about"]
    # A name that also stands among the known ones, doubtful there, is doubtful.
    unsure = {folded(term) for term in doubtful}
    return Pollutant(
        name,
        tuple(dict.fromkeys(own)),
        tuple(term for term in dict.fromkeys(own) if folded(term) in unsure),
        tuple(dict.fromkeys(cas)),
        tuple(groups),
        tuple(dict.fromkeys(about)),
        entry is not None,
    )


def _entry_of(names: list[str], cas: list[str]) -> dict[str, Any] | None:
    """What the package knows of a pollutant: by CAS number, else by its name, else by a synonym."""
    own = {folded(name) for name in names}
    for entry in _known().pollutants:
        if set(cas) & set(entry.get("cas", [])):
            return entry
    for entry in _known().pollutants:
        if folded(entry["name"]) in own:
            return entry
    for entry in _known().pollutants:
        if own & {folded(term) for term in entry["terms"]}:
            return entry
    return None


def lexicon_of(pollutants: list[Pollutant]) -> tuple[Lexicon, list[str]]:
    """A lexicon of pollutants and their groups, and the groups' names.

    The owner of a name is a pollutant's row, or n plus the row of a group.
    """
    known = _known()
    groups = sorted({group for pollutant in pollutants for group in pollutant.groups})
    terms = [Term(text, -1) for text in known.stop]
    for row, pollutant in enumerate(pollutants):
        terms += [Term(text, row, text in pollutant.doubtful) for text in pollutant.terms]
        terms += [Term(number, row, cas=True) for number in pollutant.cas]
    for row, group in enumerate(groups, len(pollutants)):
        terms += [Term(text, row) for text in known.groups[group]["terms"]]
    return Lexicon(terms), groups
