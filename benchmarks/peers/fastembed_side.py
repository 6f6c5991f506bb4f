"""fastembed's side: our weights as an ONNX file, read by its own pooling model."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from protocol import serve
from shapes import flat, projected

NAME = "nlpkit/exported"


class Fastembed:
    """Mean pooling, fp32; the file is made by sentence-transformers, of the same environment."""

    def load(self, models: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
        self.folder = models["embed"]
        made = self._onnx(Path(self.folder))
        from fastembed import TextEmbedding
        from fastembed.common.model_description import ModelSource, PoolingType

        TextEmbedding.add_custom_model(
            NAME,
            pooling=PoolingType.MEAN,
            normalization=True,
            sources=ModelSource(hf=NAME),
            dim=384,
        )
        self.model = TextEmbedding(
            NAME, specific_model_path=str(made), threads=settings.get("threads")
        )
        self.shapes: dict[str, list[int]] = {}
        self._give_shapes(self.model.model)
        names = ("fastembed", "onnxruntime")
        return {"precision": "fp32", "versions": {name: version(name) for name in names}}

    def _onnx(self, folder: Path) -> Path:
        made = folder.with_name(f"{folder.name}-onnx")
        if not (made / "onnx" / "model.onnx").is_file():
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(
                str(folder),
                backend="onnx",
                device="cpu",
                model_kwargs={"provider": "CPUExecutionProvider"},
            )
            model.save_pretrained(str(made))
        return made

    def _give_shapes(self, model: Any) -> None:
        """Its token types are zeros; ours are looked up by the texts of each batch."""
        tokenize, prepare = model.tokenize, model._preprocess_onnx_input
        batch: list[str] = []

        def remember(documents: list[str], **options: Any) -> Any:
            batch[:] = documents
            return tokenize(documents, **options)

        def with_shapes(given: dict[str, Any], **options: Any) -> Any:
            if self.shapes:
                for row, text in zip(given["token_type_ids"], batch, strict=True):
                    part = self.shapes[text][: len(row) - 2]
                    row[1 : 1 + len(part)] = part
            return prepare(given, **options)

        model.tokenize, model._preprocess_onnx_input = remember, with_shapes

    def know(self, texts: list[Any], shapes: list[Any] | None) -> None:
        if shapes is not None:
            self.shapes.update(flat(texts, shapes))

    def run(self, task: str, texts: list[Any], batch: int) -> Any:
        return list(self.model.embed(texts, batch_size=batch))

    def run_one(self, task: str, text: Any) -> Any:
        return self.run(task, [text], 1)

    def plain(self, task: str, texts: list[Any], raw: Any) -> Any:
        return projected(raw, self.folder)


if __name__ == "__main__":
    serve(Fastembed())
