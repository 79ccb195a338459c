"""Archives whose members are read where they lie: a tar, compressed by gzip or not, and a zip.

Python's own ``tarfile`` and ``zipfile`` read the headers; ``indexed_gzip`` lets reading begin in the middle of a
compressed tar, which gzip's format does not.
"""

from __future__ import annotations

from apm_tta.data.archives.archive import Archive, archive_at
from apm_tta.data.archives.names import is_archive_name, stem

__all__ = ["Archive", "archive_at", "is_archive_name", "stem"]
