"""The generated data set: a web shop whose true click probabilities are known.

How a click comes about: an item belongs to one or two genres and carries a brand and a wording. A user looks at few
genres and likes or dislikes each of them clearly; now and then a taste flips. With
``chance = sigmoid(TASTE * sum of the tastes for the item's genres + quality(wording) + quality(brand))``
and a few mistakes, ``probability = MISTAKE + (1 - 2 * MISTAKE) * chance``.
Everything that decides it can be read: the quality from the item's text, the tastes from the user's labelled history.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

GENRES: dict[str, tuple[str, ...]] = {
    "kitchen": ("pan", "kettle", "knife", "blender", "toaster", "grinder"),
    "garden": ("spade", "hose", "trellis", "planter", "shears", "sprinkler"),
    "camping": ("tent", "lantern", "hammock", "stove", "backpack", "cooler"),
    "music": ("guitar", "keyboard", "ukulele", "amplifier", "drum", "microphone"),
    "gaming": ("console", "joystick", "headset", "puzzle", "chessboard", "controller"),
    "fitness": ("treadmill", "dumbbell", "barbell", "rower", "kettlebell", "trampoline"),
    "office": ("desk", "stapler", "printer", "whiteboard", "shredder", "organizer"),
    "photo": ("camera", "tripod", "lens", "flash", "projector", "album"),
}
WORDINGS = {"award-winning": 2.8, "handmade": 1.6, "trusted": 0.6, "everyday": -0.2, "basic": -1.6, "worn": -3.0}
BRANDS = {"Aurelis": 1.6, "Bramford": 1.0, "Castello": 0.4, "Dornier": 0, "Ekvall": -0.4, "Fennick": -1.0, "Grob": -1.6}
AGES = ("18-24", "25-34", "35-44", "45-54", "55+")
REGIONS = ("north", "east", "south", "west")

TASTE = 3.5  # logit of a liked genre; a disliked one has the opposite sign
SECOND_GENRE = 0.1  # share of items with two genres
MISTAKE = 0.04  # share of clicks, and of missing clicks, made by mistake
FAVOURITES = 2  # genres that one user looks at
FLIP = 0.001  # chance that a taste flips between two interactions of its user
SHORTEST = 0.3  # the shortest history, as a share of the mean
START = 1_672_531_200  # 2023-01-01 00:00:00 UTC
DAY = 86_400
DAYS = 300


@dataclass(frozen=True)
class Items:
    """The shop's items; row number = item.

    Attributes:
        genres: one or two genre numbers per item; the same number twice for an item with one.
        wording, noun, brand: the words of each item's text.
        quality: what brand and wording add to the logit.
    """

    genres: Ints
    wording: list[str]
    noun: list[str]
    brand: list[str]
    quality: Floats


@dataclass(frozen=True)
class Clicks:
    """All interactions, sorted by user, then by time; ``timestamp`` in seconds since 1970."""

    user: Ints
    item: Ints
    label: Ints
    timestamp: Ints
    probability: Floats


def _items(rng: np.random.Generator, count: int) -> Items:
    first = rng.permutation(np.arange(count) % len(GENRES))
    other = (first + rng.integers(1, len(GENRES), count)) % len(GENRES)
    second = np.where(rng.random(count) < SECOND_GENRE, other, first)
    wording = rng.choice(list(WORDINGS), count).tolist()
    brand = rng.choice(list(BRANDS), count).tolist()
    nouns = list(GENRES.values())
    noun = [nouns[genre][int(pick)] for genre, pick in zip(first, rng.integers(0, 6, count), strict=True)]
    quality = np.array([WORDINGS[w] + BRANDS[b] for w, b in zip(wording, brand, strict=True)])
    return Items(np.stack([first, second], axis=1), wording, noun, brand, quality)


def _lengths(rng: np.random.Generator, users: int, interactions: int) -> Ints:
    """History lengths that add up to ``interactions``."""
    shortest = max(1, int(SHORTEST * interactions / users))
    weight = rng.gamma(2.0, size=users)
    return shortest + rng.multinomial(interactions - shortest * users, weight / weight.sum())


def _timestamps(rng: np.random.Generator, user: Ints, users: int) -> Ints:
    """Strictly increasing seconds within each user, who enters and leaves somewhere in the 300 days."""
    enters = rng.uniform(0, 0.8 * DAYS, users)
    stays = rng.uniform(0.05, 1.0, users) * (DAYS - enters)
    days = enters[user] + rng.random(len(user)) * stays[user]
    ordered = days[np.lexsort((days, user))]
    place = np.arange(len(user)) - np.searchsorted(user, user)
    return START + (ordered * DAY).astype(np.int64) + place  # + place: never the same second twice


def _favourites(rng: np.random.Generator, users: int) -> Ints:
    """The genres that each user looks at, users x FAVOURITES."""
    return rng.random((users, len(GENRES))).argsort(axis=1)[:, :FAVOURITES]


def _tastes(rng: np.random.Generator, user: Ints, favourites: Ints) -> Ints:
    """Taste per interaction and genre: a start of -1 or +1, turned by each flip so far; 0 for what is no favourite."""
    users, shape = len(favourites), (len(user), len(GENRES))
    flips = np.cumsum(rng.random(shape) < FLIP, axis=0)
    before = flips[np.searchsorted(user, np.arange(users))]
    start = np.zeros((users, len(GENRES)), dtype=np.int64)
    np.put_along_axis(start, favourites, 2 * rng.integers(0, 2, favourites.shape) - 1, axis=1)
    return start[user] * (1 - 2 * ((flips - before[user]) % 2))


def _looks(rng: np.random.Generator, user: Ints, favourites: Ints) -> Ints:
    """The genre each interaction is about: one of its user's favourites, some more often than others."""
    upto = np.cumsum(rng.dirichlet(np.full(FAVOURITES, 4.0), len(favourites)), axis=1)
    pick = (rng.random((len(user), 1)) > upto[user, :-1]).sum(axis=1)
    return favourites[user, pick]


