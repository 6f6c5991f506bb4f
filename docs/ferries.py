"""Texts for the pictures of the app, all made up: guests of a ferry line, a harbour's archive."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Mapping, Sequence
from datetime import date, timedelta

PRAISE = (
    "The crew were wonderful, and {person} at the desk in {town} found our lost bag.",
    "We loved the breakfast on the way to {town}. Best buffet on the Baltic!",
    "Smooth crossing from {town}, clean cabin, friendly people. We will be back.",
    "My children still talk about {person}, who showed them the bridge.",
    "Skerry Line was on time to the minute. What a difference from {rival}!",
    "A beautiful evening on deck with a view of {town}. Thank you, {person}!",
    "The new ship is lovely: quiet, bright, and good coffee for once.",
    "Boarding in {town} took five minutes. I am impressed.",
)
REPORTS = (
    "We sailed from {town} to {other} overnight with two children and a dog.",
    "Booked through {rival}, as Skerry Line had no cabins left in July.",
    "The ship leaves {town} at half past eight and is in {other} the next morning.",
    "I travel to {town} every month for work and take the same cabin each time.",
    "The shop on board sells sweets, perfume and souvenirs from {town}.",
    "Parking in {town} is behind the terminal. The code comes by mail.",
)
COMPLAINTS = (
    "We waited two hours in {town} and nobody told us why.",
    "Cold food, rude staff and a cabin that had not been cleaned. Never again.",
    "{person} promised us a refund in March. It is autumn now and we are still waiting.",
    "The crossing to {town} was cancelled an hour before, and the hotel was ours to pay.",
    "The heating was broken all the way from {town}. {rival} would have given us a cabin.",
    "Our car was scratched on the deck, and Skerry Line does not answer our letters.",
    "The queue in {town} was a disgrace, with one desk open for the whole ship.",
)
TOWNS = ("Turku", "Stockholm", "Tallinn", "Visby", "Mariehamn", "Helsinki", "Riga", "Gdansk")
PEOPLE = ("Karin", "Captain Holm", "Maria Lindqvist", "Juhani", "Signe Berg", "Pavel")
RIVALS = ("Balticus", "Nordhav Ferries")
#: Each month's chance of praise and of a complaint: the storms come in October.
MOODS = {5: (0.6, 0.2), 6: (0.65, 0.15), 7: (0.55, 0.25), 8: (0.5, 0.25), 9: (0.4, 0.4)}
STORMS = (0.2, 0.65)

#: What happened, told without a word of blame. People know that it is a complaint.
DRY = (
    "The ferry left {town} at {hour} instead of eight.",
    "The lift in {town} has been out of order since {month}.",
    "Dinner was served at {hour}, and there was soup left.",
    "We asked for a window and got a cabin below the car deck from {town}.",
    "Our bags came to {town} on the next ship, in {month}.",
    "The answer to my letter from {month} came today.",
)
HOURS = ("nine", "ten", "half past ten", "eleven", "midnight")
MONTHS = ("March", "April", "May", "June", "July")

ARCHIVE = (
    (
        "The lighthouse on Grey Skerry",
        1874,
        "Building",
        "The lighthouse on Grey Skerry was lit for the first time on 3 October 1874. It was "
        "designed by the engineer Axel Nordblad, who had studied the towers of Brittany, and built "
        "of granite from the quarries of Vehmaa. Its lamp burned rape oil until 1906. On a clear "
        "night it was seen from a distance of nineteen sea miles.",
    ),
    (
        "The keepers and their families",
        1891,
        "People",
        "Three keepers lived on the island with their families, eighteen people in all. Ida "
        "Salmela taught the children in the kitchen of the lower house. Fresh water was collected "
        "from the roofs, and in hard winters the mail came over the ice by sledge.",
    ),
    (
        "The first steam ferry",
        1898,
        "Ships",
        "The paddle steamer Alli carried passengers and butter between the harbour and the "
        "mainland from 1898. She was built in Turku, made nine knots and had a salon for thirty "
        "guests. Her engineer, Viktor Ahlroos, kept a diary that the archive still holds.",
    ),
    (
        "Electric light in the harbour",
        1912,
        "Building",
        "In 1912 the town council paid for forty electric lamps along the quay. The dynamo stood "
        "in the cellar of the customs house and was driven by a kerosene engine. It stopped at "
        "eleven in the evening, except on market days.",
    ),
    (
        "The storm of 1923",
        1923,
        "Weather",
        "On the night of 14 January 1923 a storm from the south west tore away the outer mole. "
        "Four fishing boats were lost; their crews were brought ashore by the pilots under Emil "
        "Tuominen. The repair took two summers and cost more than the mole had cost at first.",
    ),
    (
        "Herring",
        1931,
        "Trade",
        "The herring market was held each October. In its best year, 1931, two hundred boats came "
        "to the quay, and salted fish was sold to Tallinn, Stockholm and Lübeck. Black bread with "
        "malt, baked for the long way home, is made after the same recipe today.",
    ),
    (
        "The radio beacon",
        1937,
        "Building",
        "A radio beacon on the lighthouse helped ships in fog from 1937 on. Its signal, two long "
        "strokes and a short one, was heard as far as Gotland. It was switched off in 1992.",
    ),
    (
        "The last keeper",
        1969,
        "People",
        "When the lamp was made automatic in 1969, the last keeper, Elof Sundqvist, moved to the "
        "mainland with his wife and eleven sheep. He came back each summer to paint the door.",
    ),
    (
        "A museum in the customs house",
        1986,
        "Building",
        "The customs house had stood empty for ten years when a club of former sailors opened a "
        "museum there in 1986. It shows ship models, the engine of the steamer Alli and the old "
        "lens of the lighthouse. It is open from May to September.",
    ),
    (
        "Seals",
        2004,
        "Nature",
        "Grey seals returned to the outer skerries around 2004. The ringed seal, which needs ice "
        "to raise its young, is seen less and less. Landing on the islands is forbidden from "
        "February to July.",
    ),
    (
        "Wind turbines",
        2019,
        "Building",
        "Six wind turbines were put up north of the harbour in 2019. They stand on piles driven "
        "twenty metres into the clay and supply the town and its ferry with electricity.",
    ),
)


def reviews(n: int = 600, seed: int = 7) -> bytes:
    """A table of what guests wrote from May to October, two rows without a text among them."""
    chance = random.Random(seed)
    rows = []
    for number in range(1, n + 1):
        day = date(2025, 5, 1) + timedelta(days=chance.randrange(184))
        good, bad = MOODS.get(day.month, STORMS)
        [parts] = chance.choices((PRAISE, COMPLAINTS, REPORTS), (good, bad, 1 - good - bad))
        said = chance.sample(parts, chance.choice((1, 1, 2)))
        rows.append(
            {
                "id": f"R{number:04}",
                "review": " ".join(filled(part, chance) for part in said),
                "day": day.isoformat(),
                "travelled with": chance.choice(("family", "friends", "car", "nobody")),
            }
        )
    for row in (rows[120], rows[401]):
        row["review"] = ""
    return as_csv(rows)


def judged(n: int = 90, seed: int = 3) -> list[tuple[str, str]]:
    """Different short texts with the class of sentiment that a person gives them."""
    chance = random.Random(seed)
    kinds = (("negative", DRY), ("negative", DRY), ("neutral", REPORTS), ("positive", PRAISE))
    found: dict[str, str] = {}
    while len(found) < n:
        label, parts = chance.choice(kinds)
        found[filled(chance.choice(parts), chance)] = label
    return list(found.items())


def archive() -> bytes:
    """A table of documents with a title, a year and a subject."""
    fields = ("title", "year", "subject", "text")
    return as_csv([dict(zip(fields, row, strict=True)) for row in ARCHIVE])


def filled(text: str, chance: random.Random) -> str:
    """A text with names put in."""
    town, other = chance.sample(TOWNS, 2)
    return text.format(
        town=town,
        other=other,
        person=chance.choice(PEOPLE),
        rival=chance.choice(RIVALS),
        hour=chance.choice(HOURS),
        month=chance.choice(MONTHS),
    )


def as_csv(rows: Sequence[Mapping[str, object]]) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()
