"""txtai's side of ``nlpkit bench``: its embeddings and its entity pipeline, on our weights."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from protocol import serve
from shapes import flat, give_shapes, projected


class Txtai:
    """Embeddings pool by the mean; entities come without their places, which nlpkit has to find.

    For the comparison of outputs they are asked for once more, of the pipeline inside.
    """

    def load(self, models: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
        if settings.get("long"):
            raise ValueError("it cuts a long text and reads only its beginning")
        self.models = models
        self.shapes: dict[str, list[int]] = {}
        if "embed" in models:
            from txtai import Embeddings

            self.index = Embeddings(path=models["embed"], method="transformers", gpu=False)
            self.index.batchtransform(["a text to warm up with"])
            give_shapes(self.index.model.model.tokenizer, self.shapes)
        if "ner" in models:
            from txtai.pipeline import Entity

            self.entity = Entity(models["ner"], gpu=False)
            give_shapes(self.entity.pipeline.tokenizer, self.shapes)
        names = ("txtai", "transformers", "torch")
        return {"precision": "fp32", "versions": {name: version(name) for name in names}}

    def know(self, texts: list[Any], shapes: list[Any] | None) -> None:
        if shapes is not None:
            self.shapes.update(flat(texts, shapes))

    def run(self, task: str, texts: list[Any], batch: int) -> Any:
        if task == "embed":
            self.index.model.encodebatch = batch
            return self.index.batchtransform(texts)
        self.entity.pipeline._batch_size = batch  # its own call has no place for it
        return self.entity(texts, aggregate="first")

    def run_one(self, task: str, text: Any) -> Any:
        return (
            self.run(task, [text], 1) if task == "embed" else self.entity(text, aggregate="first")
        )

    def plain(self, task: str, texts: list[Any], raw: Any) -> Any:
        if task == "embed":
            return projected(raw, self.models["embed"])
        pipeline = self.entity.pipeline
        found = pipeline(texts, aggregation_strategy="first")
        tokens = pipeline(texts, aggregation_strategy="none", ignore_labels=[])
        return [
            {
                "entities": [[int(e["start"]), int(e["end"]), e["entity_group"]] for e in entities],
                "tags": [
                    [int(t["start"]), int(t["end"]), t["entity"]]
                    for t in one
                    if not t["word"].startswith("##")
                ],
            }
            for entities, one in zip(found, tokens, strict=True)
        ]


if __name__ == "__main__":
    serve(Txtai())
