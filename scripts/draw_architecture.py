"""Draws docs/architecture.svg from the imports in src/idjax: packages as boxes on the layers of pyproject.toml.

An arrow goes from a package to one that it imports; those that follow from other arrows are left out.

    python scripts/draw_architecture.py           # writes the picture
    python scripts/draw_architecture.py --check   # exits 1 if the picture is not that of the code
"""

import html
import itertools
import pathlib
import re
import sys
import tomllib

import grimp

ROOT = pathlib.Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "architecture.svg"
WIDTH, ROW, BOX_WIDTH, BOX_HEIGHT, MARGIN = 960, 104, 150, 52, 16
PLACES = {
    "cli": 0.71, "diagnosis": 0.68, "published": 0.48, "sweeps": 0.88, "training": 0.23, "prediction": 0.41,
    "theory": 0.14, "report": 0.59, "data": 0.51, "nn": 0.14, "results": 0.33, "settings": 0.39, "moments": 0.19,
    "types": 0.33,
}  # fmt: skip
"""Shares of the width at which packages stand, so that no arrow passes behind one; even ones if not given."""


def layers() -> list[list[str]]:
    """The layers of the import contract, from the top, each a list of packages."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [rows] = [contract["layers"] for contract in contracts if contract["type"] == "layers"]
    return [[name.strip().removeprefix("idjax.") for name in re.split(r"[|:]", row)] for row in rows]


def arrows(packages: list[str]) -> set[tuple[str, str]]:
    """The imports between packages that do not follow from others: the transitive reduction."""
    graph = grimp.build_graph("idjax", cache_dir=None)
    inside = {name: {f"idjax.{name}", *graph.find_descendants(f"idjax.{name}")} for name in packages}
    home = {module: name for name, modules in inside.items() for module in modules}
    found = {
        (name, home[imported])
        for name, modules in inside.items()
        for module in modules
        for imported in graph.find_modules_directly_imported_by(module)
        if home.get(imported, name) != name
    }
    reached = {name: {to for at, to in found if at == name} for name in packages}
    for _ in packages:  # far more often than there are layers
        reached = {name: below.union(*(reached[each] for each in below)) for name, below in reached.items()}
    return {(at, to) for at, to in found if not any(to in reached[via] for a, via in found if a == at and via != to)}


def first_line(package: str) -> str:
    """The first sentence of a package's or module's docstring, up to a colon or a full stop."""
    path = ROOT / "src" / "idjax" / package
    text = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    return text.split('"""')[1].strip().splitlines()[0].rstrip(".")


def picture() -> str:
    """The SVG text; the same for the same imports."""
    rows = layers()
    centre = {}
    for level, row in enumerate(rows):
        for place, name in enumerate(row):
            x = WIDTH * PLACES.get(name, (place + 1) / (len(row) + 1))
            centre[name] = (x, MARGIN + ROW * level + BOX_HEIGHT / 2)
    height = MARGIN * 2 + ROW * (len(rows) - 1) + BOX_HEIGHT
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" font-family="sans-serif">',
        "<title>The packages of idjax and what they import</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#5f5f5f"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height:g}" fill="#ffffff"/>',
    ]
    for at, to in sorted(arrows(list(itertools.chain(*rows)))):
        (x0, y0), (x1, y1) = centre[at], centre[to]
        y0, y1 = y0 + BOX_HEIGHT / 2, y1 - BOX_HEIGHT / 2 - 1
        middle = (y0 + y1) / 2
        parts.append(
            f'<path d="M{x0:g},{y0:g} C{x0:g},{middle:g} {x1:g},{middle:g} {x1:g},{y1:g}" fill="none" '
            f'stroke="#5f5f5f" stroke-width="1.3" marker-end="url(#tip)"/>'
        )
    for name, (x, y) in centre.items():
        parts.append(
            f'<rect x="{x - BOX_WIDTH / 2:g}" y="{y - BOX_HEIGHT / 2:g}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" '
            'rx="7" fill="#e8f1f8" stroke="#0072B2"/>'
            f'<text x="{x:g}" y="{y + 6:g}" text-anchor="middle" font-size="17" fill="#111">{html.escape(name)}'
            f"<title>{html.escape(first_line(name))}</title></text>"
        )
    return "\n".join([*parts, "</svg>", ""])


if __name__ == "__main__":
    drawn = picture()
    if "--check" in sys.argv:
        sys.exit(0 if PICTURE.exists() and PICTURE.read_text() == drawn else f"{PICTURE.name} is not that of the code")
    PICTURE.write_text(drawn)
