"""Equal captions are counted; an export with too few of them is refused."""

from __future__ import annotations

import pytest

from captune.errors import ModelError
from captune.export.parity import compare_captions, require_parity
from captune.records import Prediction


def captions(*texts: str, logprob: float = -1.0) -> list[Prediction]:
    return [
        Prediction(str(number), text, logprob, len(text.split()), "eos", ())
        for number, text in enumerate(texts)
    ]


def test_equal_captions_are_counted_and_the_first_difference_is_shown() -> None:
    model = captions("a red dog", "a cat", "a bird", "a boat")
    exported = captions("a red dog", "a cat", "a bird", "a ship", logprob=-1.25)
    parity = compare_captions(model, exported)
    assert parity.num_images == 4
    assert parity.equal_share == 0.75
    assert parity.max_logprob_difference == 0.25
    assert parity.example == ("a boat", "a ship")


@pytest.mark.parametrize("is_int8", [False, True])
def test_an_export_that_changes_too_many_captions_is_refused_with_the_share(
    is_int8: bool,
) -> None:
    parity = compare_captions(captions("a", "b", "c", "d"), captions("a", "b", "c", "e"))
    require_parity(parity, least=0.75, is_int8=is_int8)
    with pytest.raises(ModelError) as caught:
        require_parity(parity, least=0.98, is_int8=is_int8)
    assert "75% of 4 captions equal the model's, 98% are needed" in caught.value.what
    assert "'d' became 'e'" in caught.value.what
    assert "--min-equal 0.75" in caught.value.fix


def test_the_share_that_the_error_offers_is_accepted() -> None:
    model = captions(*map(str, range(9)))
    parity = compare_captions(model, captions(*map(str, range(7)), "x", "y"))
    with pytest.raises(ModelError, match=r"77\.8% of 9 captions") as caught:
        require_parity(parity, least=0.98, is_int8=False)
    offered = float(caught.value.fix.rpartition("--min-equal ")[2])
    assert offered == 0.77
    require_parity(parity, least=offered, is_int8=False)
