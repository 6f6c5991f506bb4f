"""infinity's side: its asynchronous engine in this process, without the server around it."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

from protocol import serve
from shapes import flat, give_shapes


class Infinity:
    """The torch engine in fp32; its scheduler sorts and batches by itself."""

    def load(self, models: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
        import torch

        if settings.get("threads"):
            torch.set_num_threads(settings["threads"])
        self.folder = models["embed"]
        self.shapes: dict[str, list[int]] = {}
        self.engines: dict[int, Any] = {}
        self.loop = asyncio.new_event_loop()
        self._engine(32)
        names = ("infinity-emb", "sentence-transformers", "transformers", "torch")
        return {"precision": "fp32", "versions": {name: version(name) for name in names}}

    def _engine(self, batch: int) -> Any:
        """One engine runs at a time: its batch size is fixed when it is made."""
        if batch not in self.engines:
            from infinity_emb import AsyncEmbeddingEngine, EngineArgs

            for engine in self.engines.values():
                self.loop.run_until_complete(engine.astop())
            engine = AsyncEmbeddingEngine.from_args(
                EngineArgs(
                    model_name_or_path=self.folder,
                    batch_size=batch,
                    engine="torch",
                    device="cpu",
                    dtype="float32",
                    bettertransformer=False,
                    compile=False,
                    model_warmup=False,
                    trust_remote_code=False,
                )
            )
            for replica in engine._model_replicas:
                give_shapes(replica.tokenizer, self.shapes)
            self.loop.run_until_complete(engine.astart())
            self.engines = {batch: engine}
        return self.engines[batch]

    def know(self, texts: list[Any], shapes: list[Any] | None) -> None:
        if shapes is not None:
            self.shapes.update(flat(texts, shapes))

    def run(self, task: str, texts: list[Any], batch: int) -> Any:
        found, _ = self.loop.run_until_complete(self._engine(batch).embed(sentences=texts))
        return found

    def run_one(self, task: str, text: Any) -> Any:
        return self.run(task, [text], 1)

    def plain(self, task: str, texts: list[Any], raw: Any) -> Any:
        import numpy as np

        return np.stack(raw)


if __name__ == "__main__":
    serve(Infinity())
