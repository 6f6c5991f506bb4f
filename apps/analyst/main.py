"""The analyst's app: `nlpkit app` starts it. This file is run anew at every click.

Each page is a script in `views/`; what they share is in `parts/`, and every computation is the
library's. (A folder called `pages` would be served by Streamlit on its own, past this file and so
past the sign-in.)
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from parts import errors, look, model, users

#: The pages in the order of the menu: script, title, icon.
PAGES = (
    ("analyse", "Analyse", ":material/article:"),
    ("batch", "Batch", ":material/table_rows:"),
    ("search", "Search and ask", ":material/search:"),
    ("indexes", "Indexes", ":material/database:"),
    ("label", "Label and retrain", ":material/edit_note:"),
    ("models", "Models", ":material/deployed_code:"),
)

here = Path(__file__).parent
# A picture of our own: a symbol by name would be fetched from elsewhere for the browser's tab.
st.set_page_config(page_icon=str(here / "icon.svg"), layout="wide")
look.style()
folder = here / "views"
pages = [
    st.Page(folder / f"{name}.py", title=title, icon=icon, url_path=name, default=number == 0)
    for number, (name, title, icon) in enumerate(PAGES)
    if (folder / f"{name}.py").is_file()
]
page = st.navigation(pages, position="sidebar" if users.is_known() else "hidden")
with errors.shown():
    users.owner()  # stops here until somebody has signed in
    users.show_user()
    page.run()
model.warm()
