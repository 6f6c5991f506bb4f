"""OpenVINO, imported without its converters.

They tell their maker of every import, through the network, unless each user has declined, and take
much of the import's time (openvino.tools.ovc). ``openvino.convert_model``
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
    modules: dict[str, Any] = sys.modules
    modules[_CONVERTERS] = None  # "not installed" to openvino
    try:
        module: Any = importlib.import_module("openvino")
    finally:
        del modules[_CONVERTERS]
    module.__getattr__ = _later
    return module


def _later(name: str) -> Any:
    if name == "convert_model":
        return importlib.import_module(_CONVERTERS).convert_model
    raise AttributeError(f"module 'openvino' has no attribute {name!r}")


openvino = _imported()
ops = importlib.import_module("openvino.opset13")
