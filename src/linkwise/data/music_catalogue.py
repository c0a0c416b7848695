"""The songs of the simulated music app: taste groups, invented titles and singers, and who plays what.

Titles and singers are put together from the word lists below; none is taken from a real catalogue. Each
taste group has its own words, so that what is played together also reads alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

_ENGLISH = (
    "{a} {b}",
    "{a} and {b}",
    "{a} of the {b}",
    "{c} {a} {b}",
    "{a} in the {b}",
    "{a} {b} {c}",
)
_FRENCH = ("{a} et {b}", "{a} sans {b}", "{a}, {c} {b}", "{c} {a}, {c} {b}", "{a} ou {b}")
_CHINESE = ("{a}{b}", "{a}与{b}", "{a}里的{b}", "{c}{a}{b}", "{a}之{b}{c}")
_ENGLISH_COMMON = "My Our Last First Little Slow Golden Another Sunday Forever"
_FRENCH_COMMON = "Notre Votre Chaque Encore Toujours Leur"
_CHINESE_COMMON = "我的 一个 最后 从前 今夜 再见"

# name of the taste group: (title patterns, words that only this group uses, words that any group may use)
TASTES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "sea": (
        _ENGLISH,
        "Tide Harbour Salt Gull Anchor Reef Sailor Driftwood Compass Lighthouse Current Pearl Coral"
        " Island Mast Foam Whale Shoreline Mariner Wave Lagoon",
        _ENGLISH_COMMON,
    ),
    "city": (
        _ENGLISH,
        "Neon Avenue Subway Rooftop Taxi Midnight Skyline Traffic Elevator Billboard Corner Asphalt"
        " Crosswalk Streetlight Tower Platform Siren Concrete Alley Sidewalk Penthouse",
        _ENGLISH_COMMON,
    ),
    "country": (
        _ENGLISH,
        "Harvest Barn River Prairie Tractor Gravel Porch Saddle Whiskey Fiddle Cornfield Orchard Fence"
        " Creek Pickup Cattle Meadow Rodeo Valley Windmill Wagon",
        _ENGLISH_COMMON,
    ),
    "metal": (
        _ENGLISH,
        "Iron Wolf Thunder Skull Blade Throne Raven Hammer Ash Crypt Fury Dragon Steel Oath Chain Siege"
        " Venom Grave Demon Wrath Crown",
        _ENGLISH_COMMON,
    ),
    "romance": (
        _ENGLISH,
        "Kiss Letter Promise Rose Velvet Whisper Darling Ribbon Perfume Candle Diary Waltz Bouquet"
        " Photograph Necklace Silk Blush Honey Embrace Sweetheart Locket",
        _ENGLISH_COMMON,
    ),
    "lullaby": (
        _ENGLISH,
        "Pillow Moon Cradle Feather Hush Blanket Starlight Rain Breath Slumber Cloud Quiet Snow Owl"
        " Nightlight Murmur Lamb Willow Dawn Dew Stillness",
        _ENGLISH_COMMON,
    ),
    "dance": (
        _ENGLISH,
        "Bass Disco Glitter Laser Tempo Rhythm Mirrorball Groove Club Vinyl Speaker Strobe Pulse Electric"
        " Turbo Remix Fever Hips Party Champagne Dancefloor",
        _ENGLISH_COMMON,
    ),
    "children": (
        _ENGLISH,
        "Bunny Pancake Dinosaur Bubble Rocket Pirate Puppy Banana Puddle Giggle Tiger Balloon Robot Kite"
        " Cookie Monkey Pickle Wizard Duckling Crayon Teapot",
        _ENGLISH_COMMON,
    ),
    "gospel": (
        _ENGLISH,
        "Grace Choir Altar Glory Mercy Psalm Redeemer Pilgrim Halo Blessing Manna Shepherd Amen Trumpet"
        " Prayer Chapel Heaven Covenant Angel Hymn Pasture",
        _ENGLISH_COMMON,
    ),
    "chanson": (
        _FRENCH,
        "Étoile Forêt Été Rêve Lumière Château Mélodie Rivière Cœur Soirée Fenêtre Poème Théâtre Brume"
        " Jardin Naufrage Horizon Façade Noël Péniche",
        _FRENCH_COMMON,
    ),
    "landscape": (
        _CHINESE,
        "青山 流水 明月 松风 竹林 白云 孤舟 落花 秋雨 寒江 古道 斜阳"
        " 归雁 晨雾 梅影 烟雨 渔火 石桥 飞雪 春草",
        _CHINESE_COMMON,
    ),
    "platform": (
        _CHINESE,
        "街灯 地铁 咖啡 天台 霓虹 雨伞 电话 旧信 末班车 车票"
        " 站台 耳机 沙发 冰箱 电梯 橱窗 相册 闹钟 加班 便利店",
        _CHINESE_COMMON,
    ),
}
_FIRST = (
    "Tavi Orla Bram Ilse Kess Juno Maro Vesna Pell Lioba Ansel Rikke Dov Sunniva Thale Corin Emeka Yara"
    " Ulf Noor"
)
_LAST = (
    "Quillon Merrow Ashgrove Tindale Okabeni Varga-Holt Lindquister Pomeray Sabatini-Roe Grevstad Halloway"
    " Dunmorrow Zielke Farrowby Castellan Wrenfield Osterbeck Nakamori-Lund Peregrine Tolliver"
)
_BAND = "北窗 灰鲸 纸船 慢雨 木星 旧巷 白塔 蓝猫 远灯 空谷 晚风 陶罐"
_BAND_KIND = "乐队 小组 合唱团 乐社 二重唱 工作室"

ALBUM = 10  # songs per album: track t + 1 often follows track t within a session
ALBUMS_PER_SINGER = 2  # an album's neighbour in the list is by the same singer
OWN_TASTE = 0.80  # share of plays from the catalogue that stay in the user's own taste group
REPEAT = 0.35  # share of plays that are one of the user's few favourites
SEQUEL = 0.20  # share of plays that are the track after the one before
FAVOURITES = 6  # per user, all from the user's own taste group
LONG_TRACK = 0.01  # share of songs that are stories or whole concerts
TYPE_SHARES = (0.88, 0.99)  # cumulative: song_type 0 for 88 % of the songs, 1 for 11 %, 2 for 1 %
SENTINELS = (0, -1)  # song ids that stand for "no song in the catalogue"


@dataclass(frozen=True)
class Catalogue:
    """All songs, grouped by taste and within it by album; a song is a row number here."""

    song_id: Ints  # (songs,) external ids, distinct
    name: list[str]
    singer: list[str]
    taste: Ints  # (songs,) position in TASTES
    song_type: Ints  # (songs,) 0, 1 or 2
    length: Ints  # (songs,) seconds
    group_start: Ints  # (groups + 1,) first row of each taste group
    by_popularity: Ints  # (songs,) rows of each group, most played first

    def rank(self, group: Ints, u: Floats) -> Ints:
        """Rows drawn from the groups given; popularity falls with rank**-0.6, a long tail.

        `u` is uniform. A rank is floor(size * u**2.5); only exact arithmetic is used (no pow).
        """
        start = self.group_start[group]
        size = self.group_start[group + 1] - start
        return self.by_popularity[start + (size * (u * u * np.sqrt(u))).astype(np.int64)]

    def draw(self, group: Ints, favourites: Ints, follows: Bools, u: Floats, repeat: float) -> Ints:
        """One song per row, from the listener's favourites, own group, or any group.

        group: (rows,) the listener's taste group; favourites: (rows, FAVOURITES); follows: (rows,)
        whether this row is the next track on the album of the row before; u: (rows, 3) uniform; repeat:
        share of the favourites.
        """
        own = u[:, 1] < OWN_TASTE
        other = ((u[:, 1] - OWN_TASTE) / (1.0 - OWN_TASTE) * len(TASTES)).astype(np.int64)
        song = self.rank(np.where(own, group, np.minimum(other, len(TASTES) - 1)), u[:, 2])
        slot = (u[:, 2] * u[:, 2] * FAVOURITES).astype(np.int64)  # the first favourite most of all
        song = np.where(u[:, 0] < repeat, favourites[np.arange(len(u)), slot], song)
        base, steps = chains(follows)
        return self._later_track(song[base], steps)

    def _later_track(self, song: Ints, steps: Ints) -> Ints:
        """The song `steps` tracks further on the same album, starting again after the last track."""
        start = self.group_start[self.taste[song]]
        end = self.group_start[self.taste[song] + 1]
        track = song - start
        first = track // ALBUM * ALBUM
        tracks = np.minimum(ALBUM, end - start - first)
        return start + first + (track - first + steps) % tracks

    def texts(self, *, with_type: bool) -> pa.Array:
        """Tab-joined song fields as they stand in a log: (songs * 3,), then once per sentinel id."""
        rows = [
            (f"{song_id}\t{kind}" if with_type else f"{song_id}") + f"\t{name}\t{singer}"
            for ids in (
                self.song_id.tolist(),
                *([sentinel] * len(self.name) for sentinel in SENTINELS),
            )
            for song_id, kind, name, singer in zip(
                ids, self.song_type.tolist(), self.name, self.singer, strict=True
            )
        ]
        return pa.array(rows, pa.string())

    def queries(self) -> pa.Array:
        """URL-encoded queries with line ends, (2 * 3 * songs,): upper case, then lower; in each the titles,
        the singers, the titles' first words.

        Real clients differ in the case of the hexadecimal digits and in how they write a space.
        """
        texts = [
            *self.name,
            *self.singer,
            *(name.split()[0].rstrip(",")[:12] for name in self.name),
        ]
        upper = [quote(text, safe="") for text in texts]
        lower = [_lower_hex(text).replace("%20", "+") for text in upper]
        return pa.array([f"{query}\n" for query in upper + lower], pa.string())


def _lower_hex(text: str) -> str:
    head, *escaped = text.split("%")
    return "%".join([head, *(part[:2].lower() + part[2:] for part in escaped)])


def chains(follows: Bools) -> tuple[Ints, Ints]:
    """For each row the last row at or before it that follows nothing, and how many rows lie between."""
    position = np.arange(len(follows))
    base = np.maximum.accumulate(np.where(follows, 0, position))
    return base, position - base


def distinct_ids(rng: np.random.Generator, n: int, lowest: int, mean_gap: int) -> Ints:
    """`n` distinct ids above `lowest`, in random order."""
    gaps = 1 + (rng.random(n) * (2 * mean_gap - 1)).astype(np.int64)
    ids: Ints = lowest + np.cumsum(gaps)
    return ids[np.argsort(rng.random(n), kind="stable")]


def build_catalogue(songs: int, rng: np.random.Generator) -> Catalogue:
    """Invent `songs` songs, as evenly as may be over the taste groups."""
    from scipy.special import ndtri

    group_start = np.arange(len(TASTES) + 1) * songs // len(TASTES)
    taste = np.repeat(np.arange(len(TASTES)), np.diff(group_start))
    names: list[str] = []
    singers: list[str] = []
    latin = [f"{first} {last}" for first in _FIRST.split() for last in _LAST.split()]
    chinese = [f"{band}{kind}" for band in _BAND.split() for kind in _BAND_KIND.split()]
    for pool in (latin, chinese):
        order = np.argsort(rng.random(len(pool)), kind="stable")
        pool[:] = [pool[i] for i in order]
    used = {id(latin): 0, id(chinese): 0}
    for group, (patterns, _, _) in enumerate(TASTES.values()):
        size = int(group_start[group + 1] - group_start[group])
        names += _titles(group, size, rng)
        pool = chinese if patterns is _CHINESE else latin
        per_singer = ALBUM * ALBUMS_PER_SINGER
        singers += [pool[(used[id(pool)] + i // per_singer) % len(pool)] for i in range(size)]
        used[id(pool)] += -(-size // per_singer)
    # within its group, a song's row says its album; how popular it is has nothing to do with that
    by_popularity = np.lexsort((rng.random(songs), taste))
    length = np.clip(245.0 * np.exp(0.22 * ndtri(rng.random(songs))), 60, 600)
    long = rng.random(songs) < LONG_TRACK
    length = np.where(long, 600 + 600 * rng.random(songs), length)
    return Catalogue(
        song_id=distinct_ids(rng, songs, lowest=100_000, mean_gap=2_000),
        name=names,
        singer=singers,
        taste=taste,
        song_type=np.searchsorted(np.array(TYPE_SHARES), rng.random(songs), side="right"),
        length=length.astype(np.int64),
        group_start=group_start,
        by_popularity=by_popularity,
    )


def _titles(group: int, n: int, rng: np.random.Generator) -> list[str]:
    """`n` titles of one taste group; distinct until all combinations of its words are used up."""
    patterns, own, common = list(TASTES.values())[group]
    words, fillers = own.split(), common.split()
    tables = []  # rows of (pattern, a, b, c)
    for number, pattern in enumerate(patterns):
        n_fillers = len(fillers) if "{c}" in pattern else 1
        a, b, c = np.indices((len(words), len(words), n_fillers)).reshape(3, -1)
        table = np.stack([np.full_like(a, number), a, b, c], axis=1)
        tables.append(table[a != b])
    combinations = np.concatenate(tables)
    order = np.argsort(rng.random(len(combinations)), kind="stable")
    chosen = combinations[order[np.arange(n) % len(order)]].tolist()
    return [patterns[p].format(a=words[a], b=words[b], c=fillers[c]) for p, a, b, c in chosen]
