"""CLIPScore by a tiny random CLIP model, against the formula by hand."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captune.errors import MetricError, ModelError
from captune.metrics import bootstrap_intervals
from captune.metrics.neural.clip import ClipScorer, compute_clip_score, embed_images_cached
from support.models.tiny_clip import save_clip

REFERENCES = {"1": ["a dog", "one dog"], "2": ["two cats sit"]}
PREDICTIONS = {"1": "a dog", "2": "a red car"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def scorer(folder: Path) -> ClipScorer:
    return ClipScorer.load(folder, batch_size=2)


def paint() -> list[Image.Image]:
    return [Image.new("RGB", (48, 40), "red"), Image.new("L", (33, 64), 200)]


def test_scores_follow_the_formula_of_the_paper(scorer: ClipScorer) -> None:
    features = scorer.embed_images(paint())
    results = compute_clip_score(REFERENCES, PREDICTIONS, image_features=features, scorer=scorer)
    texts = scorer.embed_captions([*PREDICTIONS.values(), "one dog", "two cats sit"])
    cosines = [float(texts[i] @ features[i]) for i in range(2)]
    with_image = [2.5 * max(cosine, 0.0) for cosine in cosines]
    with_text = [1.0, float(texts[1] @ texts[3])]
    harmonic = [
        2 * a * b / (a + b) if a + b else 0.0 for a, b in zip(with_image, with_text, strict=True)
    ]
    np.testing.assert_allclose(results.per_image["clip_score"], with_image, atol=1e-6)
    np.testing.assert_allclose(results.per_image["ref_clip_score"], harmonic, atol=1e-6)
    assert results.corpus["clip_score"] == pytest.approx(np.mean(with_image), abs=1e-6)
    assert set(bootstrap_intervals(results, num_resamples=10)) == {"clip_score", "ref_clip_score"}


def test_the_weight_of_pac_s_scales_the_score(scorer: ClipScorer) -> None:
    features = scorer.embed_captions(list(PREDICTIONS.values()))
    for weight in (2.5, 2.0):
        results = compute_clip_score(
            REFERENCES, PREDICTIONS, image_features=features, scorer=scorer, weight=weight
        )
        np.testing.assert_allclose(results.per_image["clip_score"], [weight] * 2, atol=1e-5)
        assert f"weight:{weight:g}|dtype:fp32|refs:1-2" in results.signatures["clip_score"]


def test_batches_do_not_change_features(folder: Path, scorer: ClipScorer) -> None:
    captions = ["a", "a dog on the grass by the sea", "a", "cats", ""]
    single = ClipScorer.load(folder, batch_size=1)
    np.testing.assert_allclose(
        single.embed_captions(captions), scorer.embed_captions(captions), atol=1e-6
    )
    np.testing.assert_allclose(
        single.embed_images(paint() * 2), scorer.embed_images(paint() * 2), atol=1e-6
    )


def test_captions_beyond_the_models_length_are_truncated(scorer: ClipScorer) -> None:
    long = scorer.embed_captions(["dog " * 500, "dog " * 600])
    np.testing.assert_allclose(long[0], long[1], atol=1e-7)


def test_cached_features_are_read_without_the_images(scorer: ClipScorer, tmp_path: Path) -> None:
    def never() -> Iterator[Image.Image]:
        raise AssertionError("the images were read again")
        yield

    first = embed_images_cached(scorer, paint(), keys=["x", "y"], folder=tmp_path)
    again = embed_images_cached(scorer, never(), keys=["x", "y"], folder=tmp_path)
    assert (first == again).all()
    with pytest.raises(AssertionError):
        embed_images_cached(scorer, never(), keys=["x", "z"], folder=tmp_path)
    kept = next(tmp_path.iterdir())
    other_shape, other_values = io.BytesIO(), io.BytesIO()
    np.save(other_shape, first[:1])
    np.save(other_values, np.full_like(first, np.nan))
    # The third looks like an archive of arrays.
    for damaged in (b"damaged", b"", b"PK\3\4", other_shape.getvalue(), other_values.getvalue()):
        kept.write_bytes(damaged)
        found = embed_images_cached(scorer, paint(), keys=["x", "y"], folder=tmp_path)
        assert (found == first).all()


def test_features_must_match_the_images(scorer: ClipScorer) -> None:
    features = scorer.embed_images(paint()[:1])
    with pytest.raises(MetricError, match="1 row of image features for 2 images"):
        compute_clip_score(REFERENCES, PREDICTIONS, image_features=features, scorer=scorer)


def test_a_source_that_is_not_a_clip_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded as a CLIP model"):
        ClipScorer.load(tmp_path)
