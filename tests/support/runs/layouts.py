"""Small data sets in exactly the layouts of five real ones, and tiny models of their families."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import transformers
from PIL import Image, ImageDraw

from captune.models import build_size, train_tokenizer
from captune.recipe import TokenizerConfig

COLORS = ("red", "green", "blue", "yellow", "white", "purple")
THINGS = ("circle", "square")
SIZE = 48


def draw(number: int) -> tuple[Image.Image, str]:
    """Draw a coloured circle or square on grey; return it with its name."""
    color, thing = COLORS[number % len(COLORS)], THINGS[number // len(COLORS) % 2]
    image = Image.new("RGB", (SIZE + number, SIZE), (90, 90, 90 + number % 60))
    canvas = ImageDraw.Draw(image)
    place = 4 + number % 9
    shape = canvas.ellipse if thing == "circle" else canvas.rectangle
    shape((place, place, place + 28, place + 28), fill=color)
    return image, f"{color} {thing}"


def encode(image: Image.Image, kind: str) -> bytes:
    """Return the bytes of the image in a file format."""
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def five_captions(name: str) -> list[str]:
    """Return five wordings; some have commas, at which a naive reader splits."""
    return [
        f"A {name} on grey .",
        f"There is a {name}, on a plain ground .",
        f"One {name} is seen .",
        f'A picture of a {name}, "centred" .',
        f"A {name} .",
    ]


def write_parquet(folder: Path, rows: int) -> Path:
    """Write a hub data set: columns `image` and `text`, one caption per image."""
    import datasets

    pairs = [draw(number) for number in range(rows)]
    columns = {
        "image": [{"bytes": encode(image, "PNG"), "path": None} for image, _ in pairs],
        "text": [f"a drawing of a {name}" for _, name in pairs],
    }
    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    (folder / "data").mkdir(parents=True)
    table = datasets.Dataset.from_dict(columns, features=features)
    table.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder


def write_kaggle_flickr8k(folder: Path, images: int) -> Path:
    """Write the unpacked Kaggle copy: captions.txt, a real CSV, and Images/."""
    (folder / "Images").mkdir(parents=True)
    with (folder / "captions.txt").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "caption"])
        for number in range(images):
            image, name = draw(number)
            file_name = f"{1000268201 + number}_693b08cb0e.jpg"
            (folder / "Images" / file_name).write_bytes(encode(image, "JPEG"))
            rows.writerows([file_name, caption] for caption in five_captions(name))
    return folder


def write_hephaestus(folder: Path, frames: int, *, parts: int) -> Path:
    """Write annotations.zip and the images in `parts` zip archives; five pairs per frame."""
    folder.mkdir(parents=True)
    archives = [
        zipfile.ZipFile(folder / (f"images_set{part + 1}.zip" if parts > 1 else "images.zip"), "w")
        for part in range(parts)
    ]
    with zipfile.ZipFile(folder / "annotations.zip", "w") as annotations:
        for number in range(frames * 5):
            image, name = draw(number)
            with archives[number % parts].open(f"{number}.png", "w") as member:
                member.write(encode(image, "PNG"))
            text = json.dumps(
                {
                    "uniqueID": number,
                    "frameID": f"{103 + number // 5}A_07010_121313",
                    "primary_date": "20150210",
                    "secondary_date": f"201503{1 + number % 28:02d}",
                    "corrupted": int(number == 0),
                    "label": ["Non_Deformation"],
                    "activity_type": [],
                    "intensity_level": [],
                    "phase": "Rest",
                    "confidence": 0.8,
                    "segmentation_mask": [],
                    "caption": f"Turbulent mixing effect like a {name} can be detected .",
                }
            )
            annotations.writestr(f"annotations/{number}.json", text)
    for archive in archives:
        archive.close()
    return folder


def write_karpathy_coco(folder: Path, images: int) -> Path:
    """Write dataset_coco.json with train2014/ and val2014/."""
    entries = []
    for number, (image, name) in enumerate(map(draw, range(images))):
        split = ("train", "train", "restval", "train", "val", "test")[number % 6]
        below = "train2014" if split == "train" else "val2014"
        file_name = f"COCO_{below}_{number:012d}.jpg"
        (folder / below).mkdir(parents=True, exist_ok=True)
        (folder / below / file_name).write_bytes(encode(image, "JPEG"))
        sentences = [{"raw": c, "tokens": c.split(), "imgid": number} for c in five_captions(name)]
        entries.append(
            {
                "filename": file_name,
                "filepath": below,
                "split": split,
                "cocoid": number,
                "imgid": number,
                "sentences": sentences,
            }
        )
    (folder / "dataset_coco.json").write_text(json.dumps({"dataset": "coco", "images": entries}))
    return folder


def write_sidecars(folder: Path, images: int) -> Path:
    """Write images, each with a text file."""
    folder.mkdir(parents=True)
    for number, (image, name) in enumerate(map(draw, range(images))):
        (folder / f"{number:03d}.png").write_bytes(encode(image, "PNG"))
        (folder / f"{number:03d}.txt").write_text("\n".join(five_captions(name)))
    return folder


def words() -> Iterator[str]:
    """Yield every caption of the data sets above."""
    for number in range(12):
        name = draw(number)[1]
        yield from five_captions(name)
        yield f"a drawing of a {name}"
        yield f"Turbulent mixing effect like a {name} can be detected ."


def save_captioner(folder: Path, size: str) -> Path:
    """Save a captioner of a named size, with random weights, as a checkpoint folder."""
    tokenizer = train_tokenizer(words(), TokenizerConfig(kind="word", min_count=1))
    build_size(size, tokenizer).save(folder)
    return folder


def save_bert(folder: Path) -> Path:
    """Save a random BERT of ten layers; under the known name, BERTScore uses nine of them."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += sorted({word.lower() for text in words() for word in text.split()})
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(tokens))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    config = transformers.BertConfig(
        vocab_size=len(tokens),
        hidden_size=16,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=10,
        max_position_embeddings=64,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def save_pair(folder: Path) -> tuple[Path, Path]:
    """Save a Swin encoder and a GPT-2 decoder, each with the files of its repository."""
    encoder, decoder = folder / "swin", folder / "gpt2"
    vision = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4
    )
    transformers.SwinModel(vision).save_pretrained(encoder)
    side = {"height": 32, "width": 32}
    transformers.ViTImageProcessorPil(size=side).save_pretrained(encoder)
    tokenizer = train_tokenizer(words(), TokenizerConfig(kind="bpe", vocab_size=400))
    gpt2 = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer.backend_tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
    )
    gpt2.save_pretrained(decoder)
    text = transformers.GPT2Config(
        vocab_size=len(gpt2),
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=64,
        bos_token_id=gpt2.bos_token_id,
        eos_token_id=gpt2.eos_token_id,
    )
    transformers.GPT2LMHeadModel(text).save_pretrained(decoder)
    return encoder, decoder