def _choices(rng: np.random.Generator, looks: Ints, items: Items) -> Ints:
    """An item of the wanted genre for each interaction; some items are seen more often than others."""
    item = np.empty(len(looks), dtype=np.int64)
    for genre in range(len(GENRES)):
        offered = np.flatnonzero(items.genres[:, 0] == genre)
        weight = 1 / (1 + np.arange(len(offered))) ** 0.5
        wanted = np.flatnonzero(looks == genre)
        item[wanted] = rng.choice(offered, len(wanted), p=weight / weight.sum())
    return item


def _clicks(rng: np.random.Generator, items: Items, users: int, interactions: int) -> Clicks:
    user = np.repeat(np.arange(users), _lengths(rng, users, interactions))
    timestamp = _timestamps(rng, user, users)
    favourites = _favourites(rng, users)
    item = _choices(rng, _looks(rng, user, favourites), items)
    first, second = items.genres[item].T
    tastes, row = _tastes(rng, user, favourites), np.arange(len(user))
    taste = tastes[row, first] + np.where(first == second, 0, tastes[row, second])
    chance = 1 / (1 + np.exp(-(TASTE * taste + items.quality[item])))
    probability = np.round(MISTAKE + (1 - 2 * MISTAKE) * chance, 6)
    label = (rng.random(len(user)) < probability).astype(np.int64)
    return Clicks(user, item, label, timestamp, probability)


def _write(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_items(path: Path, items: Items) -> None:
    names = list(GENRES)
    genres = [" ".join(dict.fromkeys(names[genre] for genre in pair)) for pair in items.genres]
    titles = [f"{wording} {noun}" for wording, noun in zip(items.wording, items.noun, strict=True)]
    ids = [f"i{number:04d}" for number in range(len(titles))]
    _write(path, ("item_id", "title", "genres", "brand"), zip(ids, titles, genres, items.brand, strict=True))


def _write_clicks(path: Path, clicks: Clicks) -> None:
    """As a shop would log them: in the order of time."""
    log = np.argsort(clicks.timestamp, kind="stable")
    users = [f"u{user:05d}" for user in clicks.user[log].tolist()]
    items = [f"i{item:04d}" for item in clicks.item[log].tolist()]
    numbers = (column[log].tolist() for column in (clicks.label, clicks.timestamp, clicks.probability))
    _write(path, ("user_id", "item_id", "label", "timestamp", "probability"), zip(users, items, *numbers, strict=True))


def generate(folder: Path, *, users: int, interactions: int, items: int, seed: int) -> None:
    """Write ``clicks.csv``, ``items.csv`` and ``users.csv`` into ``folder``: the same bytes for the same arguments.

    Age and region are given, but decide nothing.
    """
    rng = np.random.default_rng(seed)
    shop = _items(rng, items)
    _write_items(folder / "items.csv", shop)
    _write_clicks(folder / "clicks.csv", _clicks(rng, shop, users, interactions))
    ids = [f"u{number:05d}" for number in range(users)]
    profiles = zip(ids, rng.choice(AGES, users), rng.choice(REGIONS, users), strict=True)
    _write(folder / "users.csv", ("user_id", "age", "region"), profiles)
