"""What `nlpkit app` was told, which comes as environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of this app; ``password_file`` or ``user_header`` say that users are on."""

    password_file: Path | None
    user_header: str | None
    max_upload_mb: int


@cache
def settings() -> Settings:
    """The settings, read once."""
    password_file = os.environ.get("NLPKIT_APP_PASSWORD_FILE")
    return Settings(
        password_file=Path(password_file) if password_file else None,
        user_header=os.environ.get("NLPKIT_APP_USER_HEADER") or None,
        max_upload_mb=int(os.environ.get("NLPKIT_APP_MAX_UPLOAD_MB", "200")),
    )
