"""What mkdocs adds to these pages: README and its like, commands from ``--help``, the library from
its docstrings, the gallery.

``python docs/hooks.py`` writes docs/gallery.md from figures/gallery/manifest.json, and tables of
docs/speed.md and docs/large.md from tests/benchmarks/results/.
"""

import inspect
import json
import re
import sys
from importlib import metadata
from pathlib import Path
from statistics import median

import click

ROOT = Path(__file__).parents[1]
GALLERY = ROOT / "figures" / "gallery"
RESULTS = ROOT / "tests" / "benchmarks" / "results"
BESIDE = {"README.md": "start.md", "CONTRIBUTING.md": "contributing.md", "ARCHITECTURE.md": "architecture.md",
          "CHANGELOG.md": "changelog.md", "SECURITY.md": "security.md", "LICENSE": "license.md"}  # fmt: skip


def on_config(config):
    """The library's pages stand in the menu below its list."""
    reference = next(part["Reference"] for part in config["nav"] if "Reference" in part)
    place = next(i for i, part in enumerate(reference) if "Library" in part)
    pages = [{f"ls.{Path(p).stem}": p} for p in library() if p != "api.md"]
    reference[place] = {"Library": ["api.md", *pages]}
    config["copyright"] = f"landscape {metadata.version('torch-landscape')}"
    return config


def on_pre_page(page, config, files):
    """Pages that are not files of docs/ are edited where they lie, or nowhere."""
    name = page.file.src_uri
    beside = {new: old for old, new in BESIDE.items()}
    if name in beside:
        page.edit_url = f"{config['repo_url']}/edit/main/{beside[name]}"
    elif name == "cli.md" or name.startswith("api"):
        page.edit_url = None
    return page


