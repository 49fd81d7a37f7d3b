"""Small data and tiny models under the names that the shipped recipes use."""

from __future__ import annotations

from pathlib import Path

from support.runs import layouts

BLIP = "Salesforce/blip-image-captioning-base"


def lay_out(name: str, folder: Path) -> None:
    """Write small data and tiny models to the folder, under the names in a notebook's recipe."""
    if name == "1_pokemon_git":
        layouts.write_parquet(folder / "lambdalabs/naruto-blip-captions", 40)
        layouts.save_captioner(folder / "microsoft/git-base", "git-tiny")
    elif name == "2_football_blip":
        layouts.write_parquet(folder / "ybelkada/football-dataset", 6)
        layouts.save_captioner(folder / BLIP, "blip-tiny")
    elif name == "3_flickr8k_blip":
        cached = folder / "kaggle/datasets/adityajn105/flickr8k"
        layouts.write_kaggle_flickr8k(cached / "versions/1", 20)
        (cached / "1.complete").touch()
        layouts.save_captioner(folder / BLIP, "blip-tiny")
    elif name == "4_hephaestus_blip_large":
        layouts.write_hephaestus(folder / "hephaestus", 6, parts=4)
        layouts.save_captioner(folder / "blip-image-captioning-large", "blip-tiny")
        layouts.save_bert(folder / "bert-base-uncased")
    elif name == "5_coco_swin_gpt2":
        encoder, decoder = layouts.save_pair(folder / "pair")
        layouts.write_karpathy_coco(folder / "coco", 36)
        (folder / "microsoft").mkdir()
        encoder.rename(folder / "microsoft/swin-base-patch4-window7-224-in22k")
        decoder.rename(folder / "gpt2")
    else:
        layouts.write_sidecars(folder / "my-pictures", 20)
        layouts.save_captioner(folder / BLIP, "blip-tiny")
