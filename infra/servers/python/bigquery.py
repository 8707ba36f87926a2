"""Puts DuckDB's extensions where DuckDB looks for them: below HOME, which for this server is its environment's own folder."""

import os
import sys

os.environ["HOME"] = sys.prefix

from duckdb_extensions import import_extension  # noqa: E402

for extension in ("icu", "ducklake", "spatial"):
    import_extension(extension)