def on_files(files, config):
    """Pages that are not files of docs/."""
    from mkdocs.structure.files import File

    pages = {new: (ROOT / old).read_text(encoding="utf-8") for old, new in BESIDE.items()}
    pages["license.md"] = f"# License\n\n```text\n{pages['license.md']}\n```\n"
    made = {"cli.md": commands(), **library()}
    pages |= made
    for name, text in pages.items():
        content = text if name in made else moved(text, "", titles(config["nav"]))
        files.append(File.generated(config, name, content=content))
    for picture in sorted([*GALLERY.glob("*.png"), *GALLERY.glob("*.gif")]):
        files.append(File.generated(config, f"pictures/{picture.name}", abs_src_path=str(picture)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links out of docs/ lead to the pages above; formulas are set, without a script."""
    if page.file.src_uri == "mathematics.md":
        from latex2mathml.converter import convert

        markdown = re.sub(r"\$([^$]+)\$", lambda found: convert(found[1]), markdown)
    return moved(markdown, "../", titles(config["nav"]))


def on_page_content(html, page, config, files):
    """Pictures know their size, so that text does not jump, and lead to themselves; wide ones and
    tables of numbers are marked.
    """

    def picture(match):
        tag, name = match.group(0), match.group(1)
        width, height = size(GALLERY / name)
        wide = " wide" if width > 1.6 * height else ""
        sized = tag.replace("<img", f'<img width="{width}" height="{height}"', 1)
        return f'<a class="picture{wide}" href="pictures/{name}">{sized}</a>'

    html = re.sub(r'<img[^>]*src="pictures/([\w.-]+)"[^>]*>', picture, html)
    html = unbroken(html)
    if page.file.src_uri.startswith("api"):
        html = together(html)
    if kind := {"gallery.md": "numbers", "mathematics.md": "formulas"}.get(page.file.src_uri):
        html = html.replace("<table>", f'<div class="{kind}"><table>').replace(
            "</table>", "</table></div>"
        )
    return html


def together(html):
    """Parameters told together, whose defaults nobody can read off that row, are not called
    required: the signature has them.
    """
    row = r"(<td>\s*<code>[\w*]+(?:, [\w*]+)+</code>\s*</td>(?:(?!</tr>).)*?)<em>required</em>"
    return re.sub(row, r"\1", html, flags=re.DOTALL)


def unbroken(html):
    """Code that may be wrapped, that within a line and that of shells, has options that are not
    broken at their hyphens.
    """

    def whole(match):
        return re.sub(r"(?<![\w-])--?[\w-]+", r'<span class="option">\g<0></span>', match.group(0))

    return re.sub(
        r'(?<!</span>)<code>[^<]*</code>|<div class="language-sh .*?</div>',
        whole,
        html,
        flags=re.DOTALL,
    )


def size(path):
    """Width and height of a PNG or GIF."""
    head = path.read_bytes()[:24]
    if path.suffix == ".png":
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    return int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")


def titles(nav):
    """The menu's name of every page that has one."""
    if isinstance(nav, list):
        return {page: title for part in nav for page, title in titles(part).items()}
    if isinstance(nav, dict):
        return {page: title for name, part in nav.items()
                for page, title in ({part: name} if isinstance(part, str) else titles(part)).items()}  # fmt: skip
    return {}


def moved(text, up, named):
    """The text with links to files beside docs/ turned to where they are on the site, and a file's
    name to the page's.
    """
    for old, new in BESIDE.items():
        text = text.replace(f"]({up}{old})", f"]({new})").replace(
            f"[{old}](", f"[{named.get(new, old)}]("
        )
    text = text.replace(f"{up}figures/gallery/", "pictures/")
    if not up:
        text = text.replace("](docs/", "](").replace('src="docs/', 'src="')
    return re.sub(r"\[(?:docs/)?([\w-]+\.md)\]\(", lambda m: f"[{named.get(m[1], m[1])}](", text)


def commands():
    """Every command's ``--help``."""
    from landscape_cli.main import main

    parts = ["# Commands", ""]
    wide = {"max_content_width": 96, "terminal_width": 96}

    def walk(command, words, parent):
        context = click.Context(
            command, parent=parent, **command.context_settings | wide | {"info_name": words[-1]}
        )
        parts.extend(
            [f"## {' '.join(words)}", "", "```text", command.get_help(context).rstrip(), "```", ""]
        )
        if isinstance(command, click.Group):
            for name in sorted(command.commands):
                walk(command.commands[name], [*words, name], context)

    walk(main, ["landscape"], None)
    return "\n".join(parts)


def library():
    """The library's pages: a list of all public names, then a page for each."""
    import landscape

    found = {name: getattr(landscape, name) for name in sorted(landscape.__all__, key=str.lower)}
    rooms = {name: room for name, room in found.items() if inspect.ismodule(room)}
    pages = {f"api/{name}.md": _page(name, it) for name, it in found.items() if name not in rooms}
    rows = [_row(name, it) for name, it in found.items() if name not in rooms]
    head = ["# Library", "", "`import landscape as ls`, and then:", "", "| name | |", "|---|---|"]
    listed = [
        *head,
        *rows,
        "",
        "Names of a namespace are `ls.points.StationaryPoint` and so on.",
        "",
    ]
    listed += ["| namespace | |", "|---|---|"]
    for name, room in rooms.items():
        parts = [f"# ls.{name}", "", _first(room), ""]
        parts += [_entry(inner, it) for inner, it in sorted(_public(room).items())]
        pages[f"api/{name}.md"] = "\n".join(parts)
        listed.append(_row(name, room))
    return {"api.md": "\n".join(listed) + "\n", **pages}


def _page(name, found):
    return f"# ls.{name}\n\n::: {found.__module__}.{name}\n    options:\n      heading_level: 2\n"


def _row(name, found):
    return f"| [`ls.{name}`](api/{name}.md) | {_first(found)} |"


def _first(found):
    """The first paragraph of what it says of itself, on one line."""
    return " ".join((inspect.getdoc(found) or "").split("\n\n")[0].split()).replace("|", "\\|")


def _public(module):
    """What a namespace lists: names that it takes from elsewhere, or its own public functions."""
    own = {
        k: v
        for k, v in vars(module).items()
        if not k.startswith("_") and (inspect.isclass(v) or inspect.isfunction(v))
    }
    return {
        k: v for k, v in own.items() if v.__module__.startswith(("landscape.", "landscape_figures"))
    }


def _entry(name, found):
    place = f"{found.__module__}.{found.__name__}"
    return f"::: {place}\n    options:\n      heading: {name}\n      heading_level: 3\n"


def gallery():
    """docs/gallery.md."""
    rows = json.loads((GALLERY / "manifest.json").read_text(encoding="utf-8"))
    parts = [
        "# Gallery",
        "",
        "Figures of the literature, computed again. `landscape figures render all` makes every one "
        "of them from nothing in some",
        "minutes, and from what it keeps in a cache in seconds; `landscape figures render NAME "
        "--format pdf` makes one. Each prints",
        "the numbers that the source or its mathematics has beside those found: *printed* stands where "
        "a paper prints the very number.",
        "Errors are one standard error, of the edge of stability a spread; numbers without one are "
        "exact to rounding. Two are",
        "films: `--format mp4` makes them for a talk.",
        "",
        "```sh",
        "landscape figures list",
        "landscape figures render kramers --format svg",
        "landscape figures render all --out gallery",
        "```",
        "",
    ]
    for row in rows:
        alt = re.sub(r"[\[\]]", "", row["alt"])
        shown = (
            f"{row['name']}.gif" if f"{row['name']}.gif" in row["files"] else f"{row['name']}.png"
        )
        parts += [f"## {row['title']}", "", f"![{alt}](../figures/gallery/{shown})", ""]
        parts += [f"After {row['reproduces']}. Here: {row['setting']}.", ""]
        if row["numbers"]:
            parts += ["| number | expected | found | source |", "|---|---|---|---|"]
            for n in row["numbers"]:
                note = "; ".join(
                    p for p in (n["source"], n["note"], "" if n["agrees"] else "**differs**") if p
                )
                cells = [
                    text.replace("|", "\\|") for text in (n["what"], expected(n), n["found"], note)
                ]
                parts.append(f"| {' | '.join(cells)} |")
            parts.append("")
        else:
            parts += ["The paper prints no number that would apply here.", ""]
        parts += [f"`{row['command']}`, computed by `{row['computed_by']}`.", ""]
    return "\n".join(parts).rstrip() + "\n"


def expected(number):
    """A number as the source has it, marked where a paper prints it."""
    return f"{number['expected']}, *printed*" if number["printed"] else number["expected"]


# tools as the benchmark names them, and as the table does
PEERS = {
    "arpack": "SciPy's ARPACK on exact products",
    "hessian-eigenthings": "hessian-eigenthings",
    "curvlinops": "curvlinops",
    "pyhessian": "PyHessian",
    "bare": "bare Lanczos, no checks",
}


def speed(text):
    """docs/speed.md with its tables as the stored runs have them."""
    peers = json.loads((RESULTS / "eigenpairs.json").read_text(encoding="utf-8"))
    budgets = json.loads((RESULTS / "budget.json").read_text(encoding="utf-8"))
    return filled(text, {"peers": ratios(peers), "stages": stages(budgets)})


def large(text):
    """docs/large.md with its tables as the stored runs have them."""
    stored = json.loads((RESULTS / "scale.json").read_text(encoding="utf-8"))
    return filled(text, {"confirmed": confirmed(stored), "foretold": foretold(stored)})


def filled(text, tables):
    """A page with each table between the marks of its name."""
    for name, table in tables.items():
        text = re.sub(
            rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)",
            lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}",
            text,
            flags=re.DOTALL,
        )
    return text


