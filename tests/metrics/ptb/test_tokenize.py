"""The tokenizer against the jar's answers, by hand, and against itself without shortcuts."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captune.metrics.ptb.lexer import lex
from captune.metrics.ptb.tokenize import PUNCTUATION, open_memo, tokenize
from support.places import REAL_DATA
from support.soak import count, soak

DATA = REAL_DATA / "metrics"

# Answers of `PTBTokenizer -preserveLines -lowerCase` 3.4.1.
BY_JAR = {
    "A man, riding a horse.": "a man , riding a horse .",
    "It's the dogs' bowl": "it 's the dogs ' bowl",
    "they don't, CAN'T and won`t": "they do n't , ca n't and wo n`t",
    "I cannot, gonna gotta wanna gimme lemme": "i can not , gon na got ta wan na gim me lem me",
    "'tis 'twas y'all d'ye j'ai": "'t is 't was y' all d'ye j' ai",
    "O'Brien M'Baku o'clock ma'am Hawai'i": "o'brien m'baku o'clock ma'am hawai'i",
    "gov't nothin' rock'n'roll 1950's 5'6\"": "gov ' t nothin ' rock 'n' roll 1950 's 5 ' 6 ''",
    "in the '50s, '98 and ' 99, ": "in the '50s , '98 and ' 99 ,",
    'a "quoted" word, "$5" and "(x)"': "a `` quoted '' word , `` $ 5 '' and '' -lrb- x -rrb- ''",
    "“a” ‘b’ «c» o’clock it’s": "`` a '' ` b ' `` c '' o’clock it 's",
    "with’numerous a’dog": "with ’n umerous a 'd og",
    "a-b a_b a__b -a a-": "a-b a_b a __ b - a a -",
    "and/or a/b/c/d 1/2 12/25/2013": "and/or a/b/c / d 1/2 12/25/2013",
    "corner.4-5 road.the 6-8:30 1.5-2": "corner.4-5 road.the 6-8 :30 1.5-2",
    "a bat., a St., etc.; no.,": "a bat. , a st. , etc. ; no. ,",
    "Inc.-a inc.-ab mr.a": "inc. - a inc.-ab mr.a",
    "St. Louis. Blvd. The end": "st. louis . blvd. . the end",
    "etc.  two and etc. <b>x</b>": "etc. . two and etc. . <b> x </b>",
    "no. 5, No. The, no.  5": "no. 5 , no . the , no . 5",
    "vitamin C. The U.S. It C. the": "vitamin c . the u.s. . it c. the",
    "p.m. Mr. X and C. Dr. Y": "p.m. . mr. x and c. dr. y",
    "Ph.D. Ed.D. a.k.a. M.Sc.": "ph.d. . ed.d. a.k.a. m.sc .",
    "AT&T at&t A&amp;B A+B": "at&t at & t a&b a+b",
    "..., .. .... ..... ......": "... , . . ... ... ... .",
    ". . . and . .": "... and . .",
    "a &tl; b&Qc; &Md;c": "a &tl; b &qc; -- c",
    "1.jpg\u00a0of 1a.h\u3000x": "1.jpg of 1a.h x",
    "a -- b --- c ---- d ----- e — f – g": "a -- b -- c -- d ----- e -- f -- g",
    "!! ?? !? a!b a!1": "!! ?? !? a!b a ! 1",
    "(a) [b] {c}": "-lrb- a -rrb- -lsb- b -rsb- -lcb- c -rcb-",
    ":) :-( ;D >:( :)x ^_^ (-.-)": ":-rrb- :--lrb- ;d >:-lrb- : -rrb- x ^_^ -lrb--.--rrb-",
    "£5 €5 5¢ US$5 $1.50/lb": "# 5 $ 5 5 cents us$ 5 $ 1.50 / lb",
    "1 1/2 ½ 1½": "1\u00a01/2 1/2 1 1/2",
    "(555) 555-1212 and 555 555 1212": "-lrb-555-rrb-\u00a0555-1212 and 555\u00a0555\u00a01212",
    "&lt;b&gt; &quot;x&quot; &nbsp; &copy; &#38;": "< b > `` x '' & copy ; &#38;",
    '<a b> <a href="x y"> <3 << >>>': '<a\u00a0b> <a\u00a0href="x\u00a0y"> < 3 << >> >',
    "bob@x.com @bob #tag1 http://a.b/c, www.a.com a.com/bc": (
        "bob@x.com @bob #tag 1 http://a.b/c , www.a.com a.com/bc"
    ),
    "1.jpg img_1.jpg a.jpg": "1.jpg img_1 . jpg a.jpg",
    "colour 20%-off #1 c++ C#": "colour 20 % - off # 1 c++ c#",
    "anti- pro--war non-": "anti- pro- - war non -",
    "café naïve 日本 привет 😀 a😀b": "café naïve 日本 привет a b",
    "a\u00adb \u00ad 5\u00ad5 a\u200bb": "ab - 55 a b",
}


@pytest.mark.parametrize(("caption", "expected"), BY_JAR.items())
def test_a_hard_caption_is_split_as_the_jar_splits_it(caption: str, expected: str) -> None:
    # The caption that follows keeps the last one's end-of-file rules out.
    assert tokenize([caption, "a b"], keep_punctuation=True)[0] == expected.split(" ")


@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no reference values at {DATA}")
@pytest.mark.parametrize("kind", ["captions", "probes", "abbreviations", "mutated_captions"])
def test_every_reference_answer_is_equal(kind: str) -> None:
    if kind == "captions":
        with gzip.open(DATA / "ptb_val5k_references.jsonl.gz", "rt", encoding="utf-8") as lines:
            pairs = [json.loads(line) for line in lines]
    else:
        with gzip.open(DATA / "ptb_probes.json.gz", "rt", encoding="utf-8") as file:
            probes = json.load(file)[kind]
        pairs = list(zip(probes["in"], probes["java"], strict=True))
    own = tokenize([caption for caption, _ in pairs], keep_punctuation=True)
    wrong = [
        (caption, expected, " ".join(tokens))
        for (caption, expected), tokens in zip(pairs, own, strict=True)
        if " ".join(tokens) != expected
    ]
    assert wrong == []


def test_the_punctuation_list_is_removed_and_nothing_else() -> None:
    tokens = tokenize(["A (big), 'red' - dog: runs; \"fast\"... -- ok!!", "x"])[0]
    assert tokens == ["a", "-lrb-", "big", "-rrb-", "red", "dog", "runs", "fast", "ok", "!!"]
    assert len(PUNCTUATION) == 17


def test_the_last_abbreviation_looks_at_the_next_caption() -> None:
    assert tokenize(["vitamin C.", "A man"])[0] == ["vitamin", "c"]
    assert tokenize(["vitamin C.", "a man"])[0] == ["vitamin", "c."]
    assert tokenize(["vitamin C.", "", "  ", "A man"])[0] == ["vitamin", "c"]
    assert tokenize(["vitamin C.", "A"])[0] == ["vitamin", "c."]
    assert tokenize(["take no.", "5 men"])[0] == ["take", "no."]


def test_the_end_of_the_batch_has_its_own_rules() -> None:
    # The jar's rules with context do not fire at the end of the file.
    ends = {"he'll": "he ` ll", "etc.": "etc. .", ":)": ": -rrb-", "'98": "' 98", "1.c": "1 . c"}
    for caption, expected in ends.items():
        assert tokenize(["x", caption], keep_punctuation=True)[1] == expected.split(" ")


@pytest.mark.parametrize("mark", ["\n", "\r", "\r\n", "\x0b", "\x0c", "\u2028", "\u2029"])
def test_a_line_break_inside_a_caption_is_a_space_and_shifts_nothing(mark: str) -> None:
    assert tokenize([f"a man{mark}b", "a dog"]) == [["a", "man", "b"], ["a", "dog"]]


def test_empty_captions_keep_their_places() -> None:
    assert tokenize([]) == []
    assert tokenize(["", "a", "  ", "...", "b"]) == [[], ["a"], [], [], ["b"]]


FRAGMENTS = [
    *("a", "man", "The", "C.", "U.S.", "etc.", "St.", "no.", "p.m.", "Mr.", "5", "1/2", "555"),
    *("1", ".", "..", "...", ",", ";", ":", "'", "''", '"', "`", "’", "“", "-", "--", "/", "$"),
    *("(", ")", "(555)", "<", ">", "<b", "</b>", "<a b>", "&amp;", "&", "#", "@", "é", "É", "½"),
    *("n't", "'s", "'ll", "can't", "cannot", "o'", "'n'", "'98", "y'", "\u00ad", "\u00a0", "\t"),
    *(" ", "  ", "\n", "http://a.b", ".com", "1.jpg", ":)", "^_^", "日", "😀", "\ud800", "\x00"),
]
captions = st.lists(
    st.one_of(
        st.text(max_size=20),
        st.lists(st.sampled_from([*FRAGMENTS, " ", " "]), max_size=12).map("".join),
    ),
    max_size=6,
)


@soak
@settings(max_examples=count(150, full=4000), deadline=None)
@given(captions)
def test_chunks_and_their_memo_change_nothing(batch: list[str]) -> None:
    cleaned = [" ".join(text.split("\n")) for text in batch]
    for mark in "\r\x0b\x0c\u2028\u2029":
        cleaned = [text.replace(mark, " ") for text in cleaned]
    text = "\n".join(cleaned)
    start, expected = 0, []
    for caption in cleaned:
        expected.append(lex(text, start, stop=start + len(caption)))
        start += len(caption) + 1
    assert tokenize(batch, keep_punctuation=True) == expected


@soak
@settings(max_examples=count(150, full=4000), deadline=None)
@given(captions)
def test_any_text_gives_one_list_per_caption_and_no_space_in_a_token(batch: list[str]) -> None:
    lines = tokenize(batch)
    assert len(lines) == len(batch)
    for token in (token for line in lines for token in line):
        assert token
        assert not set(token) & set(" \n\r\x0b\x0c\t\u2028\u2029")
        assert token not in PUNCTUATION


HOSTILE = [
    *("a", "a.", "a,", "a-", "1.", "1,", "~.", "~" * 62 + ".", "www.~.", "http://", "a@", "a@."),
    *(
        "<a ",
        "<!a",
        '<a b="',
        "&amp;",
        "'",
        "a'",
        "’a",
        '"',
        "C.",
        "C. ",
        "etc.",
        "no.",
        "A&",
        "a/",
    ),
    *(". ", "...", "-", "!a", "(", "(5", "555 ", "\u00ad", "é.", "日", "\u200b", "½", "o'a", "n't"),
    *(
        "a.b,",
        "1a.",
        "a" * 199 + ".",
        "p.m.",
        "e'a",
        "\\*",
        "A$",
        ":)",
        "(^.",
        "&#1",
        "+1",
        "~.comm",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["", ".", "@"])
def test_time_grows_with_length_only(suffix: str) -> None:
    tokenize(["warm up"])
    for unit in HOSTILE:
        short = (unit * 10_000)[:10_000] + suffix
        start = time.process_time()
        tokenize([short])
        assert time.process_time() - start < 0.5, unit


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["a,", "<!a", "~.", "a", "1a."])
def test_a_chunk_of_100000_characters_takes_little_more_than_text(unit: str) -> None:
    # A second where the lexer reads ordinary text of that length in a fifth of one; a quadratic
    # step would take a hundred times as long. In turns, as a machine's speed changes.
    text = ("A man in a red shirt, who is 35, rides a brown horse near it. " * 1700)[:100_000]
    chunk = (unit * 100_000)[:100_000]
    turns = [
        (_seconds(lambda: tokenize([chunk])), _seconds(lambda: lex(text, 0, stop=len(text))))
        for _ in range(3)
    ]
    assert min(chunks for chunks, _ in turns) < 5 * min(texts for _, texts in turns)


def _slowness() -> float:
    """1 on a core that matches 500,000 times in a tenth of a second, as an idle one does; more on
    one that other test processes keep busy, where all work takes longer."""
    match = re.compile("[a-z]+[0-9]").match
    return max(1.0, _seconds(lambda: [match("abc.") for _ in range(500_000)]) / 0.1)


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no reference values at {DATA}")
def test_200000_captions_take_less_than_a_second_and_a_half() -> None:
    with gzip.open(DATA / "ptb_val5k_references.jsonl.gz", "rt", encoding="utf-8") as lines:
        batch = [json.loads(line)[0] for line in lines] * 10

    def read() -> None:
        # Nothing known from before, as in a new process.
        memo = open_memo()
        assert isinstance(memo, dict)
        memo.clear()
        memo[""] = []
        assert len(tokenize(batch)) == 200_100

    # In turns, as a machine's speed changes.
    turns = [_seconds(read) / _slowness() for _ in range(5)]
    assert min(turns) < 1.5, turns


def test_the_tokenizer_loads_no_torch() -> None:
    code = "import sys, captune.metrics.ptb.tokenize; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
