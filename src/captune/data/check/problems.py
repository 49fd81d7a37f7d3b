"""The problems of a data set in sentences: what, how many, and how to fix it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from captune.data.check.findings import DataCheck, DataProblem
from captune.data.dataset import SkippedImage
from captune.suggest import format_count

_COMMON_SHARE = 0.02
_NOT_THERE = ("missing", "remote", "outside")
_ADVICE = {
    "missing": "put the files where the captions name them, or give the folder: --image-root",
    "remote": "download the images first, and give the folder: --image-root",
    "outside": "give the folder: --image-root, or allow any path: --allow-outside",
    "needs_plugin": "pip install pillow-heif (HEIC), or pillow-jxl-plugin (JPEG XL)",
    "git_lfs_pointer": "fetch the files that the pointers stand for: `git lfs pull`",
    "too_many_pixels": "shrink the largest images",
    "aspect": "cut long strips into pieces",
}
"""How to fix unusable images where fetching them again does not help, by reason."""
_LEAK_WORDS = {
    "exact": "the same image is in two splits",
    "near": "nearly the same image is in two splits",
    "group": "images of one group are in two splits",
    "given": "the data set itself puts an image into two splits (it was kept in the first)",
}


def list_problems(findings: DataCheck) -> tuple[DataProblem, ...]:
    """Return the problems of a data set, errors first."""
    problems = (
        *_list_file_problems(findings),
        *_list_leaks(findings),
        *_list_duplicates(findings),
        *_list_caption_problems(findings),
    )
    return tuple(sorted(problems, key=lambda problem: problem.severity != "error"))


def _list_file_problems(findings: DataCheck) -> list[DataProblem]:
    problems = []
    captionless = [image for image in findings.skipped if image.reason == "no_caption"]
    missing = [image for image in findings.skipped if image.reason in _NOT_THERE]
    others = [i for i in findings.skipped if i.reason not in ("no_caption", *_NOT_THERE)]
    if missing:
        problems.append(
            DataProblem(
                "error",
                f"{format_count(len(missing), 'image')} cannot be found ({_reasons(missing)})",
                _advise(missing),
            )
        )
    if others:
        problems.append(
            DataProblem(
                "error",
                f"{format_count(len(others), 'file')} of the data set cannot be used"
                f" ({_reasons(others)})",
                f"the first: {others[0].file}{f': {others[0].detail}' * bool(others[0].detail)}",
            )
        )
    if findings.unreadable:
        problems.append(
            DataProblem(
                "error",
                f"{format_count(len(findings.unreadable), 'image')} cannot be read"
                f" ({_reasons(findings.unreadable)})",
                f"{_advise(findings.unreadable)}; training skips them and lists them",
            )
        )
    if captionless:
        text = f"{format_count(len(captionless), 'image')} without a caption, skipped"
        problems.append(DataProblem("warning", text))
    return problems


def _list_leaks(findings: DataCheck) -> list[DataProblem]:
    counts = Counter(leak.kind for leak in findings.leaks)
    # Near images and groups may be split on purpose, to reproduce a published split.
    return [
        DataProblem(
            "error" if kind in ("exact", "given") else "warning",
            f"{_LEAK_WORDS[kind]}: {format_count(number, 'case')}",
            "drop one of them, or draw the splits by group: the model is scored on images that it"
            " was trained on",
        )
        for kind, number in counts.items()
    ]


def _list_duplicates(findings: DataCheck) -> list[DataProblem]:
    problems = []
    for kind, groups in (
        ("the same image under different names", findings.exact_duplicates),
        ("images that look nearly the same", findings.near_duplicates),
    ):
        if groups:
            number = sum(len(group) for group in groups)
            problems.append(
                DataProblem(
                    "warning",
                    f"{kind}: {format_count(len(groups), 'group')} with"
                    f" {format_count(number, 'image')} in total",
                    "keep one of each, or give them the same group, so that a split keeps them"
                    " together",
                )
            )
    return problems


def _list_caption_problems(findings: DataCheck) -> list[DataProblem]:
    problems = []
    # An image whose only caption is empty is listed as one without a caption.
    skipped = {image.image_id for image in findings.skipped if image.reason == "no_caption"}
    empty = sum(image_id not in skipped for image_id in findings.empty_captions)
    if empty:
        problems.append(
            DataProblem("warning", f"{format_count(empty, 'empty caption')}, not used in training")
        )
    if findings.placeholder_captions:
        number = sum(caption.num_images for caption in findings.placeholder_captions)
        first = findings.placeholder_captions[0].caption
        problems.append(
            DataProblem(
                "warning",
                f"{format_count(number, 'caption')} with no description, such as {first!r}",
                "remove them: a model learns to write them",
            )
        )
    problems += _list_common(findings)
    if findings.unspaced_script:
        problems.append(
            DataProblem(
                "warning",
                f"the captions are {findings.unspaced_script}, written without spaces between"
                " words: metrics and word tokenizers see each as one word or a few",
                "score them with evaluate.tokenize: char (--tokenize char); if you train a"
                " tokenizer, use kind bpe",
            )
        )
    if findings.repeated_captions:
        number = len(findings.repeated_captions)
        problems.append(
            DataProblem(
                "warning",
                f"{format_count(number, 'image')} with the same caption twice",
                "keep one of each: it counts twice in training, and as a reference of CIDEr",
            )
        )
    if findings.num_cut:
        share = findings.num_cut / findings.num_captions
        problems.append(
            DataProblem(
                "warning",
                f"{format_count(findings.num_cut, 'caption')} ({share:.1%}) longer than"
                f" {findings.max_caption_tokens} tokens would be truncated",
                "raise data.max_caption_tokens",
            )
        )
    return problems


def _list_common(findings: DataCheck) -> list[DataProblem]:
    limit = max(3.0, _COMMON_SHARE * findings.num_images)
    common = [item for item in findings.common_captions if item.num_images > limit]
    if not common:
        return []
    share = common[0].num_images / findings.num_images
    return [
        DataProblem(
            "warning",
            f"{format_count(len(common), 'caption')} shared by many images; {common[0].caption!r}"
            f" alone by {common[0].num_images} ({share:.1%})",
            "a model that always writes this caption already scores: compare with the"
            " constant-caption baseline",
        )
    ]


def _reasons(images: Sequence[SkippedImage]) -> str:
    counts = Counter(image.reason for image in images)
    return ", ".join(f"{number} {reason}" for reason, number in counts.most_common())


def _advise(images: Sequence[SkippedImage]) -> str:
    reasons = [reason for reason, _ in Counter(image.reason for image in images).most_common()]
    advice = [_ADVICE.get(reason, "fetch the files again") for reason in reasons]
    return "; ".join(dict.fromkeys(advice))
