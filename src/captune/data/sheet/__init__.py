"""Contact sheets, their files, and the fonts that pictures with captions need."""

from captune.data.sheet.contact_sheet import contact_sheet
from captune.data.sheet.fonts import find_fonts, name_missing_glyphs
from captune.data.sheet.picture_file import check_picture_name, write_picture

__all__ = [
    "check_picture_name",
    "contact_sheet",
    "find_fonts",
    "name_missing_glyphs",
    "write_picture",
]