def ratios(stored):
    """Seconds of the clock of every tool over ours: the median and the range of the rounds."""
    found = {}
    for part in stored["workloads"]:
        row = found.setdefault(part["workload"], {"rounds": part["rounds"]})
        row |= part["ratios to landscape: median, least, most"]["clock"]
    where = stored["environment"]
    versions = {"arpack": "scipy", "curvlinops": "curvlinops-for-pytorch"}
    heads = [
        f"{title} {where['packages'].get(versions.get(tool, tool), '')}".strip()
        for tool, title in PEERS.items()
    ]
    lines = [
        f"torch {where['packages']['torch']}, threads: {where['threads']}, {where['processor']}.",
        "",
        f"| workload | rounds | {' | '.join(heads)} |",
        "|---|---|" + "---|" * len(heads),
    ]
    for name, row in found.items():
        cells = [_range(row[tool]) if tool in row else "" for tool in PEERS]
        lines.append(f"| {name} | {row['rounds']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _range(numbers):
    middle, low, high = (f"{x:.2f}" for x in numbers)
    return middle if low == high else f"{middle} ({low} to {high})"


def stages(stored):
    """Products and seconds of the stages of whole analyses."""
    names = ["checks", "ends", "density", "trace", "slices"]
    lines = [f"| network | {' | '.join(names)} | all |", "|---|" + "---|" * (len(names) + 1)]
    for row in stored["runs"]:
        if row["run"] != "whole":
            continue
        parts = [row["stages"].get(name, [0, 0.0]) for name in names]
        cells = [f"{products}, {seconds:.0f} s" for products, seconds in parts]
        total = f"{row['products']}, {sum(s for _, s in row['stages'].values()):.0f} s"
        lines.append(f"| {row['name']} | {' | '.join(cells)} | {total} |")
    return "\n".join(lines)


def confirmed(stored):
    """Seconds of searches on ranks, foretold beside measured, weights whole and in parts."""
    where, rounds = stored["environment"], stored["summary"][0]["rounds"]
    n = stored["rounds"][0]["searches"][0]["n"]
    lines = [
        f"n = {n:,}, medians of {rounds} rounds, torch {where['packages']['torch']}, "
        f"{where['threads']} thread a rank, {where['processor']} with {where['cores']} cores.",
        "",
        "| ranks | basis in | products | basis | exchange | foretold | measured | measured / foretold |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in stored["summary"]:
        parts = [f"{row['foretold_parts_s'][key]:.2f}" for key in ("products", "basis", "exchange")]
        ratio = _range([row["ratio"], min(row["ratios"]), max(row["ratios"])])
        cells = [*parts, f"{row['foretold_s']:.2f} s", f"{row['measured_s']:.2f} s", ratio]
        lines.append(f"| {row['ranks']} | {row['storage']} | {' | '.join(cells)} |")
    for count in sorted({row["ranks"] for row in stored["sharded"]}):
        same = [row for row in stored["sharded"] if row["ranks"] == count]
        said = {k: median([row["foretold_s"][k] for row in same]) for k in same[0]["foretold_s"]}
        parts = [f"{said[key]:.2f}" for key in ("products", "basis", "exchange")]
        measured = f"{median([row['measured_s'] for row in same]):.2f} s"
        ratios = [row["ratio"] for row in same]
        ratio = _range([median(ratios), min(ratios), max(ratios)])
        cells = [*parts, f"{sum(said.values()):.2f} s", measured, ratio]
        lines.append(f"| {count} | float32, weights in parts | {' | '.join(cells)} |")
    return "\n".join(lines)


def foretold(stored):
    """Seconds and memory of searches on larger networks."""
    lines = [
        "| n | ranks | basis in | products | basis | exchange | with weights in parts | a rank's basis of 60 | weights | in parts |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in stored["large"]:
        parts = [_time(seconds) for seconds in row["foretold_s"].values()]
        memory = [f"{row[key]:.3g} GB" for key in ("basis_GB", "weights_GB", "sharded_weights_GB")]
        cells = [
            f"{row['n']:.0e}".replace("e+0", "e"),
            row["ranks"],
            row["storage"],
            *parts,
            *memory,
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _time(seconds):
    """In the unit that leaves a number between 1 and 100 or so."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return (
                f"{seconds / size:.2g} {unit}"
                if seconds < 100 * size
                else f"{seconds / size:.0f} {unit}"
            )
    return f"{seconds:.2g} s"


if __name__ == "__main__":
    (ROOT / "docs" / "gallery.md").write_text(gallery(), encoding="utf-8")
    for name, made in (("speed.md", speed), ("large.md", large)):
        page = ROOT / "docs" / name
        page.write_text(made(page.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
