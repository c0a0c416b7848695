"""Simulated patents, sections of a reference work, pollutants and labelled pairs, small enough to look at.

    python scripts/demo_texts.py FOLDER

Each patent is about one way of abatement and one or two pollutants, drawn at random; a pair with a section
is labelled yes where both are about the same way.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

WAYS = {
    "1.1": (
        "Wet scrubbers",
        "Waste gas is washed with a liquid in a "
        "packed tower, which takes up soluble gases and dust.",
        ["packed scrubbing tower", "venturi washer", "spray tower with demister"],
    ),
    "1.2": (
        "Bag filters",
        "Dust-laden gas passes fabric bags, on which a "
        "cake of particles builds up and is shaken off.",
        ["pulse-jet bag filter", "fabric filter with a precoat", "cartridge dust collector"],
    ),
    "1.3": (
        "Activated carbon adsorption",
        "Vapours are held by a bed of activated carbon, which is regenerated with steam.",
        ["carbon adsorber bed", "carbon injection lance", "rotor concentrator with carbon"],
    ),
    "1.4": (
        "Thermal oxidation",
        "Organic vapours are burnt at high temperature, and the heat is recovered.",
        ["regenerative thermal oxidiser", "catalytic afterburner", "flameless oxidiser"],
    ),
    "2.1": (
        "Chemical precipitation",
        "Metals in waste water become insoluble hydroxides or sulphides, which settle.",
        ["sulphide dosing unit", "lamella settler for hydroxides", "precipitation reactor"],
    ),
    "2.2": (
        "Membrane filtration",
        "Waste water is pressed through membranes that hold back particles and large molecules.",
        ["hollow-fibre membrane module", "reverse osmosis stage", "ceramic membrane stack"],
    ),
    "2.3": (
        "Biological treatment",
        "Microorganisms in aerated basins feed on dissolved organic matter and nitrogen.",
        ["sequencing batch reactor", "moving bed biofilm reactor", "nitrifying trickling filter"],
    ),
    "2.4": (
        "Ion exchange",
        "Dissolved ions are swapped against harmless ones on a resin, which is regenerated.",
        ["selective resin column", "twin-bed ion exchanger", "chelating resin cartridge"],
    ),
}
AIR = ["mercury", "dioxins", "toluene", "ammonia", "hydrogen chloride"]
WATER = ["zinc", "copper", "nickel", "total nitrogen", "phenols"]
README = "Simulated texts: patents, sections and labels were drawn at random, and describe nothing real.\n"


def write(folder: Path, n: int = 160, seed: int = 4) -> None:
    """Write the files into the folder."""
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README").write_text(README)
    lines = []
    for part, name in (("1", "Emissions to air"), ("2", "Emissions to water")):
        lines.append(f"# {part} {name}\nMeans against emissions, with what each is used for.")
        for number, (title, text, _) in WAYS.items():
            if number.startswith(part):
                some = ", ".join(AIR if part == "1" else WATER)
                lines.append(f"## {number} {title}\n{text} It is used against {some}.")
    (folder / "manual.md").write_text("\n".join(lines) + "\n")
    (folder / "pollutants.json").write_text(json.dumps([*AIR, *WATER]))
    patents, labels = ["id,title,abstract,year"], ["patent,section,label"]
    for k in range(n):
        number = rng.choice(list(WAYS))
        device = rng.choice(WAYS[number][2])
        some = rng.sample(AIR if number.startswith("1") else WATER, rng.choice((1, 2)))
        text = (
            f"A {device} for a plant of kind {k} takes {' and '.join(some)} out of the stream. "
            f"{WAYS[number][1]}"
        )
        patents.append(f'D{k:03},"{device.capitalize()}","{text}",{2000 + k % 20}')
        other = rng.choice([way for way in WAYS if way != number])
        labels += [f"D{k:03},manual:::{number},yes", f"D{k:03},manual:::{other},no"]
    (folder / "patents.csv").write_text("\n".join(patents) + "\n")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    write(Path(sys.argv[1]))
