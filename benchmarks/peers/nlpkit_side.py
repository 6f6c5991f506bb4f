"""nlpkit's side of ``nlpkit bench``: the public pipeline, nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from protocol import serve

#: Heads of the task ``heads``: copies of a classification head, with names of their own.
COPIES = "copy"


class Nlpkit:
    """``models`` names the tasks alone: they are all in the one bundle of ``settings``."""

    def load(self, models: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
        import nlpkit

        self.kit = nlpkit.load(settings["model"], settings["device"], settings["precision"])
        return {"engine": self.kit.engine.name, "precision": self.kit.precision}

    def know(self, texts: list[Any], shapes: list[Any] | None) -> None:
        """It looks for the shapes itself, in the time that is taken."""

    def run(self, task: str, texts: list[Any], batch: int) -> Any:
        if task == "ner":
            return self.kit.ner(texts)
        if task == "embed":
            return self.kit.embed(texts)
        if task == "analyze":
            return self.kit.analyze(texts)
        if task == "answer":
            return self.kit.answer(texts, no_answer=False)
        if task.startswith("heads:"):
            names = self._copies(int(task.removeprefix("heads:")))
            return self.many.analyze(texts, names)
        return self.kit.classify(texts, task=task)

    def run_one(self, task: str, text: Any) -> Any:
        return self.run(task, text if isinstance(text, str) else [text], 1)

    def plain(self, task: str, texts: list[Any], raw: Any) -> Any:
        if task == "ner":
            entities = [[[e.start, e.end, e.label] for e in found] for found in raw]
            pairs = zip(entities, self._tags(texts), strict=True)
            return [{"entities": found, "tags": tags} for found, tags in pairs]
        if task == "embed":
            return raw
        if task == "answer":
            return [[a.start, a.end] if a else None for a in raw]
        if task == "analyze":
            import numpy as np

            classes = raw[0].labels
            return {
                "ner": self.plain("ner", texts, [one.entities for one in raw]),
                **{name: [one.labels[name][0].name for one in raw] for name in classes},
                "embed": np.stack([one.embedding for one in raw]),
            }
        return [found[0].name if found else None for found in raw]

    def _tags(self, texts: list[str]) -> Any:
        """The likeliest tag of every word, legal or not."""
        from nlpkit.heads.token import TokenHead, join_owned
        from nlpkit.text import words_of

        class Tags(TokenHead):
            def decode(self, logits: Any, reading: Any) -> Any:
                words = words_of(reading.encoded)
                if not len(words):
                    return []
                best = join_owned(logits, reading)[words.firsts].argmax(axis=1)
                places = zip(words.starts.tolist(), words.ends.tolist(), best, strict=True)
                return [[start, end, self.labels[tag]] for start, end, tag in places]

        head = Tags(**self.kit.head("ner").head.config())
        return self.kit.with_head("ner", head).apply(texts, "ner")

    def _copies(self, n: int) -> list[str]:
        """The names of so many classification heads, plugged into the same engine."""
        from nlpkit.pipeline import Pipeline

        names = [f"{COPIES}{i}" for i in range(n)]
        if getattr(self, "many", None) is None or not set(names) <= self.many.tasks.keys():
            kit = self.kit
            like = next(n for n, k in kit.tasks.items() if k == "sequence-classification")
            heads = {name: replace(kit.head(like)) for name in names}
            self.many = Pipeline(
                kit.encoder, kit.engine, heads, sizes=kit.sizes, token_budget=kit.token_budget
            )
        return names


if __name__ == "__main__":
    serve(Nlpkit())
