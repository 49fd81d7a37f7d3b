"""The PTB tokenizer's rules as a literal table: the longest match wins, then the earliest rule.

A rule is a regular expression: group 1 is the token, what follows group 1 is context that counts
for the length but stays to be read. Written from black-box observation of Stanford's PTBTokenizer
3.4.1 (never from its grammar); repeats are bounded so that a hostile caption costs linear time.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import NamedTuple

from captune.metrics import ptb_words
from captune.metrics.ptb_characters import BLANKS, DIGITS, LETTERS, MARKS, SYMBOL_RUNS, SYMBOLS


class Rule(NamedTuple):
    """One way to read a token.

    Attributes:
        starts: Body of a regular expression class: the characters it can start with.
        pattern: Group 1 is the token; the rest is context.
        rewrite: Turns the token's text into what is written.
    """

    starts: str
    pattern: str
    rewrite: Callable[[str], str] = str


def _any_case(words: str) -> str:
    return "(?ai:" + "|".join(sorted(words.split(), key=len, reverse=True)) + ")"


def _capitalised(words: str) -> str:
    return "(?:" + "|".join(f"{w[0].upper()}(?ai:{w[1:]})" for w in words.split()) + ")"


def _normal_quotes(token: str) -> str:
    return token.translate(_QUOTES).replace("&apos;", "'")


def _escape_brackets(token: str) -> str:
    return token.replace("(", "-lrb-").replace(")", "-rrb-")


def _drop_soft_hyphens(token: str) -> str:
    return token.replace("\u00ad", "")


def _no_break(token: str) -> str:
    return _escape_brackets(re.sub(f"[{BLANKS}]", "\u00a0", token))


def _add_stop(token: str) -> str:
    return token + "."


_QUOTES = str.maketrans(
    {
        "\u0091": "`",
        "\u0092": "'",
        "\u0093": "``",
        "\u0094": "''",
        "\u2018": "`",
        "\u2019": "'",
        "\u201b": "`",
        "\u201c": "``",
        "\u201d": "''",
        "\u00ab": "``",
        "\u00bb": "''",
        "\u2039": "`",
        "\u203a": "'",
    }
)

_SPACE = f"[{BLANKS}\n]"
_ALNUM = f"[{LETTERS}{DIGITS}\u00ad]"
_WORD_END = f"[{LETTERS}{DIGITS}{MARKS}\u00ad]*"
_ENTITY = "&[aeiouAEIOU](?:acute|grave|uml);"
_WORD = (
    f"(?:[{LETTERS}{MARKS}]|{_ENTITY})(?:[{LETTERS}{DIGITS}{MARKS}\u00ad]|{_ENTITY})*"
    f"(?:[.!?][{LETTERS}{MARKS}]{_WORD_END})*"
)
_APOS = "(?:['\u0092\u2019]|&apos;)"
_WIDE_APOS = "(?:['`\u0091\u0092\u2018\u2019\u201b]|&apos;)"
_JOINT = f"(?:[dDlLoO]{_WIDE_APOS}[{LETTERS}{DIGITS}])?{_ALNUM}*[{LETTERS}{DIGITS}]\u00ad*"
_JOINED = f"{_JOINT}(?:[-_\u058a\u2010\u2011]{_JOINT})*"
_HYPHENED = "[A-Za-z0-9][A-Za-z0-9.,\u00ad]{0,200}(?:-(?:(?:[A-Za-z]\\.){2,}|[A-Za-z0-9\u00ad]+))+"
_INNER_APOSTROPHE = (
    f"(?:(?ai:c{_WIDE_APOS}mon|cap{_WIDE_APOS}n|e{_WIDE_APOS}er|ev{_WIDE_APOS}ry"
    f"|li{_WIDE_APOS}l|nat{_WIDE_APOS}l|c{_WIDE_APOS}est|o{_WIDE_APOS}o)"
    f"|[A-HJ-XZn]{_WIDE_APOS}[{LETTERS}]{{2}}[{LETTERS}]*"
    f"|[{LETTERS}]{{2,}}(?<=[aeiouyAEIOUY]){_WIDE_APOS}[aeiouA-Z][{LETTERS}]*)"
)
_AMPERSAND = "[A-Z]+(?:(?:&|&amp;)[A-Z]+)+"
_TAG = (
    "<(?:[!?][A-Za-z-][^>\r\n]{0,1000}"
    "|/?[A-Za-z][A-Za-z0-9_:.\\-]*"
    "(?: +[A-Za-z][A-Za-z0-9_:.\\-]*(?:=(?:\"[^\"\n]{0,200}\"|'[^'\n]{0,200}'))?)* */?)>"
)
_ABBREVIATION = (
    f"(?:{_any_case(ptb_words.ABBREVIATIONS_ENDING_SENTENCES)}"
    f"|{_capitalised(ptb_words.CAPITALISED_ABBREVIATIONS)}|[Pp]?(?ai:pt)[ey]s?)"
)
_TITLE = f"(?:{_any_case(ptb_words.TITLES)}|[Mm][ft][Gg])"
_STARTER = f"(?:{_capitalised(ptb_words.SENTENCE_STARTERS)}{_SPACE}|{_TAG})"
_ACRONYM = "(?:(?:[A-Za-z]\\.)+[A-Za-z]|(?ai:ph|ed)\\.[Dd])"
_URL_BODY = '[^ \\t\\n"<>|(){}]{1,2000}'
_URL_END = '[^ \\t\\n"<>|(){}.!?,\\-]'
_MAIL = '[^ \\t\\n\u00a0"<>|(){}]{0,500}'

RULES = (
    Rule("A-Za-z", "((?ai:c\\+\\+|[cf]#))"),
    Rule("A-Za-z", "((?ai:can))(?ai:not)"),
    Rule("A-Za-z", "((?ai:gon|wan))(?ai:na)"),
    Rule("A-Za-z", "((?ai:got))(?ai:ta)"),
    Rule("A-Za-z", "((?ai:gim|lem))(?ai:me)"),
    Rule("A-Za-z", f"([A-Za-z]*[A-MO-Za-mo-z])(?ai:n{_WIDE_APOS}t)"),
    Rule("A-Za-z", f"((?ai:n{_WIDE_APOS}t))", _normal_quotes),
    Rule(f"{LETTERS}{DIGITS}", f"([{LETTERS}{DIGITS}]+){_APOS}(?ai:[smd]|ll|re|ve)"),
    Rule("'", "('[tT])(?ai:is|was)"),
    Rule("'\u0092\u2019&", f"({_APOS}(?ai:[smd]|ll|re|ve))[^A-Za-z]", _normal_quotes),
    Rule("'", "('[smdSMD])"),
    Rule("\u0092\u2019&", f"({_APOS}(?ai:[smd]|ll|re|ve))", _normal_quotes),
    Rule("'\u2019&", f"({_APOS}[nN]{_APOS})"),
    Rule("'", "('[nN])[^A-Za-z0-9]"),
    Rule("'\u2019&", f"({_APOS}[nN])"),
    Rule("A-Za-z", f"((?ai:[dlj]|ol|somethin|dunkin){_APOS})"),
    Rule("A-Za-z", f"([yY]{_APOS})[A-Za-z]"),
    Rule("A-Za-z", f"({_INNER_APOSTROPHE})"),
    Rule("'\u2019&", f"({_APOS}(?ai:em|till?|cause))"),
    Rule("'\u2019&", f"({_APOS}[2-9]0s)"),
    Rule("'\u2019&", f"({_APOS}[0-9]{{2}}){_SPACE}"),
    Rule(
        f"A-Za-z0-9{LETTERS}{DIGITS}",
        f"((?:{_WORD}|{_JOINED}|{_HYPHENED}|{_AMPERSAND})\\.)[,;:]",
        _drop_soft_hyphens,
    ),
    Rule(
        "A-Za-z",
        f"({_ABBREVIATION})\\.(?:{_SPACE}(?:{_SPACE}+|[A-Z]|{_TAG})|{_SPACE}*\\Z)",
        _add_stop,
    ),
    Rule("A-Za-z", f"((?:{_ABBREVIATION}|(?ai:ph|ed)\\.[Dd])\\.)(?s:.)"),
    Rule("A-Za-z", f"((?:{_ABBREVIATION}|{_TITLE})\\.)"),
    Rule("A-Za-z", f"({_any_case(ptb_words.NUMBERED_ABBREVIATIONS)}\\.){_SPACE}*[0-9]"),
    Rule("A-Za-z", f"([A-Za-z])\\.{_SPACE}+{_STARTER}"),
    Rule("A-Za-z", f"({_ACRONYM})\\.{_SPACE}+{_STARTER}", _add_stop),
    Rule("A-Za-z", f"((?:{_ACRONYM}|[A-Za-z])\\.)"),
    Rule(f"{LETTERS}{MARKS}&", f"({_WORD})", _drop_soft_hyphens),
    Rule(f"{LETTERS}{DIGITS}", f"({_JOINED})", _drop_soft_hyphens),
    Rule("A-Za-z0-9", f"({_HYPHENED})", _drop_soft_hyphens),
    Rule("A-Z", f"({_AMPERSAND})", lambda token: token.replace("&amp;", "&")),
    Rule("A-Z", "([A-Z]+\\$)"),
    Rule("A-Za-z0-9", "([A-Za-z0-9]+(?:-[A-Za-z]+)*(?:/[A-Za-z0-9]+(?:-[A-Za-z]+)*){1,2})"),
    Rule(f"{DIGITS}.:,+-", f"([+-]?[{DIGITS}]*(?:[.:,\u00ad\u066b\u066c]?[{DIGITS}]+)+)"),
    Rule("0-9", "((?:[0-9]{1,4}[- \u00a0])?[0-9]{1,4}[/\u2044][0-9]{1,4})", _no_break),
    Rule(
        "0-9(",
        "((?:\\([0-9]{3}\\)[ \u00a0]?|[0-9]{3}[ \u00a0-])[0-9]{3}[- \u00a0]?[0-9]{4})",
        _no_break,
    ),
    Rule(
        f"{LETTERS}{DIGITS}",
        f"([{LETTERS}{DIGITS}]+(?:\\.[{LETTERS}{DIGITS}]+)*\\.(?ai:bat|bmp|c|cgi|class|cpp|dll|docx?|exe|gif|gz|h|html?|jar|java|jpe?g|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql|tar|txt|wav|x|xml|zip))[ \\t\\n.!?,]",
    ),
    Rule("h", f"(https?://{_URL_BODY}{_URL_END})"),
    Rule("a-z", f"((?:www\\.)?(?:[A-Za-z0-9]+\\.)+(?:com|net|org|edu)/{_URL_BODY}{_URL_END})"),
    Rule(
        "A-Za-z0-9<",
        f'(<?[A-Za-z0-9]{_MAIL}@(?:[^ \\t\\n\u00a0"<>|(){{}}.]+\\.)*[^ \\t\\n\u00a0"<>|(){{}}.]+>?)',
    ),
    Rule("@", "(@[A-Za-z_][A-Za-z0-9_]*)"),
    Rule("#", f"(#[{LETTERS}]+)"),
    Rule("<", f"({_TAG})", _no_break),
    Rule("<>:;=", "([<>]?[:;=][-'o*]?[()DPdpO|\\\\@\\]\\[{])[^A-Za-z0-9]", _escape_brackets),
    Rule("-^x=~<>'", "([-^x=~<>']_[-^x=~<>'])"),
    Rule('"&', '("|&quot;)[A-Za-z0-9$]', lambda _: "``"),
    Rule('"&', '("|&quot;)', lambda _: "''"),
    Rule("'", f"(')[A-Za-z][^{BLANKS}\n]", lambda _: "`"),
    Rule("'", "(''?)"),
    Rule("&", "(&apos;)", lambda _: "'"),
    Rule(
        "`\u0091-\u0094\u2018\u2019\u201b-\u201d\u00ab\u00bb\u2039\u203a",
        "([`\u0091-\u0094\u2018\u2019\u201b-\u201d\u00ab\u00bb\u2039\u203a]{1,2})",
        _normal_quotes,
    ),
    Rule(".", "(\\.{3,5}|\\.(?:[ \u00a0]\\.){2,4})", lambda _: "..."),
    Rule("\u0085\u2026", "(.)", lambda _: "..."),
    Rule("-", "(-{2,4})", lambda _: "--"),
    Rule("-", "(-{5,})"),
    Rule("\u0096\u0097\u2013-\u2015", "(.)", lambda _: "--"),
    Rule("&", "(&(?:mdash|MDASH);)", lambda _: "--"),
    Rule("&", "(&(?ai:amp);)", lambda _: "&"),
    Rule("&", "(&(?ai:lt);)", lambda _: "<"),
    Rule("&", "(&(?ai:gt);)", lambda _: ">"),
    Rule("&", "(&(?ai:nbsp);)", lambda _: ""),
    Rule("&", "(&#[0-9]+;)"),
    Rule("(", "(\\()", lambda _: "-LRB-"),
    Rule(")", "(\\))", lambda _: "-RRB-"),
    Rule("\\[", "(\\[)", lambda _: "-LSB-"),
    Rule("\\]", "(\\])", lambda _: "-RSB-"),
    Rule("{", "(\\{)", lambda _: "-LCB-"),
    Rule("}", "(\\})", lambda _: "-RCB-"),
    Rule("\u00a3", "(.)", lambda _: "#"),
    Rule("\u0080\u00a4\u20a0\u20ac", "(.)", lambda _: "$"),
    Rule("\u00a2", "(.)", lambda _: "cents"),
    Rule("\u00bc", "(.)", lambda _: "1/4"),
    Rule("\u00bd", "(.)", lambda _: "1/2"),
    Rule("\u00be", "(.)", lambda _: "3/4"),
    Rule("\u2153", "(.)", lambda _: "1/3"),
    Rule("\u2154", "(.)", lambda _: "2/3"),
    Rule("\u00ad", "(.)", lambda _: "-"),
    Rule("!?", "([!?]+)"),
    Rule("*", "(\\*+)"),
    Rule("#", "(#+)"),
    Rule("@", "(@+)"),
    Rule("_", "(_+)"),
    Rule("<", "(<<?)"),
    Rule(">", "(>>?)"),
    Rule(SYMBOL_RUNS, f"([{SYMBOL_RUNS}]+)"),
    Rule(f"\\-.,:;%$&/=+|~\\^\\\\{SYMBOLS}", "(.)"),
)


@functools.cache
def rules_for(character: str) -> tuple[tuple[re.Pattern[str], Callable[[str], str]], ...]:
    """The rules that can start with a character, in order."""
    return tuple(
        (_compile(rule.pattern), rule.rewrite)
        for rule in RULES
        if _compile(f"[{rule.starts}]").match(character)
    )


@functools.cache
def _compile(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
