"""nlpkit: one small BERT backbone, many answers.

>>> import nlpkit
>>> nlpkit.ner("Ada Lovelace lived in London.")
>>> nlpkit.classify("Great phone, poor battery.")
>>> nlpkit.answer("Who lived in London?", "Ada Lovelace lived in London.")
>>> nlpkit.embed("engines that fly")
>>> nlpkit.analyze("Ada Lovelace lived in London.")
>>> nlpkit.explain("Great phone, poor battery.")

The functions use the bundle ``base-en``, which is inside the package; :func:`load` makes a
pipeline of another bundle, checkpoint or device. Importing this module imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nlpkit.errors import NlpkitError, NlpkitWarning
from nlpkit.types import Analysis, Answer, Document, Entity, Hit, Label, Results, WordWeight

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nlpkit.index import Index
    from nlpkit.pipeline import Pipeline

__all__ = [
    "Analysis",
    "Answer",
    "Document",
    "Entity",
    "Hit",
    "Label",
    "NlpkitError",
    "NlpkitWarning",
    "Results",
    "WordWeight",
    "analyze",
    "answer",
    "classify",
    "embed",
    "explain",
    "load",
    "ner",
    "open_index",
    "semantic_search",
]


def load(name: str | Path = "base-en", device: str = "auto", precision: str = "auto") -> Pipeline:
    """A pipeline by a bundle's name or folder, a transformers checkpoint's folder, or a hub id."""
    from nlpkit.loading import load as load_pipeline

    return load_pipeline(name, device, precision)


def ner(texts: Any) -> Any:
    """Named entities: see :meth:`nlpkit.pipeline.Pipeline.ner`."""
    return _default().ner(texts)


def classify(
    texts: Any,
    task: str | None = None,
    *,
    labels: Sequence[str] | None = None,
    template: str | None = None,
) -> Any:
    """Labels, best first: see :meth:`nlpkit.pipeline.Pipeline.classify`."""
    return _default().classify(texts, task, labels=labels, template=template)


def answer(
    question: Any,
    context: str | None = None,
    *,
    no_answer: bool = True,
    n_best: int = 1,
    max_answer_length: int = 30,
) -> Any:
    """A quotation that answers: see :meth:`nlpkit.pipeline.Pipeline.answer`."""
    return _default().answer(
        question,
        context,
        no_answer=no_answer,
        n_best=n_best,
        max_answer_length=max_answer_length,
    )


def embed(texts: Any) -> Any:
    """Embeddings of unit length: see :meth:`nlpkit.pipeline.Pipeline.embed`."""
    return _default().embed(texts)


def analyze(texts: Any) -> Any:
    """Everything in one pass: see :meth:`nlpkit.pipeline.Pipeline.analyze`."""
    return _default().analyze(texts)


def explain(texts: Any, task: str | None = None, label: str | None = None) -> Any:
    """Which words carried a class: see :meth:`nlpkit.pipeline.Pipeline.explain`."""
    return _default().explain(texts, task, label)


def semantic_search(queries: Any, texts: Sequence[str], k: int = 10) -> Any:
    """The ``k`` texts nearest in meaning: see :func:`nlpkit.search.semantic_search`."""
    from nlpkit.search import semantic_search as search

    return search(_default(), queries, texts, k)


def open_index(path: str | Path, model: Any = None, **options: Any) -> Index:
    """The index in a folder, made where absent: see :func:`nlpkit.index.open_index`."""
    from nlpkit.index import open_index as open_there

    return open_there(path, model, **options)


def _default() -> Pipeline:
    from nlpkit.loading import default_pipeline

    return default_pipeline()


def __getattr__(name: str) -> str:
    if name == "__version__":
        from nlpkit.version import library_version

        return library_version()
    raise AttributeError(f"module 'nlpkit' has no attribute {name!r}")
