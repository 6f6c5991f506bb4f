"""Tables: what people uploaded as a grid, a few figures as real HTML, and pages of many rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from nlpkit.report.markup import tag
from parts.safe import Html, visible

if TYPE_CHECKING:
    import pandas as pd

#: Characters of a cell that a grid is given; the whole text is shown elsewhere.
LONGEST_CELL = 500


def grid(
    columns: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    numbers: Sequence[int] | None = None,
) -> pd.DataFrame:
    """Rows as `st.dataframe` takes them: every column of one kind, every text fit to be shown.

    ``numbers`` are the rows' own, else they count from 1.
    """
    import pandas as pd

    data: dict[str, list[Any]] = {}
    for name in columns:
        shown = visible(name)
        while shown in data:  # another name that looks the same
            shown += " "
        data[shown] = _column([row.get(name) for row in rows])
    index = pd.Index(numbers or range(1, len(rows) + 1), name="row")
    return pd.DataFrame(data, index=index)


def figures(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[str | int]], n_texts: int = 1
) -> Html:
    """A table of some figures, as people with a screen reader need it.

    The first column names the rows; columns after the first ``n_texts`` hold numbers.
    """

    def side(i: int) -> str | None:
        return None if i < n_texts else "n"

    names = [tag("th", name, scope="col", class_=side(i)) for i, name in enumerate(header)]
    body = [
        tag(
            "tr",
            tag("th", _cell(row[0]), scope="row"),
            [tag("td", _cell(value), class_=side(i)) for i, value in enumerate(row[1:], 1)],
        )
        for row in rows
    ]
    table = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", names)),
        tag("tbody", body),
        class_="nk-figures",
    )
    return Html(
        tag("div", table, class_="nk-scroll", role="region", tabindex=0, aria_label=caption)
    )


def pager(n_rows: int, size: int, key: str) -> int:
    """The number of the first row of the page that is asked for, counted from 0."""
    n_pages = max(1, -(-n_rows // size))
    if n_pages == 1:
        return 0
    st.session_state[key] = min(st.session_state.get(key, 1), n_pages)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        page = st.number_input(
            f"Page, 1 to {n_pages:,}", min_value=1, max_value=n_pages, key=key, width=160
        )
        first = (page - 1) * size
        st.text(f"Rows {first + 1:,} to {min(first + size, n_rows):,} of {n_rows:,}")
    return first


def cell_text(value: Any) -> str:
    """A value of any kind as a text that can be shown."""
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _column(values: list[Any]) -> list[Any]:
    """Numbers and truth values as they are where a column holds nothing else; else texts."""
    kinds = {type(value) for value in values if value is not None}
    is_small = all(abs(value) < 2**63 for value in values if isinstance(value, int))
    if kinds == {bool} or (kinds <= {int, float} and is_small):
        return values
    texts = [None if value is None else cell_text(value) for value in values]
    return [x if x is None or len(x) <= LONGEST_CELL else f"{x[:LONGEST_CELL]}…" for x in texts]


def _cell(value: str | int) -> str:
    return f"{value:,}" if isinstance(value, int) else visible(value)
