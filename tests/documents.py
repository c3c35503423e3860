"""What README and the pages of docs/ are made of: sentences, commands, links, headings, overlays."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
README, CONTRIBUTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
PAGES = [README, CONTRIBUTING, ROOT / "bundles/semicycle/docs/README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_PROSE = [CONTRIBUTING, ROOT / "docs/results/table/table.md"]  # a list of folders; made by `semicycle table`
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ENDS = re.compile(r"(?<=[.!?])[*)`\"]*\s+")
ABBREVIATIONS = re.compile(r"\b(al|e\.g|i\.e|vs|no)\.")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    """The contents of a page's fenced blocks of these languages."""
    return [content for language, content in FENCE.findall(text_of(page)) if language in languages]


def prose(page: Path) -> list[str]:
    """The page's paragraphs, items of lists and cells of tables, each as one line; inline code is one word."""
    text = re.sub(r"<!--.*?-->", "", FENCE.sub("\n", text_of(page)), flags=re.DOTALL)
    text = re.sub(r"^( {4}|#|--8<--|:::).*$", "", text, flags=re.MULTILINE)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", re.sub(r"`[^`]*`", "code", text))
    text = re.sub(r"^\s*([-*]|\d+\.) ", "\n\n", text, flags=re.MULTILINE)
    parts = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = paragraph.strip().splitlines()
        if lines and lines[0].startswith("|"):
            parts += [cell.strip() for line in lines for cell in line.split("|")]
        else:
            parts.append(" ".join(line.strip() for line in lines))
    return [part for part in parts if part]


def sentences(page: Path) -> Iterator[str]:
    """The page's sentences, without their code."""
    for part in prose(page):
        yield from ENDS.split(ABBREVIATIONS.sub(r"\1", part))


def words(sentence: str) -> int:
    """How many words a sentence has; a dash or a sign alone is none."""
    return sum(any(letter.isalnum() for letter in word) for word in sentence.split())


def commands(page: Path) -> list[list[str]]:
    """The commands of a page's blocks, as a shell splits them, without the variables before them."""
    found = []
    for block in blocks(page, "", "bash"):
        if "├" in block:  # a drawn tree of folders
            continue
        for line in block.replace("\\\n", " ").splitlines():
            if "[OVERLAY" not in line and "'again=" not in line:  # a synopsis; a trap of the shell
                tokens = shlex.split(line.removesuffix("&"), comments=True)
                found.append([token for n, token in enumerate(tokens) if n or "=" not in token])
    return [command for command in found if command]


def inline_commands(page: Path) -> list[list[str]]:
    """The commands in a page's sentences, which may be cut short."""
    codes = re.findall(r"`((?:semicycle|make|python|ACDC_DIR=PATH bash) [^`]+)`", FENCE.sub("", text_of(page)))
    return [shlex.split(" ".join(code.split())) for code in codes]


def inline_code(page: Path) -> list[str]:
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text_of(page)))


def links(page: Path) -> list[str]:
    """Where a page's links and pictures lead, but for other sites."""
    targets = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(page)))
    return [target for target in targets if not target.startswith(("http://", "https://"))]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and mkdocs make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading.strip().lower())) for heading in headings}


def sections(page: Path) -> list[str]:
    """A page's parts, each with its heading of the first or second level."""
    return re.split(r"^##? ", text_of(page), flags=re.MULTILINE)


def overlays(page: Path) -> dict[str, str]:
    """The overlays and modules that a page shows whole, by the file's name in their first line."""
    shown = {}
    for block in blocks(page, "yaml", "python"):
        name = re.match(r"# (\w+\.(?:yaml|py))\n", block)
        if name:
            shown[name[1]] = block
    return shown
