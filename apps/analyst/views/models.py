"""Models: the bundles and packs at hand, what is known of them, and which of them is in use."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from nlpkit.bundle import PackManifest, bundles, read_manifest, read_pack_manifest
from nlpkit.card import read_card
from nlpkit.errors import BundleError, InputError, NlpkitError
from nlpkit.heads import PoolingHead, SequenceHead, SpanHead, TokenHead
from nlpkit.workspace import Model
from nlpkit.workspace.trainings import ACCEPTED
from parts import cards, errors, jobs
from parts.safe import plain, visible
from parts.table import figures
from parts.users import owner
from parts.words import counted
from parts.work import workspace

#: Kinds of heads in words.
KINDS = {
    TokenHead.kind: "entities",
    SequenceHead.kind: "classes",
    SpanHead.kind: "answers to questions",
    PoolingHead.kind: "embeddings for search",
}
#: Labels that a table shows of a head.
SHOWN_LABELS = 12

# What the session keeps: folders that were typed, the bundle to choose next, words to be said once.
TYPED_BUNDLES, TYPED_PACKS = "models-typed-bundles", "models-typed-packs"
NEXT, SAID = "models-next", "models-said"


def page() -> None:
    st.title("Models")
    st.text("Which model reads your texts, what else is at hand, and what is known of each.")
    cards.style()
    if SAID in st.session_state:
        st.success(plain(st.session_state.pop(SAID)), icon=":material/check:")
    model = workspace().model()
    for show in (show_model, change, show_cards):
        with errors.shown():
            show(model)


# -- in use ----------------------------------------------------------------------------------------


def show_model(model: Model) -> None:
    """What reads the texts now, task by task."""
    st.header("In use")
    manifest, _ = read_manifest(model.bundle)
    origins = {task: (head, manifest.id) for task, head in manifest.heads.items()}
    for folder in model.packs:
        pack = read_pack_manifest(folder)
        origins |= {task: (head, f"pack {pack.name}") for task, head in pack.heads.items()}
    st.text(visible(model.name))
    rows = [(*of_head(task, head), origin) for task, (head, origin) in origins.items()]
    st.html(cards.texts("Tasks", ("Task", "Gives", "Labels", "From"), rows))


def of_head(task: str, head: Mapping[str, Any]) -> tuple[str, str, str]:
    """Name, kind and labels of a head as a manifest has them, for a table."""
    kind = str(head["kind"])
    labels = head.get("config", {}).get("labels", ())
    names = [*dict.fromkeys(x.removeprefix("B-").removeprefix("I-") for x in labels if x != "O")]
    more = f" and {len(names) - SHOWN_LABELS} more" if len(names) > SHOWN_LABELS else ""
    return task, KINDS.get(kind, kind), ", ".join(names[:SHOWN_LABELS]) + more


# -- another one -----------------------------------------------------------------------------------


def change(model: Model) -> None:
    """Choose a bundle and packs, and use them from then on."""
    st.header("Use another")
    known = known_bundles(model)
    current = key_of(model.bundle)
    if NEXT in st.session_state:
        st.session_state["models-bundle"] = st.session_state.pop(NEXT)
    st.session_state.setdefault("models-bundle", current)
    chosen = st.selectbox(
        "Bundle",
        list(known),
        format_func=lambda key: name_of(key, known[key]),
        key="models-bundle",
    )
    packs: list[Path] | None = None
    with errors.shown():
        packs = choose_packs(model, Model(chosen), is_current=chosen == current)
    with st.expander("Take one from a folder"), errors.shown():
        take_folder()
    st.text(
        "From then on, texts are read with it on every page, for everybody who uses this app. "
        "Batches that have begun go on with the model they began with. An index can only be "
        "searched with the bundle that it was built with."
    )
    running = [one for one in workspace().batches(owner()) if one.status().state in jobs.GOING]
    if running:
        st.text(f"{counted(len(running), 'batch', 'batches')} of yours will not notice the change.")
    is_same = chosen == current and packs == list(model.packs)
    if st.button("Use this model", type="primary", disabled=packs is None or is_same):
        used = workspace().set_model(chosen, packs)
        st.session_state[SAID] = f"{used.name} is in use now."
        st.rerun()


def choose_packs(model: Model, candidate: Model, *, is_current: bool) -> list[Path]:
    """The packs that are switched on, in the order in which they are used."""
    backbone = candidate.backbone_sha256
    fitting: dict[Path, PackManifest] = {}
    for folder in known_packs(model):
        try:
            pack = read_pack_manifest(folder)
        except BundleError as error:
            st.text(visible(f"{folder.name}: {error}"))
            continue
        if pack.backbone_sha256 == backbone:
            fitting[folder] = pack
        else:
            st.text(visible(f"The pack {pack.name} is for {pack.backbone}: it does not fit."))
    if not fitting:
        st.text("No task pack for this bundle is at hand. Retraining makes one.")
        return []
    st.text("Task packs for it:")
    on = [
        folder
        for folder, pack in fitting.items()
        if st.toggle(
            plain(f"{pack.name} ({', '.join(pack.heads)})"),
            value=is_current and folder in model.packs,
            key=f"models-pack-{candidate.bundle}-{folder}",
        )
    ]
    # Those in use keep their order; those that are added come last, and so replace what was there.
    on.sort(key=lambda one: model.packs.index(one) if one in model.packs else len(model.packs))
    warn_of_twins([fitting[folder] for folder in on])
    return on


def warn_of_twins(packs: Sequence[PackManifest]) -> None:
    """Say which of several packs answers where more than one could."""
    names: dict[str, list[str]] = {}
    for pack in packs:
        for task in pack.heads:
            names.setdefault(task, []).append(pack.name)
    for task, those in names.items():
        if len(those) > 1:
            st.warning(
                plain(f"{' and '.join(those)} all answer {task}: {those[-1]} will be used."),
                icon=":material/warning:",
            )


def take_folder() -> None:
    """A bundle or a pack from a folder of the machine that the app runs on."""
    with st.form("models-folder", border=False):
        typed = st.text_input(
            "Folder of a bundle or a task pack, on the machine that runs the app",
            placeholder="/path/to/folder",
        )
        asked = st.form_submit_button("Look there")
    if not asked:
        return
    if not typed.strip():
        raise InputError("no folder is given yet; type its path above")
    folder = Path(typed.strip()).expanduser().resolve()
    if (folder / "pack.json").is_file():
        read_pack_manifest(folder)
        remember(TYPED_PACKS, folder)
    elif (folder / "bundle.json").is_file():
        read_manifest(folder)
        remember(TYPED_BUNDLES, folder)
        st.session_state[NEXT] = str(folder)
    else:
        raise InputError(
            f"{folder} holds neither a bundle (bundle.json) nor a task pack (pack.json); check "
            "the path"
        )
    st.rerun()


def remember(name: str, folder: Path) -> None:
    """Keep a folder at hand for this session."""
    st.session_state[name] = [*dict.fromkeys([*st.session_state.get(name, ()), folder])]


# -- at hand ---------------------------------------------------------------------------------------


def known_bundles(model: Model) -> dict[str, Path]:
    """The bundles at hand by what the library calls them: an id of the package's, or a folder."""
    found = {path.name: path for path in bundles().values()}
    others = [str(folder) for folder in st.session_state.get(TYPED_BUNDLES, ())]
    for key in (*others, key_of(model.bundle)):
        found.setdefault(key, Path(key))
    return found


