"""What peers need of our models beside the weights: word shapes, and the embedding's last matrix.

base-en reads word shapes as token types. Here a tokenizer of transformers looks them up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def flat(texts: list[Any], shapes: list[Any]) -> dict[str, list[int]]:
    """The shapes by string; of a pair both strings have some."""
    found: dict[str, list[int]] = {}
    for text, shape in zip(texts, shapes, strict=True):
        if isinstance(text, str):
            found[text] = shape
        else:
            found.update(zip(text, shape, strict=True))
    return found


def give_shapes(tokenizer: Any, shapes: dict[str, list[int]]) -> None:
    """Make ``tokenizer(text)`` return the shapes in ``shapes`` as token types.

    ``shapes`` may be filled later. The tokenizer is changed; a class of its own under the old name
    keeps what looks at its type. With ``stride`` a row's place follows from the rows before it.
    """
    usual = type(tokenizer)

    def call(self: Any, text: Any = None, text_pair: Any = None, **options: Any) -> Any:
        encoding = usual.__call__(self, text, text_pair, **options)
        old = encoding.get("token_type_ids") if shapes else None
        if old is None:
            return encoding
        given = [text] if isinstance(text, str) else text
        origins = encoding.get("overflow_to_sample_mapping")
        places = range(len(given)) if origins is None else [int(i) for i in origins]
        rows = [old] if isinstance(old, list) and isinstance(old[0], int) else old
        done: dict[int, int] = {}
        for row, place in zip(rows, places, strict=True):
            known = shapes[given[place]]
            first = done.get(place, 0)
            room = len(row) - 2  # without the special tokens at both ends
            part = known[first : first + room]
            tensor = hasattr(row, "new_tensor")
            row[1 : 1 + len(part)] = row.new_tensor(part) if tensor else part
            done[place] = first + room - options.get("stride", 0)
        return encoding

    tokenizer.__class__ = type(usual.__name__, (usual,), {"__call__": call})


def projected(vectors: Any, folder: str) -> Any:
    """Vectors of a library that pools, but has no place for the matrix that follows in our model.

    The product is made after the time was taken, which favours the library.
    """
    import numpy as np

    file = Path(folder) / "2_Dense" / "model.safetensors"
    if not file.is_file():
        return vectors
    content = file.read_bytes()
    header = int.from_bytes(content[:8], "little")  # of safetensors: its length, JSON, the numbers
    told = json.loads(content[8 : 8 + header])["linear.weight"]
    first, last = told["data_offsets"]
    matrix = np.frombuffer(content[8 + header + first : 8 + header + last], dtype=np.float32)
    made = np.asarray(vectors, dtype=np.float32) @ matrix.reshape(told["shape"]).T
    return made / np.linalg.norm(made, axis=1, keepdims=True)
