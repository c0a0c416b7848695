"""Simulated patents, sections of a reference work, pollutants and labelled pairs, small enough to look at.

    python scripts/demo_texts.py FOLDER

Each patent is about one way of abatement and one or two pollutants, drawn at random, and names another way
that it is better than. Its pair with the section of the one is labelled yes; with those of the other, of a
third, and with a chapter, no.
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
        [
            "The gas rises against a falling liquid that takes up what dissolves.",
            "Droplets wash the fumes before they are drawn off.",
        ],
    ),
    "1.2": (
        "Bag filters",
        "Dust-laden gas passes fabric bags, on which a "
        "cake of particles builds up and is shaken off.",
        ["pulse-jet bag filter", "fabric filter with a precoat", "cartridge dust collector"],
        [
            "Particles stay on the cloth and fall into a hopper when it is pulsed with air.",
            "Smoke is pressed through woven sleeves that keep the grit back.",
        ],
    ),
    "1.3": (
        "Activated carbon adsorption",
        "Vapours are held by a bed of activated carbon, which is regenerated with steam.",
        ["carbon adsorber bed", "carbon injection lance", "rotor concentrator with carbon"],
        [
            "A bed of porous charcoal binds the vapours until steam sets them free.",
            "Fumes stick to charcoal grains, which are renewed when full.",
        ],
    ),
    "1.4": (
        "Thermal oxidation",
        "Organic vapours are burnt at high temperature, and the heat is recovered.",
        ["regenerative thermal oxidiser", "catalytic afterburner", "flameless oxidiser"],
        [
            "A flame turns the solvents into water and carbon dioxide, and warms the incoming air.",
            "Fumes are burnt out above 800 degrees over a ceramic heat store.",
        ],
    ),
    "2.1": (
        "Chemical precipitation",
        "Metals in waste water become insoluble hydroxides or sulphides, which settle.",
        ["sulphide dosing unit", "lamella settler for hydroxides", "precipitation reactor"],
        [
            "A reagent makes the dissolved salts insoluble, and the sludge sinks.",
            "Lime is dosed until flakes form and settle in a basin.",
        ],
    ),
    "2.2": (
        "Membrane filtration",
        "Waste water is pressed through membranes that hold back particles and large molecules.",
        ["hollow-fibre membrane module", "reverse osmosis stage", "ceramic membrane stack"],
        [
            "Sewage is pushed through fine pores under pressure, and what is large stays behind.",
            "Hollow fibres let clean liquid through and hold back the rest.",
        ],
    ),
    "2.3": (
        "Biological treatment",
        "Microorganisms in aerated basins feed on dissolved organic matter and nitrogen.",
        ["sequencing batch reactor", "moving bed biofilm reactor", "nitrifying trickling filter"],
        [
            "Bacteria on carriers eat what is dissolved while air is blown in.",
            "Sludge with living cells breaks down the organic load in aerated tanks.",
        ],
    ),
    "2.4": (
        "Ion exchange",
        "Dissolved ions are swapped against harmless ones on a resin, which is regenerated.",
        ["selective resin column", "twin-bed ion exchanger", "chelating resin cartridge"],
        [
            "A resin gives up harmless sodium and takes the charged ones in turn.",
            "Beads in a column swap their charges with the liquid until acid renews them.",
        ],
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
        for number, (title, text, *_) in WAYS.items():
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
        other = rng.choice([way for way in WAYS if way != number])
        # Like an applicant's: its own words, and what it is better than, which words alone take it for.
        text = (
            f"A {device} for a plant of kind {k} takes {' and '.join(some)} out of the stream. "
            f"{rng.choice(WAYS[number][3])} {WAYS[other][0]} known before it need more room."
        )
        patents.append(f'D{k:03},"{device.capitalize()}","{text}",{2000 + k % 20}')
        third = rng.choice([way for way in WAYS if way not in (number, other)])
        # Chapters say nothing of a way, and sections that a patent does not name are no match either.
        no = [other, third, rng.choice("12")]
        labels += [f"D{k:03},manual:::{number},yes", *(f"D{k:03},manual:::{of},no" for of in no)]
    (folder / "patents.csv").write_text("\n".join(patents) + "\n")
    (folder / "labels.csv").write_text("\n".join(labels) + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    write(Path(sys.argv[1]))
