"""The workspace that all sessions share."""

from __future__ import annotations

import streamlit as st

from nlpkit.workspace import Workspace, open_workspace
from parts.settings import settings


@st.cache_resource(show_spinner=False)
def workspace() -> Workspace:
    """The workspace of this app, in the folder that NLPKIT_WORKSPACE names or the default one."""
    return open_workspace(max_upload_bytes=settings().max_upload_mb * 2**20)
