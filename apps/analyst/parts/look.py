"""The styles of what the pages draw themselves; the theme's colours are in config.toml.

Marks have their own background under dark letters, so that they look the same, and have the same
contrast, in the light and the dark theme.
"""

from __future__ import annotations

import streamlit as st

from nlpkit.report.markup import Markup
from parts.safe import Html

#: Backgrounds of entities; a label beyond these takes one of the rest, always the same.
LABEL_COLOURS = {"PER": "#cfe3ff", "ORG": "#ffe0b3", "LOC": "#c9efcd", "MISC": "#e9d8ff"}
OTHER_COLOURS = ("#ffd6d6", "#c8eef0", "#f2ecb0", "#f9d3ec", "#dfe3e8", "#d9edb8")

STYLE = """
<style>
.stMainBlockContainer { max-width: 72rem; padding-top: 3.5rem; }
.nk-text, .nk-text .entities {
  white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: plaintext;
}
.nk-text {
  max-height: 32rem; overflow-y: auto; padding: .75rem 1rem; border-radius: .5rem;
  border: 1px solid color-mix(in srgb, currentColor 25%, transparent);
}
.nk-text .entities { line-height: 2 !important; direction: inherit !important; }
.nk-text mark, .nk-legend mark {
  color: #1b1f24; padding: .15em .3em; border-radius: .35em;
  box-decoration-break: clone; -webkit-box-decoration-break: clone;
}
.nk-text mark.entity::after {
  content: attr(data-label); font-size: .7em; font-weight: 700; margin-left: .45em;
}
.nk-text mark.answer { background: #ffe680; }
.nk-legend {
  display: flex; flex-wrap: wrap; gap: .5rem 1rem; margin: 0 !important; padding: 0 !important;
}
.nk-legend li { list-style: none; margin: 0 !important; padding: 0 !important; }
.nk-word { border-radius: .25em; padding: .1em 0; }
.nk-word.for {
  background: color-mix(in srgb, #6aa9ea calc(var(--share) * 55%), transparent);
  border-bottom: 2px solid color-mix(in srgb, #6aa9ea calc(var(--share) * 100%), transparent);
}
.nk-word.against {
  background: color-mix(in srgb, #e0965c calc(var(--share) * 55%), transparent);
  border-bottom: 2px dotted color-mix(in srgb, #e0965c calc(var(--share) * 100%), transparent);
}
.nk-scores { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
.nk-scores caption { text-align: left; font-weight: 600; padding-bottom: .25rem; }
.nk-scores th { text-align: left; font-weight: 400; width: 1%; white-space: nowrap; }
.nk-scores th, .nk-scores td { border: 0; padding: .15rem .75rem .15rem 0; }
.nk-scores td.n { text-align: right; width: 1%; white-space: nowrap; padding-right: 0; }
.nk-scores tr.best th, .nk-scores tr.best td.n { font-weight: 700; }
.nk-hit h2 { font-size: 1.1rem; margin: 0 !important; padding: 0 !important; }
.nk-hit p { margin: 0 !important; }
.nk-hit .nk-title { font-size: 1.1rem; font-weight: 600; }
.nk-hit .nk-facts { font-size: .9rem; overflow-wrap: anywhere; margin: .1rem 0 .6rem !important; }
.nk-hit .nk-text { max-height: 16rem; }
.nk-text .passage {
  background: color-mix(in srgb, #6aa9ea 18%, transparent); color: inherit; padding: 0;
  border-radius: .25em;
}
.nk-hit .nk-text mark { padding: 0 .1em; }
.nk-fields {
  display: flex; flex-wrap: wrap; gap: .15rem 1.25rem; margin: .6rem 0 0 !important;
  padding: 0 !important; font-size: .9rem;
}
.nk-fields div { display: flex; gap: .4rem; min-width: 0; }
.nk-fields dt { font-weight: 400; opacity: .8; }
.nk-fields dd { margin: 0 !important; overflow-wrap: anywhere; min-width: 0; }
/* The primary colour bears white letters; as letters on the dark background it is too dark. */
[data-testid="stSliderThumbValue"], .stTabs [role="tab"][aria-selected="true"] {
  color: inherit !important;
}
[data-testid="stButtonGroup"] button[aria-checked="true"],
[data-testid="stButtonGroup"] button[aria-pressed="true"] {
  color: light-dark(#1f5fa8, #8dbdf0) !important;
}
/* Streamlit's colours of code are too pale to read. */
[data-testid="stCode"] .token { color: inherit !important; }
[data-testid="stCode"] .token.keyword { font-weight: 600; }
[class*="st-key-live-"] [data-stale="true"] { opacity: 1 !important; transition: none; }
.nk-scroll { overflow-x: auto; max-height: 24rem; }
.nk-figures { border-collapse: collapse; font-variant-numeric: tabular-nums; }
.nk-figures caption { text-align: left; font-weight: 600; padding-bottom: .25rem; }
.nk-figures th, .nk-figures td {
  border: 0; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent);
  padding: .25rem 1.25rem .25rem 0; text-align: left; overflow-wrap: anywhere;
}
.nk-figures tbody th { font-weight: 400; min-width: 7rem; }
.nk-figures .n { text-align: right; white-space: nowrap; }
@media (max-width: 40rem) {
  .nk-figures { font-size: .9rem; }
  .nk-figures th, .nk-figures td { padding-right: .75rem; }
}
[data-testid="stPageLink"] { margin-left: -.5rem; }
/* Streamlit says no more than that there is no file, and not for long. */
[data-testid="stDownloadButtonError"]::after {
  content: ". Reload this page: it tells what is wrong, or the app's log does.";
}
.nk-track { background: color-mix(in srgb, currentColor 15%, transparent); border-radius: .25rem; }
.nk-fill { background: #4a8fd6; height: .7rem; border-radius: .25rem; }
</style>
"""


def style() -> None:
    """Put the styles into the page."""
    st.html(Html(Markup(STYLE)))


def label_colour(label: str) -> str:
    """The background of an entity's mark."""
    known = LABEL_COLOURS.get(label.upper())
    return known or OTHER_COLOURS[sum(label.upper().encode()) % len(OTHER_COLOURS)]
