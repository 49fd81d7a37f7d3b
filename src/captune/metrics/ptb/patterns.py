"""Parts of the PTB rules: words, joined words, tags, addresses, telephone numbers.

They are bodies of regular expressions. Repeats that could scan the same text again and again are
bounded, so that a hostile caption takes linear time; no real caption comes near the bounds.
"""

from __future__ import annotations

from captune.metrics.ptb import words as ptb_words
from captune.metrics.ptb.characters import DIGITS, LETTERS, MARKS, WHITE_SPACE


def _any_case(words: str) -> str:
    return "(?ai:" + "|".join(sorted(words.split(), key=len, reverse=True)) + ")"


def _capitalised(words: str) -> str:
    return "(?:" + "|".join(f"{word[0].upper()}(?ai:{word[1:]})" for word in words.split()) + ")"


SPACE = f"[{WHITE_SPACE}\n\u0085]"
# The soft hyphen counts as a letter and is removed later.
LETTER = f"{LETTERS}{MARKS}\u00ad"
APOSTROPHE = "(?:['\u0092\u2019]|&apos;)"
ANY_APOSTROPHE = "(?:['`\u0091\u0092\u2018\u2019\u201b]|&apos;)"

_ACCENTED = "&(?ai:[aeiou](?:acute|grave|uml));"
# Letters after a full stop with no space belong to the word: `road.the`.
WORD = (
    f"(?:[{LETTER}]|{_ACCENTED})(?:[{LETTER}{DIGITS}]|{_ACCENTED})*"
    f"(?:[.!?](?:[{LETTER}]|{_ACCENTED})(?:[{LETTER}{DIGITS}]|{_ACCENTED})*)*"
)
_JOINT = f"(?:[dDlLoO]{ANY_APOSTROPHE}[{LETTERS}{DIGITS}])?[{LETTERS}{DIGITS}]+"
JOINED = f"{_JOINT}(?:[-_\u058a\u2010\u2011]{_JOINT})*"
HYPHENED = "[A-Za-z0-9][A-Za-z0-9.,\u00ad]{0,100}(?:-(?:(?:[A-Za-z]\\.){2,}|[A-Za-z0-9\u00ad]+))+"
_PART = "[A-Za-z0-9]+(?:-[A-Za-z]+)*"
SLASHED = f"{_PART}(?:\\\\?/{_PART}){{1,2}}"
CAPITALS = "[A-Z]+(?:(?:&(?ai:amp);|[&+])[A-Z]+)+"
INNER_APOSTROPHE = (
    f"(?:(?ai:c{ANY_APOSTROPHE}mon|cap{ANY_APOSTROPHE}n|e{ANY_APOSTROPHE}er|ev{ANY_APOSTROPHE}ry"
    f"|li{ANY_APOSTROPHE}l|nat{ANY_APOSTROPHE}l|c{ANY_APOSTROPHE}est|o{ANY_APOSTROPHE}o)"
    f"|[A-HJ-XZn]{ANY_APOSTROPHE}[{LETTERS}]{{2,}}"
    f"|[{LETTERS}]{{2,}}(?<=[aeiouyAEIOUY]){ANY_APOSTROPHE}[aeiouA-Z][{LETTERS}]*)"
)
CONTRACTION = "(?ai:[smd]|ll|re|ve)"

NUMBER = f"[+-]?[{DIGITS}]*(?:[.:,\u00ad\u066b\u066c]?[{DIGITS}]+)+"
FRACTION = "(?:[0-9]{1,4}[- \u00a0])?[0-9]{1,4}(?:\\\\?/|\u2044)[0-9]{1,4}"
DATE = "[0-9]{1,2}[-/][0-9]{1,2}[-/][0-9]{2,4}"
TELEPHONE = (
    "(?:\\([0-9]{2,3}\\)[ \u00a0]?|(?:\\+\\+?)?(?:[0-9]{2,4}[- \u00a0])?[0-9]{2,4}[- \u00a0])"
    "[0-9]{3,4}[- \u00a0]?[0-9]{3,5}"
)

_NAME = "[A-Za-z][A-Za-z0-9_:.\\-]{0,200}"
_VALUE = "(?:\"[^\"\n]{0,200}\"|'[^'\n]{0,200}')"
TAG = (
    f"<(?:[!?][A-Za-z-][^>\n]{{0,1000}}|/{_NAME} {{0,9}}"
    f"|{_NAME}(?: +{_NAME}(?:={_VALUE})?){{0,50}} {{0,9}}/? {{0,9}})>"
)

ABBREVIATION = (
    f"(?:{_any_case(ptb_words.ABBREVIATIONS_ENDING_SENTENCES)}"
    f"|{_capitalised(ptb_words.CAPITALISED_ABBREVIATIONS)}|[Pp]?(?ai:pt)[ey]s?"
    "|(?ai:ph|ed)\\.[Dd])"
)
TITLE = f"(?:{_any_case(ptb_words.TITLES)}|[Mm][ft][Gg])"
NUMBERED = _any_case(ptb_words.NUMBERED_ABBREVIATIONS)
ACRONYM = "(?:[A-Za-z]\\.)+[A-Za-z]"
STARTER = f"(?:(?:{_capitalised(ptb_words.SENTENCE_STARTERS)}|M[RSrs]\\.|{TAG}){SPACE})"

_ADDRESS = ' \\t\\n"<>|()'
_PATH = f"/[^{_ADDRESS}]{{1,2000}}[^{_ADDRESS}{{}}.!?,\\-]"
WEB = f"https?://[^{_ADDRESS}{{}}]{{1,2000}}[^{_ADDRESS}{{}}.!?,\\-]"
WWW = f'(?ai:www)\\.(?:[^ \\t\\n"<>|.!?(){{}},]{{1,63}}\\.){{1,8}}[A-Za-z]{{2,4}}(?:{_PATH})?'
_DOMAIN = " \\t\\n\"`'<>|!?(){}$,-_"
SITE = f"(?:[^{_DOMAIN}]{{1,63}}\\.){{1,8}}(?ai:com|net|org|edu)(?:{_PATH})?"
_MAIL = ' \\t\\n\u00a0"<>|(){}'
MAIL = f"<?[A-Za-z0-9][^{_MAIL}]{{0,500}}@(?:[^{_MAIL}.]+\\.)*[^{_MAIL}.]+>?"
FILE = (
    f"[{LETTERS}{DIGITS}\u00ad]{{1,200}}(?:\\.[{LETTERS}{DIGITS}\u00ad]{{1,200}}){{0,20}}"
    f"\\.{_any_case(ptb_words.FILE_EXTENSIONS)}"
)

FACE = "[<>]?[:;=][-o*']?[()DPdpO|\\\\@\\]\\[{]"
_EYE = "[-^x=~<>']"
ASIAN_FACE = f"(?:{_EYE}_{_EYE}|\\((?:{_EYE}[_.]?{_EYE}|[x^=~<>']-[x^=~<>'])\\))"
