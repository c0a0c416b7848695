"""Questions about how a run was made, and what its report says."""

from __future__ import annotations

import re
from typing import Any

from linkwise.matching.answer_draft import NOTHING, Draft
from linkwise.matching.answer_figures import Read
from linkwise.matching.answer_names import STOP, normal
from linkwise.matching.answer_question import Question
from linkwise.matching.answer_records import Record, Records, clean, figure

MOST = 100  # files named


def answer_study(question: Question, records: Records) -> Draft | None:
    """The answer of run.json, config.toml and the report; None where no template understands every word."""
    for template in (_made, _setting, _fact, _verdict, _report):
        found = template(question, records)
        if found is not None:
            return found
    return None


def _made(question: Question, records: Records) -> Draft | None:
    """What seed was used? Which files were read? How long did it take?"""
    if question.things or question.numbers or question.years or question.kinds or not records.info:
        return None
    info, words = records.info, set(question.words)

    def fits(needed: set[str], *allowed: str) -> bool:
        return bool(needed & words) and not question.left(needed | set(allowed))

    record = "run.json"
    used = ("used", "use", "uses", "random", "how", "much", "need", "needed", "study")
    if fits({"seed"}, *used) and "seed" in info:
        return Draft().say(f"The seed was {info['seed']}.", Record(record, f"seed {info['seed']}"))
    if fits({"files", "file", "input", "inputs"}, "read", "which", "how", "many", *used):
        inputs = [entry for entry in info.get("inputs") or [] if isinstance(entry, dict)]
        if not inputs:
            return NOTHING
        draft = Draft().say(
            f"{figure(len(inputs))} file{'s' * (len(inputs) > 1)}:",
            Record(record, f"{figure(len(inputs))} inputs"),
        )
        for entry in inputs[:MOST]:
            told = clean(f"{entry.get('file')}, {figure(entry.get('bytes'))} bytes")
            draft.say(f"- {told}", Record(record, told))
        return draft
    if fits(
        {"long", "seconds", "duration", "time", "slow", "fast"},
        "how",
        "take",
        "took",
        "last",
        *used,
    ):
        if "seconds" not in info:
            return NOTHING
        told = f"{figure(info['seconds'])} seconds"
        return Draft().say(f"It took {told}.", Record(record, told))
    if fits({"memory", "ram"}, "peak", *used) and "peak_memory_mib" in info:
        told = f"peak memory {figure(info['peak_memory_mib'])} MiB"
        return Draft().say(f"{told[0].upper()}{told[1:]}.", Record(record, told))
    if (
        fits({"finished", "when", "date", "made"}, "when", "made", "done", "finish", "study")
        and "finished" in info
    ):
        told = f"finished {clean(info['finished'])}"
        return Draft().say(f"It was {told}.", Record(record, told))
    if fits({"simulated"}, "study") and isinstance(records.report.get("simulated"), bool):
        told = f"the report says that the data are {'' if records.report['simulated'] else 'not '}simulated"
        yes = "Yes" if records.report["simulated"] else "No"
        return Draft().say(f"{yes}: {told}.", Record("report.json", told))
    if fits({"study", "verb", "kind"}, "kind", "sort", "study") and "verb" in records.settings:
        told = f"verb {clean(records.settings['verb'])}"
        return Draft().say(
            f"It is a run of linkwise {clean(records.settings['verb'])}.",
            Record("config.toml", told),
        )
    if fits(
        {"version", "versions"},
        *used,
        "installed",
        *(w for n in _versions(info) for w in normal(n).split()),
    ):
        every = _versions(info)
        named = {n: v for n, v in every.items() if question.has(normal(n))} or every
        told = clean(", ".join(f"{name} {number}" for name, number in named.items()))
        return Draft().say(f"{told}.", Record(record, told))
    return None


