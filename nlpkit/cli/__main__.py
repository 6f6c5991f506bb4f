"""``python -m nlpkit.cli``: the command ``nlpkit`` where it is not installed."""

from __future__ import annotations

import sys

from nlpkit.cli.app import app_main

sys.exit(app_main())
