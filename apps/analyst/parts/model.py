"""The pipeline that all sessions share: one model in memory, however many pages are open."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from importlib import import_module

import streamlit as st

from nlpkit.bundle import read_pack_manifest
from nlpkit.pipeline import Pipeline
from nlpkit.workspace import Model
from parts.work import workspace


def pipeline() -> Pipeline:
    """The pipeline of the workspace's model, loaded once for all sessions.

    Raises:
        BundleError, UnknownNameError: the model's files are gone or altered.
    """
    model = workspace().model()
    return _loaded(model.identity, model)


def model_name() -> str:
    """What the model is called, accepted packs included."""
    return workspace().model().name


def python_of_the_model() -> list[str]:
    """Lines of Python that make the same pipeline, called ``kit``."""
    model = workspace().model()
    lines = ["import nlpkit", "", f"kit = nlpkit.load({literal(model.bundle)})"]
    known = {*Model(model.bundle).tasks}
    for pack in model.packs:
        heads = read_pack_manifest(pack).heads
        lines += [f"kit.remove({literal(task)})" for task in heads if task in known]
        lines.append(f"kit.add({literal(str(pack))})")
        known |= {*heads}
    return lines


def literal(value: str | Sequence[str]) -> str:
    """A string or list as Python writes it, in double quotes: JSON's are the same."""
    return json.dumps(value, ensure_ascii=False)


@st.cache_resource(max_entries=1, show_spinner="Loading the model")
def _loaded(identity: str, _model: Model) -> Pipeline:
    return _model.load()


@st.cache_resource(show_spinner=False)
def warm() -> None:
    """Import displaCy behind the first page's back: spaCy takes seconds where torch is there."""
    threading.Thread(target=import_module, args=["spacy.displacy"], daemon=True).start()
