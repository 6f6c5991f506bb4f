"""transformers' side: its pipelines, and our own decoder on AutoModelForQuestionAnswering.

The embedding of ``analyze`` and ``embed`` is sentence-transformers', of the same environment.
"""

from __future__ import annotations

from typing import Any

from protocol import serve
from shapes import flat, give_shapes

#: Of a long text: tokens that two windows share.
STRIDE = 64
KINDS = {"ner": "token-classification"}
#: The windows of nlpkit's question answering, and the longest answer in words.
PAIR_SIZE, PAIR_OVERLAP, MAX_WORDS = 320, 96, 30
N_SHAPES = 7


class Transformers:
    """A pipeline for each task, as its manual says; ``batch`` is its batch_size."""

    def load(self, models: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
        import torch

        if settings.get("threads"):
            torch.set_num_threads(settings["threads"])
        self.shapes: dict[str, list[int]] = {}
        self.models: dict[str, Any] = {}
        self.stride = {"stride": STRIDE} if settings.get("long") else {}
        self.choice = settings.get("choice", {})
        self.dtype = torch.bfloat16 if settings["device"].startswith("cuda") else torch.float32
        for task, folder in models.items():
            self.models[task] = self._loaded(task, folder, settings["device"])
        versions = {"torch": torch.__version__}
        import transformers

        return {"versions": versions | {"transformers": transformers.__version__}}

    def _loaded(self, task: str, folder: str, device: str) -> Any:
        if task == "embed":
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(folder, device=device, model_kwargs={"dtype": self.dtype})
            give_shapes(model.tokenizer, self.shapes)
            return model
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        if task == "qa":
            return Reader(folder, tokenizer, device, self.dtype, self.shapes, self.choice)
        from transformers import pipeline

        give_shapes(tokenizer, self.shapes)
        kind = KINDS.get(task, "text-classification")
        options: dict[str, Any] = {}
        if task == "ner":
            options = {"aggregation_strategy": "first", **self.stride}
        return pipeline(
            kind, model=folder, tokenizer=tokenizer, device=device, dtype=self.dtype, **options
        )

    def know(self, texts: list[Any], shapes: list[Any] | None) -> None:
        if shapes is not None:
            self.shapes.update(flat(texts, shapes))

    def run(self, task: str, texts: list[Any], batch: int) -> Any:
        if task == "analyze":
            return {name: self.run(name, texts, batch) for name in self.models}
        if task.startswith("heads:"):
            one = next(n for n in self.models if n not in ("ner", "embed", "qa"))
            return [self.run(one, texts, batch) for _ in range(int(task.removeprefix("heads:")))]
        if task == "embed":
            return self.models[task].encode(texts, batch_size=batch)
        if task == "answer":
            return self.models["qa"].answer(texts, batch)
        return self.models[task](texts, batch_size=batch, **self._options(task))

    def run_one(self, task: str, text: Any) -> Any:
        if task in ("analyze", "embed", "answer"):
            return self.run(task, [text], 1)
        return self.models[task](text, **self._options(task))

    def _options(self, task: str) -> dict[str, Any]:
        return {} if task == "ner" else {"truncation": True}

    def plain(self, task: str, texts: list[Any], raw: Any) -> Any:
        if task == "analyze":
            return {name: self.plain(name, texts, found) for name, found in raw.items()}
        if task in ("embed", "answer"):
            return raw
        if task != "ner":
            return [found["label"] for found in raw]
        entities = [
            [[int(e["start"]), int(e["end"]), e["entity_group"]] for e in found] for found in raw
        ]
        pairs = zip(entities, self._tags(texts), strict=True)
        return [{"entities": found, "tags": tags} for found, tags in pairs]

    def _tags(self, texts: list[str]) -> list[Any]:
        """The likeliest tag of the first token of every word."""
        found = self.models["ner"](texts, aggregation_strategy="none", ignore_labels=[])
        return [
            [
                [int(e["start"]), int(e["end"]), e["entity"]]
                for e in tokens
                if not e["word"].startswith("##")
            ]
            for tokens in found
        ]


class Reader:
    """Answers from AutoModelForQuestionAnswering: windows, batches by length, spans weighed.

    ``choice`` is what :func:`chosen` is told of the bundle's head.
    """

    def __init__(
        self,
        folder: str,
        tokenizer: Any,
        device: str,
        dtype: Any,
        shapes: dict[str, list[int]],
        choice: dict[str, Any],
    ) -> None:
        from transformers import AutoModelForQuestionAnswering

        self.model = AutoModelForQuestionAnswering.from_pretrained(folder, dtype=dtype)
        self.model = self.model.to(device).eval()
        self.tokenizer, self.device, self.shapes = tokenizer, device, shapes
        self.choice = choice

    def answer(self, pairs: list[Any], batch: int) -> list[list[int] | None]:
        import torch

        encoded = self.tokenizer(
            [question for question, _ in pairs],
            [context for _, context in pairs],
            truncation="only_second",
            max_length=PAIR_SIZE,
            stride=PAIR_OVERLAP,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        origins = encoded["overflow_to_sample_mapping"]
        types = self._types(encoded, pairs, origins)
        order = sorted(range(len(origins)), key=lambda row: -len(encoded["input_ids"][row]))
        spans: list[dict[tuple[int, int], float]] = [{} for _ in pairs]
        words: list[set[int]] = [set() for _ in pairs]
        for at in range(0, len(order), batch):
            rows = order[at : at + batch]
            length = len(encoded["input_ids"][rows[0]])
            ids, kinds, mask = (torch.zeros(len(rows), length, dtype=torch.int64) for _ in range(3))
            for i, row in enumerate(rows):
                n = len(encoded["input_ids"][row])
                ids[i, :n] = torch.tensor(encoded["input_ids"][row])
                kinds[i, :n] = torch.tensor(types[row])
                mask[i, :n] = 1
            with torch.inference_mode():
                found = self.model(
                    input_ids=ids.to(self.device),
                    token_type_ids=kinds.to(self.device),
                    attention_mask=mask.to(self.device),
                )
            starts = found.start_logits.float().cpu().numpy()
            ends = found.end_logits.float().cpu().numpy()
            for i, row in enumerate(rows):
                known = spans[origins[row]]
                found, opened = self._spans(encoded.encodings[row], starts[i], ends[i])
                for score, start, end in found:
                    known[start, end] = max(score, known.get((start, end), score))
                words[origins[row]] |= opened
        return [chosen(*one, **self.choice) for one in zip(spans, words, strict=True)]

    def _types(self, encoded: Any, pairs: list[Any], origins: list[int]) -> list[list[int]]:
        if not self.shapes:
            return list(encoded["token_type_ids"])
        found, done = [], {}
        for row, origin in zip(encoded.encodings, origins, strict=True):
            question, context = (self.shapes[part] for part in pairs[origin])
            n_context = sum(1 for part in row.sequence_ids if part == 1)
            first = done.get(origin, 0)
            part = context[first : first + n_context]
            done[origin] = first + n_context - PAIR_OVERLAP
            found.append([0, *question, 0, *(N_SHAPES + shape for shape in part), N_SHAPES])
        return found

    def _spans(
        self, row: Any, starts: Any, ends: Any
    ) -> tuple[list[tuple[float, int, int]], set[int]]:
        """The best spans of whole words by the sums of their two logits; where words begin."""
        import numpy as np

        inside = np.flatnonzero([part == 1 for part in row.sequence_ids])
        if not len(inside):
            return [], set()
        bounds = np.array(row.offsets)[inside]
        # A word goes on where a token follows without a space between two letters or digits.
        opens = np.array([not row.tokens[i].startswith("##") for i in inside])
        words = np.cumsum(opens)
        first, last = starts[inside], ends[inside]
        closes = np.append(opens[1:], True)
        scores = np.where(opens, first, -np.inf)[:, None] + np.where(closes, last, -np.inf)[None]
        distance = words[None] - words[:, None]
        scores[(distance < 0) | (distance >= MAX_WORDS)] = -np.inf
        flat = scores.ravel()
        n_best = min(self.choice["n_weighed"], len(flat))
        best = np.argpartition(flat, -n_best)[-n_best:]
        pairs = [divmod(int(place), len(inside)) for place in best if np.isfinite(flat[place])]
        found = [(float(scores[i, j]), int(bounds[i][0]), int(bounds[j][1])) for i, j in pairs]
        return found, {*bounds[opens, 0].tolist()}


def chosen(
    scores: dict[tuple[int, int], float],
    words: set[int],
    *,
    n_weighed: int,
    consensus: float,
    length_cost: float,
) -> list[int] | None:
    """The span worth most of the best, as nlpkit.heads.SpanHead has it."""
    import numpy as np

    if not scores:
        return None
    spans = sorted(scores, key=lambda span: -scores[span])[:n_weighed]
    opened = np.array(sorted(words))
    first, last = (
        np.searchsorted(opened, places, side="right") - 1
        for places in ([start for start, _ in spans], [end - 1 for _, end in spans])
    )
    summed = np.array([scores[span] for span in spans]) - length_cost * (last - first)
    shares = np.exp(summed - summed.max())
    common = np.minimum(last[:, None], last) - np.maximum(first[:, None], first) + 1
    n_words = last - first + 1
    f1 = 2 * np.maximum(common, 0) / (n_words[:, None] + n_words)
    return [*spans[int(((1 - consensus) * shares + consensus * (f1 @ shares)).argmax())]]


if __name__ == "__main__":
    serve(Transformers())
