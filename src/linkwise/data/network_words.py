"""The words of the simulated professional network: areas of work and the many ways to say them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Area:
    """An area of work: what its people are called, and its skills, each in several words."""

    name: str
    roles: tuple[str, ...]
    skills: tuple[tuple[str, ...], ...]


AREAS = (
    Area(
        "machine learning",
        ("machine learning engineer", "applied scientist", "data scientist"),
        (
            ("neural networks", "deep learning"),
            ("predictive models", "statistical prediction"),
            ("language models", "text understanding"),
            ("computer vision", "image recognition"),
        ),
    ),
    Area(
        "accounting",
        ("accountant", "controller", "auditor"),
        (
            ("bookkeeping", "general ledger"),
            ("tax returns", "corporate taxes"),
            ("financial statements", "annual reports"),
            ("audits", "internal control"),
        ),
    ),
    Area(
        "nursing",
        ("nurse", "ward sister", "clinical care specialist"),
        (
            ("patient care", "bedside care"),
            ("emergency medicine", "first aid"),
            ("wound treatment", "dressings"),
            ("medication", "drug administration"),
        ),
    ),
    Area(
        "teaching",
        ("teacher", "lecturer", "school tutor"),
        (
            ("lesson planning", "curriculum design"),
            ("classroom management", "pupil behaviour"),
            ("examinations", "grading"),
            ("early reading", "literacy"),
        ),
    ),
    Area(
        "law",
        ("lawyer", "legal counsel", "paralegal"),
        (
            ("contracts", "agreements"),
            ("litigation", "court cases"),
            ("patents", "intellectual property"),
            ("data protection", "privacy law"),
        ),
    ),
    Area(
        "construction",
        ("site manager", "civil engineer", "building surveyor"),
        (
            ("concrete structures", "reinforced concrete"),
            ("road building", "pavements"),
            ("building permits", "planning law"),
            ("safety on site", "scaffolding inspection"),
        ),
    ),
    Area(
        "marketing",
        ("marketing manager", "brand strategist", "campaign planner"),
        (
            ("advertising campaigns", "paid media"),
            ("brand strategy", "positioning"),
            ("market research", "customer surveys"),
            ("social media", "online communities"),
        ),
    ),
    Area(
        "logistics",
        ("supply chain planner", "warehouse manager", "freight coordinator"),
        (
            ("inventory", "stock control"),
            ("shipping", "freight"),
            ("route planning", "fleet scheduling"),
            ("procurement", "purchasing"),
        ),
    ),
    Area(
        "electronics",
        ("hardware engineer", "circuit designer", "embedded developer"),
        (
            ("printed circuit boards", "circuit layout"),
            ("microcontrollers", "firmware"),
            ("power supplies", "voltage converters"),
            ("sensors", "signal acquisition"),
        ),
    ),
    Area(
        "cooking",
        ("chef", "pastry cook", "kitchen manager"),
        (
            ("menus", "seasonal dishes"),
            ("baking", "pastry"),
            ("food hygiene", "kitchen safety"),
            ("wine pairing", "sommelier service"),
        ),
    ),
    Area(
        "agriculture",
        ("agronomist", "farm manager", "crop adviser"),
        (
            ("soil analysis", "fertiliser plans"),
            ("irrigation", "water management"),
            ("livestock", "dairy herds"),
            ("harvest machines", "tractors"),
        ),
    ),
    Area(
        "journalism",
        ("reporter", "editor", "news producer"),
        (
            ("interviews", "investigative stories"),
            ("copy editing", "proofreading"),
            ("podcasts", "audio production"),
            ("photo essays", "documentary photography"),
        ),
    ),
)

LEVELS = ("junior", "experienced", "senior", "leading")
"""Seniority, the lowest first."""

CITIES = (
    ("Lyon", "France"), ("Paris", "France"), ("Nantes", "France"),
    ("Hamburg", "Germany"), ("Munich", "Germany"), ("Leipzig", "Germany"),
    ("Porto", "Portugal"), ("Lisbon", "Portugal"), ("Braga", "Portugal"),
    ("Leeds", "England"), ("London", "England"), ("Bristol", "England"),
)  # fmt: skip

COMPANY_SIZES = (
    ("a young company of twelve people", "a start-up"),
    ("a family firm", "a mid-sized business"),
    ("a corporation with offices worldwide", "a large listed group"),
)
"""Sizes of companies, each in several words."""

MODES = (
    ("work from home", "fully remote", "from anywhere"),
    ("two days a week in the office", "hybrid work"),
    ("presence on site", "office based"),
)
"""Where a job is done."""

TONES = (
    ("breaking news", "what happened this week"),
    ("a personal opinion", "my honest view"),
    ("a step-by-step guide", "a hands-on tutorial"),
)
"""How a post, a course or a mail speaks."""

FIRST_SYLLABLES = ("Ar", "Bel", "Cor", "Dan", "El", "Fen", "Gar", "Hel", "Ir", "Jor", "Kal", "Lum")
LAST_SYLLABLES = (
    "dex",
    "nova",
    "tis",
    "mont",
    "vik",
    "sol",
    "tek",
    "ria",
    "wald",
    "mar",
    "lin",
    "os",
)
