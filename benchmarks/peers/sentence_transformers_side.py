"""sentence-transformers' side: torch, its own OpenVINO int8, its own ONNX int8."""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from protocol import serve
from shapes import flat, give_shapes

#: What its documentation names for a processor, the best first; by a flag of /proc/cpuinfo.
ONNX_CONFIGURATIONS = {"avx512_vnni": "avx512_vnni", "avx512f": "avx512", "avx2": "avx2"}
PACKAGES = ("sentence-transformers", "transformers", "torch", "openvino", "nncf", "onnxruntime")


class SentenceTransformers:
    """``encode`` with the batch size that is asked for; int8 models are made where they lack."""

    def load(self, models: dict[str, str], settings: dict[str, Any]) -> dict[str, Any]:
        import torch

        if settings.get("threads"):
            torch.set_num_threads(settings["threads"])
        self.shapes: dict[str, list[int]] = {}
        folder, backend = Path(models["embed"]), settings["backend"]
        if backend == "torch":
            cuda = settings["device"].startswith("cuda")
            options = {"dtype": torch.bfloat16 if cuda else torch.float32}
            self.model = self._loaded(folder, device=settings["device"], model_kwargs=options)
            precision = "bf16" if cuda else "fp32"
        else:
            folder = self._quantised(folder, backend, settings.get("calibration"))
            kind = "xml" if backend == "openvino" else "onnx"
            file = next((folder / backend).glob(f"*qint8*.{kind}"))
            options = {"file_name": f"{backend}/{file.name}"}
            if backend == "onnx":
                options["provider"] = "CPUExecutionProvider"
            self.model = self._loaded(folder, backend=backend, device="cpu", model_kwargs=options)
            precision = "int8"
        return {"precision": precision, "versions": _versions()}

    def _loaded(self, folder: Path, **options: Any) -> Any:
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(folder), **options)
        give_shapes(model.tokenizer, self.shapes)
        return model

    def _quantised(self, folder: Path, backend: str, calibration: str | None) -> Path:
        """A copy of the folder with the int8 model that its own function makes."""
        import sentence_transformers as library

        calibrated = Path(calibration).read_bytes() if calibration else b""
        mark = hashlib.sha256(calibrated).hexdigest()[:8]
        made = folder.with_name(f"{folder.name}-{backend}-int8-{mark}")
        if any((made / backend).glob("*qint8*")):
            return made
        model = self._loaded(folder, backend=backend, device="cpu")
        model.save_pretrained(str(made))
        if backend == "onnx":
            library.export_dynamic_quantized_onnx_model(model, _onnx_configuration(), str(made))
            return made
        texts = json.loads(calibrated)
        if texts["shapes"] is not None:
            self.know(texts["texts"], texts["shapes"])
        with tempfile.TemporaryDirectory() as data:
            rows = "".join(json.dumps({"sentence": text}) + "\n" for text in texts["texts"])
            (Path(data) / "train.jsonl").write_text(rows, encoding="utf-8")
            library.export_static_quantized_openvino_model(
                model,
                None,
                str(made),
                dataset_name=data,
                dataset_config_name="default",
                dataset_split="train",
                column_name="sentence",
            )
        return made

    def know(self, texts: list[Any], shapes: list[Any] | None) -> None:
        if shapes is not None:
            self.shapes.update(flat(texts, shapes))

    def run(self, task: str, texts: list[Any], batch: int) -> Any:
        return self.model.encode(texts, batch_size=batch)

    def run_one(self, task: str, text: Any) -> Any:
        return self.model.encode([text], batch_size=1)

    def plain(self, task: str, texts: list[Any], raw: Any) -> Any:
        return raw


def _onnx_configuration() -> str:
    if platform.machine() in ("arm64", "aarch64"):
        return "arm64"
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return next(name for flag, name in ONNX_CONFIGURATIONS.items() if flag in flags)


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except ImportError:  # PackageNotFoundError is one
            continue
    return found


if __name__ == "__main__":
    serve(SentenceTransformers())
