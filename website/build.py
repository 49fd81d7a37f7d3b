"""Build the documentation site into build/site: `make docs`.

The pages are plain Markdown in docs/ and stay readable on a forge. This script copies them to
build/website, adds what is generated from the code and from the notebooks, and calls zensical,
which stops at a broken link or anchor. The site opens offline, from a folder: no page loads
anything from elsewhere.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import reference
import tutorials

ROOT = Path(__file__).resolve().parent.parent
MARKER = re.compile(r"^<!-- generated: ([\w-]+) -->\n(?:.*\n)*?<!-- end -->$", re.MULTILINE)
LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
COPIED = {
    "CONTRIBUTING.md": "developers/contributing.md",
    "SECURITY.md": "developers/security.md",
    "CHANGELOG.md": "developers/changelog.md",
}
"""Pages outside docs/, with their place on the site."""
# The offline search needs a worker; browsers refuse one from a folder, and zensical then loads
# a replacement from a CDN. website/assets/frame_worker.js replaces that.
CDN_WORKER = "https://unpkg.com/iframe-worker/shim"


def main() -> None:
    """Read the arguments and build."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    out = parser.parse_args().out.resolve()
    work = out.with_name(out.name + "-source")
    stage(work)
    zensical = [sys.executable, "-m", "zensical", "build", "--strict", "-f", "mkdocs.yml"]
    if code := subprocess.run(zensical, cwd=work, check=False).returncode:
        sys.exit(code)
    bundle_worker(work / "site")
    shutil.rmtree(out, ignore_errors=True)
    shutil.move(work / "site", out)
    shutil.rmtree(work)
    print(f"open {out / 'index.html'}")


def stage(work: Path) -> None:
    """Write everything that zensical reads to a folder."""
    shutil.rmtree(work, ignore_errors=True)
    pages = work / "docs"
    shutil.copytree(ROOT / "docs", pages)
    shutil.copy(ROOT / "mkdocs.yml", work)
    shutil.copytree(ROOT / "website" / "assets", pages / "assets")
    (pages / "developers").mkdir()
    for name, page in COPIED.items():
        shutil.copy(ROOT / name, pages / page)
    origin = {pages / page: ROOT / name for name, page in COPIED.items()}
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page = tutorials.write_page(notebook, pages / "tutorials")
        origin[page] = notebook
    for page in sorted(pages.rglob("*.md")):
        source = origin.get(page, ROOT / "docs" / page.relative_to(pages))
        text = MARKER.sub(lambda match: reference.PAGES[match[1]](), page.read_text())
        page.write_text(move_links(text, source=source, page=page, pages=pages))


def move_links(text: str, *, source: Path, page: Path, pages: Path) -> str:
    """Return the text of a page with its links to files of the repository leading to the site."""

    def move(match: re.Match[str]) -> str:
        if re.match(r"\w+:", match[2]):
            return match[0]
        target = (source.parent / match[2]).resolve()
        if not target.exists():
            # Pictures of a notebook, and mistakes, which zensical reports.
            return match[0]
        place = site_place(target, pages)
        return f"{match[1]}{relative(place, page.parent)}{match[3]}"

    return LINK.sub(move, text)


def site_place(target: Path, pages: Path) -> Path:
    """Return where the site has a file of the repository; other files are copied there."""
    name = target.relative_to(ROOT).as_posix()
    if name == "README.md":
        return pages / "index.md"
    if name in COPIED:
        return pages / COPIED[name]
    if target.is_relative_to(ROOT / "docs"):
        return pages / target.relative_to(ROOT / "docs")
    if target.suffix == ".ipynb":
        return pages / "tutorials" / f"{target.stem}.md"
    if target.is_dir():
        return _listing(target, pages)
    place = pages / "files" / name
    place.parent.mkdir(parents=True, exist_ok=True)
    # As text, which every browser shows.
    place = place.with_name(place.name + ".txt")
    shutil.copy(target, place)
    return place


def _listing(folder: Path, pages: Path) -> Path:
    """Write the files of a folder as one page of text, and return its place."""
    place = pages / "files" / f"{folder.relative_to(ROOT).as_posix()}.txt"
    place.parent.mkdir(parents=True, exist_ok=True)
    parts = [f"# {file.name}\n\n{file.read_text()}" for file in sorted(folder.glob("*.*"))]
    place.write_text("\n\n".join(parts))
    return place


def relative(target: Path, folder: Path) -> str:
    """Return the path from a folder to a file, with slashes."""
    return Path(os.path.relpath(target, folder)).as_posix()


def bundle_worker(site: Path) -> None:
    """Have every page load the replacement of Worker from the site itself."""
    for page in site.rglob("*.html"):
        up = "../" * (len(page.relative_to(site).parts) - 1)
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace(CDN_WORKER, f"{up}assets/frame_worker.js"), encoding="utf-8")


if __name__ == "__main__":
    main()
