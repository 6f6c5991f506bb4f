"""What a side of ``nlpkit bench`` speaks: JSON, a line asked, a line answered.

A side is a process that does what the others do, on the same texts: nlpkit, or a peer in an
environment of its own. This module and the sides need no nlpkit (but nlpkit's own).

    {"do": "load", "models": {"ner": FOLDER}, "settings": {"device": "cpu"}}   -> {"facts": {...}}
    {"do": "run", "task": "ner", "texts": FILE, "n": 1024, "batch": 32}        -> {"seconds": [..]}
    {"do": "memory"}                                  -> {"resident": .., "private": .., "peak": ..}
    {"do": "quit"}

``run`` may also ask for ``"each": true`` (one call for each text, and its seconds) and for
``"keep": STEM``: the outputs of the last call, of all texts together, go to STEM.json, vectors to
STEM.npy. What a side cannot do is answered with ``{"error": WHY}``. Reading the texts and writing
the outputs is not in the seconds.

A file of texts is ``{"texts": [..], "shapes": [..]}``. A text is a string, or a pair (question,
context). ``shapes`` are the word shapes of its tokens, without special ones, that base-en's
backbone reads as token types (null where the backbone reads none). They are there for free, which
favours the peers: nlpkit takes the time to find them.

Outputs by task, a list with one entry a text (``embed``: an array of vectors):

    ner        {"entities": [[start, end, label], ..], "tags": [[start, end, tag], ..]}, the tags
               of every word as the model has them, before a decoder repairs what is not legal
    answer     [start, end] or null
    analyze    an object of lists by task
    others     the first label
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any, Protocol


class Side(Protocol):
    """One library; ``run`` and ``run_one`` are what is timed."""

    def load(self, models: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
        """Get ready for the tasks of ``models``; returns what it runs with."""
        ...

    def know(self, texts: list[Any], shapes: list[Any] | None) -> None:
        """The texts to come, with their word shapes."""
        ...

    def run(self, task: str, texts: list[Any], batch: int) -> Any: ...

    def run_one(self, task: str, text: Any) -> Any: ...

    def plain(self, task: str, texts: list[Any], raw: Any) -> Any:
        """What ``run`` gave for the texts, in the form that all sides share."""
        ...


def serve(side: Side) -> None:
    """Answer until told to quit."""
    asked, answered = sys.stdin, os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    known: dict[str, list[Any]] = {}
    for line in asked:
        request = json.loads(line)
        if request["do"] == "quit":
            break
        try:
            answer = _answer(side, request, known)
        except Exception as error:  # whatever a library raises is this side's answer
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answered, flush=True)


def _answer(side: Side, request: dict[str, Any], known: dict[str, list[Any]]) -> dict[str, Any]:
    if request["do"] == "load":
        return {"facts": side.load(request["models"], request["settings"])}
    if request["do"] == "memory":
        return memory()
    if request["texts"] not in known:
        content = json.loads(Path(request["texts"]).read_text(encoding="utf-8"))
        known[request["texts"]] = content["texts"]
        side.know(content["texts"], content["shapes"])
    texts, task = known[request["texts"]][: request["n"]], request["task"]
    seconds, raw = [], None
    for part in texts if request.get("each") else [texts]:
        began = time.perf_counter()
        if request.get("each"):
            raw = side.run_one(task, part)
        else:
            raw = side.run(task, part, request["batch"])
        seconds.append(time.perf_counter() - began)
    if request.get("keep"):
        _keep(side.plain(task, texts, raw), request["keep"])
    return {"seconds": seconds}


def _keep(outputs: Any, stem: str) -> None:
    if hasattr(outputs, "shape"):
        outputs = {"embed": outputs}
    vectors = outputs.pop("embed", None) if isinstance(outputs, dict) else None
    if vectors is not None:
        import numpy as np

        np.save(f"{stem}.npy", np.asarray(vectors, dtype=np.float32))
    Path(f"{stem}.json").write_text(json.dumps(outputs), encoding="utf-8")


def memory() -> dict[str, int]:
    """Bytes of this process: resident, private (nothing else holds it), and the most there was."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux: only the peak is told
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return {"resident": peak, "private": peak, "peak": peak}
    told = {name: value for name, _, value in (line.partition(":") for line in lines)}
    names = {"resident": "VmRSS", "private": "RssAnon", "peak": "VmHWM"}
    return {ours: 1024 * int(told[theirs].split()[0]) for ours, theirs in names.items()}