def _versions(info: dict[str, Any]) -> dict[str, str]:
    own: dict[str, str] = {name: str(info[name]) for name in ("linkwise", "python") if name in info}
    packages = info.get("packages")
    return own | (packages if isinstance(packages, dict) else {})


def _setting(question: Question, records: Records) -> Draft | None:
    """What was label_days?"""
    read = Read(question)
    names = {}
    for name in records.settings:
        names[normal(name)] = name
        names.setdefault(normal(name.rpartition(".")[2]), name)
    found = read.take(names.items())
    if not found or read.left(
        {"setting", "option", "value", "used", "set", "configured", "config"}
    ):
        return None
    if question.text.lower().startswith(
        ("how many", "who", "which", "when", "top")
    ) and not question.has("setting", "option"):
        return None
    draft = Draft()
    for name in found:
        told = clean(f"{name} = {records.settings[name]}")
        draft.say(f"The setting {told}.", Record("config.toml", told))
    return draft


def _fact(question: Question, records: Records) -> Draft | None:
    """How many users were there? By the report's key numbers."""
    if not question.has("how many", "number of", "what is the", "how much"):
        return None
    words = {
        _stem(word) for word in Read(question).left({"how", "many", "number", "total", "much"})
    }
    if not words or any(word.isdigit() for word in words):
        return None
    found = []
    for label, value, note in records.facts:
        about = {_stem(word) for word in normal(f"{label} {note}").split()}
        own = {_stem(word) for word in normal(label).split()}
        if words <= about and words & own:
            found.append((own == words, clean(f"{label}: {value}{f' ({note})' if note else ''}")))
    whole = [told for exact, told in found if exact]  # "Patents" before "Judged for each patent"
    draft = Draft()
    for told in whole or [told for _, told in found]:
        draft.say(f"{told}.", Record("report.json, key numbers", told))
    return draft if draft.lines else None


def _stem(word: str) -> str:
    return word.removesuffix("s")


def _verdict(question: Question, records: Records) -> Draft | None:
    """What came out? Does it beat the baseline?"""
    nouns = {"verdict", "result", "results", "summary", "conclusion", "findings", "finding", "summarise",
             "summarize", "outcome", "came", "baseline"}  # fmt: skip
    allowed = nouns | {
        "main",
        "key",
        "out",
        "study",
        "report",
        "overall",
        "beat",
        "beats",
        "say",
        "says",
        "better",
        "than",
        "model",
    }
    if not nouns & set(question.words) or question.left(allowed) or question.things:
        return None
    lead = [record for record in records.said if record.where.endswith("its first lines")]
    draft = Draft()
    if "baseline" in question.words:
        beats = records.report.get("beats_baseline")
        if beats is None:
            return NOTHING
        told = (
            f"the report says that the study {'beats' if beats else 'does not beat'} its baseline"
        )
        draft.say(f"{'Yes' if beats else 'No'}: {told}.", Record("report.json", told))
    for record in lead:
        draft.say(record.text, record)
    return draft if draft.lines else NOTHING


REPORT = re.compile(
    r"^(?:what|where)\s+(?:does|do|did|is)\s+(?:the\s+)?report\s+(?:say|says|tell|write|state)s?\s+(?:about|of|on)\s+(.*)$"
    r"|^(?:according\s+to|in)\s+the\s+report,?\s+(?:what\s+(?:is\s+said\s+)?(?:about|of|on)\s+)(.*)$",
    re.I,
)


def _report(question: Question, records: Records) -> Draft | None:
    """What does the report say about ties? The sentences that have all the words, at most three."""
    match = REPORT.match(question.text.strip(" ?.!"))
    if match is None:
        return None
    words = [_stem(word) for word in normal(match[1] or match[2]).split() if word not in STOP]
    if not words:
        return None
    draft = Draft()
    for record in records.said:
        there = {_stem(word) for word in normal(record.text).split()}
        if set(words) <= there and len(draft.lines) < 3:
            draft.say(record.text, record)
    return draft if draft.lines else NOTHING
