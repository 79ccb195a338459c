"""Files of data sets: found and read in one way, whether they lie on disk or in an archive.

An archive reads as if it were unpacked where it lies, so that a path says where a file is or would be. What is unpacked
comes first: of a path that exists on disk, no archive is asked.
"""

from __future__ import annotations

from apm_tta.data.files.listing import (
    archives_of,
    is_file,
    is_folder,
    is_folder_item,
    is_in_archive,
    is_root,
    link_problems,
    list_folder,
    refuse_no_text,
    scan_folder,
    walk,
)
from apm_tta.data.files.lookup import archives_in, is_archive, looking_into
from apm_tta.data.files.reading import Stamp, identity_of, read_whole, size_of, stamp_of

__all__ = [
    "Stamp",
    "archives_in",
    "archives_of",
    "identity_of",
    "is_archive",
    "is_file",
    "is_folder",
    "is_folder_item",
    "is_in_archive",
    "is_root",
    "link_problems",
    "list_folder",
    "looking_into",
    "read_whole",
    "refuse_no_text",
    "scan_folder",
    "size_of",
    "stamp_of",
    "walk",
]
