"""Tables of text: each style keeps names that would break it, and numbers as they are."""

from __future__ import annotations

import csv
import io

import pytest

from captune.evaluation import TextTable, render_table
from captune.text_safety import escape_latex

TABLE = TextTable(
    ("metric", "run_1", "50 % | a&b"),
    (("CIDEr", "0.529 [0.501, 0.557]", "−0.100"), ("BLEU-4", "0.2", "–")),
    note="split:test|refs:5",
)


def test_plain_columns_are_aligned() -> None:
    assert render_table(TABLE, "plain").split("\n") == [
        "metric                 run_1  50 % | a&b",
        "CIDEr   0.529 [0.501, 0.557]      −0.100",
        "BLEU-4                   0.2           –",
        "split:test|refs:5",
    ]


def test_plain_columns_are_aligned_with_letters_of_two_cells() -> None:
    table = TextTable(("run", "n"), (("狗", "1"), ("dogs", "2")))
    assert render_table(table, "plain").split("\n") == ["run   n", "狗    1", "dogs  2"]


def test_markdown_escapes_names_and_ends_with_the_note() -> None:
    assert render_table(TABLE, "markdown").split("\n") == [
        r"| metric | run\_1 | 50 % \| a&amp;b |",
        "| --- | ---: | ---: |",
        "| CIDEr | 0.529 [0.501, 0.557] | −0.100 |",
        "| BLEU-4 | 0.2 | – |",
        "",
        "`split:test|refs:5`",
    ]


def test_latex_escapes_names_and_numbers() -> None:
    assert render_table(TABLE, "latex").split("\n") == [
        r"% \usepackage{booktabs}",
        "% split:test|refs:5",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"metric & run\_1 & 50 \% \textbar{} a\&b \\",
        r"\midrule",
        r"CIDEr & 0.529 [0.501, 0.557] & $-$0.100 \\",
        r"BLEU-4 & 0.2 & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_csv_guards_names_that_a_spreadsheet_would_run() -> None:
    table = TextTable(("run", "value"), (("=HYPERLINK(1)", "-0.1"), ('a,"b"', "2")))
    text = render_table(table, "csv")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows == [["run", "value"], ["'=HYPERLINK(1)", "-0.1"], ['a,"b"', "2"]]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        (r"a\b{c}", r"a\textbackslash{}b\{c\}"),
        ("100%_#1$&", r"100\%\_\#1\$\&"),
        ("~x^2", r"\textasciitilde{}x\textasciicircum{}2"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("a---b-c", "a-{}-{}-b-c"),
        ("[x] *", "{[}x] *"),
        ("*x", "{*}x"),
        ("p < 0.05 ± 1", r"p \textless{} 0.05 $\pm$ 1"),
        ("a\nb\x00\u202e", "a b"),
        ("", ""),
    ],
)
def test_latex_sets_every_character_literally(text: str, escaped: str) -> None:
    assert escape_latex(text) == escaped
