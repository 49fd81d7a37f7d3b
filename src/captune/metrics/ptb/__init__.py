"""Stanford's PTB tokenizer, which the COCO caption metrics use, without Java."""
