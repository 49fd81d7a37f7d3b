"""What `data.exact_pixels: false` changes in a trained model's scores.

    python benchmarks/pixel_scores.py MODEL --data DATA [--split val] [--images 500]

The model captions the same images twice: with pixels that equal the image processor's, and with
those of the faster way (JPEG draft decoding, resizing by torch). Prints the scores of both, the
differences with their intervals, and how many captions and pixels differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from captune.data import InlineDecoder, load_records, select_split
from captune.inference import generate
from captune.metrics import References, compute, paired_bootstrap
from captune.models import (
    Captioner,
    LevelTransform,
    inference_form,
    level_transform,
    load_captioner,
)
from captune.recipe import GenerateConfig
from captune.records import CaptionRecord, VisionInputs

METRICS = ("bleu", "cider", "meteor")
BATCH_SIZE = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--data", required=True)
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--num-beams", type=int, default=3)
    options = parser.parse_args()
    loaded = load_records(options.data).records
    records = select_split(loaded, options.split)[: options.images]
    captioner = load_captioner(options.model)
    references = References({record.image_id: record.captions for record in records})
    found = {}
    for is_exact in (True, False):
        inputs = read_inputs(captioner, records, is_exact=is_exact)
        captions = caption(captioner, records, inputs, num_beams=options.num_beams)
        scores = compute(references, captions, metrics=METRICS)
        found[is_exact] = (inputs, captions, scores)
        values = ", ".join(f"{name} {value:.4f}" for name, value in scores.corpus.items())
        print(f"{'exact' if is_exact else 'fast'} pixels: {values}", flush=True)
    (pixels, captions, scores), (others, other_captions, other_scores) = found[True], found[False]
    for name, test in paired_bootstrap(scores, other_scores).items():
        interval = f"95 % interval {test.low:+.4f} to {test.high:+.4f}"
        print(f"{name}: fast minus exact {test.delta:+.4f}, {interval}, p {test.p_value:.2f}")
    same = sum(captions[key] == other_captions[key] for key in captions)
    print(f"equal captions: {same} of {len(captions)}; {len(set(captions.values()))} different")
    differences = [
        (a.pixel_values.int() - b.pixel_values.int()).abs().float()
        for a, b in zip(pixels, others, strict=True)
    ]
    mean = torch.stack([difference.mean() for difference in differences]).mean()
    most = max(float(difference.max()) for difference in differences)
    print(f"levels (0 to 255) differ by {mean:.3f} on average, at most by {most:.0f}")


def read_inputs(
    captioner: Captioner, records: Sequence[CaptionRecord], *, is_exact: bool
) -> list[VisionInputs]:
    """Return each image's levels, decoded as training does."""
    transform = level_transform(captioner.image_transform(), exact=is_exact)
    smallest = transform.smallest_input if isinstance(transform, LevelTransform) else None
    decoder = InlineDecoder(smallest=smallest)
    return [decoder.decode(record.image, transform) for record in records]


@torch.inference_mode()
def caption(
    captioner: Captioner,
    records: Sequence[CaptionRecord],
    inputs: Sequence[VisionInputs],
    *,
    num_beams: int,
) -> dict[str, str]:
    """Return a caption per image id, in float32."""
    captioner.eval_mode()
    form = inference_form(captioner, vision=torch.float32, text=torch.float32)
    config = GenerateConfig(num_beams=num_beams, max_new_tokens=30)
    captions = {}
    for start in range(0, len(records), BATCH_SIZE):
        places = range(start, min(start + BATCH_SIZE, len(records)))
        predictions = generate(
            captioner,
            form.encode(VisionInputs.join([inputs[place] for place in places])),
            image_ids=[records[place].image_id for place in places],
            config=config,
            backend=form.text,
        )
        captions.update({each.image_id: each.caption for each in predictions})
    return captions


if __name__ == "__main__":
    main()
