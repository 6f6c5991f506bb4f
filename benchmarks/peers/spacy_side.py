"""spaCy's side: spacy-transformers on our weights, and a tagger whose last layer is our head."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from protocol import serve
from shapes import flat, give_shapes

#: Our pooling of a token's wordpieces, by the name it is registered under.
FIRST = "first_or_zeros"


class Spacy:
    """``nlp.pipe`` over a blank English pipeline; a token's tag is that of its first wordpiece."""

    def load(self, models: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
        import spacy
        import torch
        from safetensors.numpy import load_file
        from spacy.training import Example

        if settings.get("threads"):
            torch.set_num_threads(settings["threads"])
        folder = models["ner"]
        if settings.get("long"):
            raise ValueError("the windows of its long texts cannot be given our word shapes")
        spacy.registry.layers(FIRST, func=_first_or_zeros)
        self.nlp = spacy.blank("en")
        transformer = self.nlp.add_pipe(
            "transformer",
            config={
                "model": {
                    "@architectures": "spacy-transformers.TransformerModel.v3",
                    "name": folder,
                    "get_spans": {"@span_getters": "spacy-transformers.doc_spans.v1"},
                    "tokenizer_config": {"use_fast": True},
                }
            },
        )
        listener = "spacy-transformers.TransformerListener.v1"
        tagger = self.nlp.add_pipe(
            "tagger",
            config={
                "model": {
                    "@architectures": "spacy.Tagger.v2",
                    "tok2vec": {
                        "@architectures": listener,
                        "grad_factor": 1.0,
                        "pooling": {"@layers": FIRST},
                    },
                }
            },
        )
        from transformers import AutoConfig

        labels = AutoConfig.from_pretrained(folder).id2label
        for i in range(len(labels)):
            tagger.add_label(labels[i])
        example = Example.from_dict(self.nlp.make_doc("Begin"), {"tags": [labels[0]]})
        self.nlp.initialize(lambda: [example])
        order = [list(labels.values()).index(label) for label in tagger.labels]
        tensors = load_file(str(Path(folder) / "model.safetensors"))
        last = tagger.model.get_ref("output_layer")
        last.set_param("W", tensors["classifier.weight"][order])
        last.set_param("b", tensors["classifier.bias"][order])
        self.shapes: dict[str, list[int]] = {}
        give_shapes(transformer.model.tokenizer, self.shapes)
        names = ("spacy", "spacy-transformers", "transformers", "torch")
        return {"precision": "fp32", "versions": {name: version(name) for name in names}}

    def know(self, texts: list[Any], shapes: list[Any] | None) -> None:
        if shapes is not None:
            self.shapes.update(flat(texts, shapes))

    def run(self, task: str, texts: list[Any], batch: int) -> Any:
        return list(self.nlp.pipe(texts, batch_size=batch))

    def run_one(self, task: str, text: Any) -> Any:
        return self.nlp(text)

    def plain(self, task: str, texts: list[Any], raw: Any) -> Any:
        return [{"entities": _entities(doc), "tags": _tags(doc)} for doc in raw]


def _first_or_zeros() -> Any:
    """thinc's reduce_first, for tokens without a wordpiece (white space) too, where it breaks."""
    import numpy as np
    from thinc.api import Model

    def forward(model: Any, tokens: Any, is_train: bool) -> Any:
        firsts = np.cumsum(tokens.lengths) - tokens.lengths
        pooled = tokens.dataXd[np.minimum(firsts, len(tokens.dataXd) - 1)]
        pooled[tokens.lengths == 0] = 0
        return pooled, lambda gradient: gradient  # nobody trains here

    return Model(FIRST, forward)


def _tags(doc: Any) -> list[Any]:
    return [[t.idx, t.idx + len(t), t.tag_] for t in doc if not t.is_space]


def _entities(doc: Any) -> list[Any]:
    """Neighbours of one label, as the tags stand."""
    found: list[Any] = []
    before = "O"
    for start, end, tag in _tags(doc):
        kind = tag[2:]
        if tag != "O" and found and before[2:] == kind and not tag.startswith("B-"):
            found[-1][1] = end
        elif tag != "O":
            found.append([start, end, kind])
        before = tag
    return found


if __name__ == "__main__":
    serve(Spacy())
