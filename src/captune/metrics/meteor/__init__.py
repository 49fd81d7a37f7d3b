"""METEOR 1.5 as coco-caption computes it, without Java."""