def key_of(bundle: str) -> str:
    """The id behind a name, or the folder."""
    path = bundles().get(bundle)
    return bundle if path is None else path.name


def name_of(key: str, folder: Path) -> str:
    """A bundle as people choose it."""
    try:
        manifest, _ = read_manifest(folder)
    except NlpkitError:
        return visible(f"{key} (gone or broken)")
    return visible(manifest.id if key in bundles() else f"{manifest.id} in {key}")


def known_packs(model: Model) -> list[Path]:
    """The packs at hand: in use, of one's own trainings, and from folders that were typed."""
    accepted = [one.pack for one in workspace().trainings(owner()) if one.decision == ACCEPTED]
    typed: list[Path] = st.session_state.get(TYPED_PACKS, [])
    return [*dict.fromkeys([*model.packs, *accepted, *typed])]


# -- what is known ---------------------------------------------------------------------------------


def show_cards(model: Model) -> None:
    """The card of one of the bundles or packs at hand."""
    st.header("What is known")
    named = {path: name_of(key, path) for key, path in known_bundles(model).items()}
    named |= {folder: visible(f"pack {folder.name}") for folder in known_packs(model)}
    current = bundles().get(model.bundle, Path(model.bundle))
    chosen = st.selectbox(
        "Bundle or pack",
        list(named),
        index=list(named).index(current),
        format_func=named.__getitem__,
        key="models-card",
    )
    if (chosen / "pack.json").is_file():
        show_pack(read_pack_manifest(chosen))
    else:
        show_bundle(chosen)


def show_bundle(folder: Path) -> None:
    """The bundle's card; without one, what its manifest says."""
    manifest, sha256 = read_manifest(folder)
    card = read_card(folder)
    if card is None:
        st.info(
            "This bundle has no card: its data, licences, scores and failures are not recorded.",
            icon=":material/info:",
        )
        st.text(visible(f"{manifest.id}, SHA-256 {sha256}"))
        rows = [of_head(task, head) for task, head in manifest.heads.items()]
        st.html(cards.texts("Tasks", ("Task", "Gives", "Labels"), rows))
        return
    views: dict[str, Callable[[], None]] = {
        "About": lambda: cards.about(card),
        "Scores": lambda: cards.scores(card),
        "By class": lambda: cards.classes(card, "models-class"),
        "Confusion": lambda: cards.confusions(card, "models-confusion"),
        "Calibration": lambda: cards.calibration(card, "models-calibration"),
    }
    tabs = st.tabs(list(views), on_change="rerun", key="models-view")
    for tab, show in zip(tabs, views.values(), strict=True):
        if tab.open:
            with tab, errors.shown():
                show()


def show_pack(pack: PackManifest) -> None:
    """What a pack's manifest says: its tasks, its scores, and how it was trained."""
    st.text(visible(f"Task pack {pack.name} for {pack.backbone}, SHA-256 {pack.sha256}"))
    rows = [of_head(task, head) for task, head in pack.heads.items()]
    st.html(cards.texts("Tasks", ("Task", "Gives", "Labels"), rows))
    scores = pack.training.get("scores")
    if isinstance(scores, Mapping) and scores:
        told = [(str(name), str(value)) for name, value in scores.items()]
        st.html(figures("Scores", ("Score", "Value"), told))
    else:
        st.text("No scores are recorded in this pack.")
    st.text("A task pack has no card. How it was trained:")
    st.json(pack.training)


page()
