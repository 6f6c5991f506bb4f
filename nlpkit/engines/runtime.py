"""OpenVINO, imported without its converters.

They tell their maker of every import, through the network, unless each user has declined, and take
more than half of the import's time (openvino.tools.ovc, 2023 to 2026). ``openvino.convert_model``
is still there for whoever asks for it: the converters are imported then.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

_CONVERTERS = "openvino.tools.ovc"


def _imported() -> Any:
    if "openvino" in sys.modules:  # by somebody else, with all that it does
        return sys.modules["openvino"]
    sys.modules[_CONVERTERS] = None  # type: ignore[assignment]  # "not installed" to openvino
    try:
        module = importlib.import_module("openvino")
    finally:
        del sys.modules[_CONVERTERS]
    module.__getattr__ = _later  # type: ignore[method-assign]
    return module


def _later(name: str) -> Any:
    if name == "convert_model":
        return importlib.import_module(_CONVERTERS).convert_model
    raise AttributeError(f"module 'openvino' has no attribute {name!r}")


openvino = _imported()
ops = importlib.import_module("openvino.opset13")
