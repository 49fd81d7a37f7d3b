"""Write coco_values.json: pycocoevalcap's tokens and values for captions.jsonl, with all digits.

Needs Java and the package: `pip install pycocoevalcap==1.2`. The captions are captune's own; run
`python tests/metrics/expected/make_coco_values.py` again after changing them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

FOLDER = Path(__file__).parent


def main() -> None:
    """Tokenize both sides, score them, and write tokens and values."""
    lines = (FOLDER / "captions.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    human = {r["image_id"]: [{"caption": c} for c in r["references"]] for r in rows}
    captions = {r["image_id"]: [{"caption": r["prediction"]}] for r in rows}
    references = PTBTokenizer().tokenize(human)
    predictions = PTBTokenizer().tokenize(captions)
    corpus: dict[str, float] = {}
    per_image: dict[str, list[float]] = {}

    def keep(name: str, value: Any, values: Any) -> None:
        corpus[name], per_image[name] = float(value), [float(one) for one in values]

    values, lists = Bleu(4).compute_score(references, predictions, verbose=0)
    for order, (value, own) in enumerate(zip(values, lists, strict=True), 1):
        keep(f"bleu_{order}", value, own)
    keep("rouge_l", *Rouge().compute_score(references, predictions))
    keep("cider", *Cider().compute_score(references, predictions))
    keep("meteor", *Meteor().compute_score(references, predictions))
    content = {
        "made_by": "pycocoevalcap 1.2",
        "corpus": corpus,
        "per_image": per_image,
        "reference_tokens": list(references.values()),
        "prediction_tokens": [own[0] for own in predictions.values()],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (FOLDER / "coco_values.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
