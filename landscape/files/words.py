"""What is said of a checkpoint file."""

from collections.abc import Sequence

from landscape.files.formats import FileReport
from landscape.results.numbers import count, several
from landscape.results.words import Fact, Table, Words, columns, said


@said.register
def file(report: FileReport, folder: str) -> Words:
    """Whether it loads, what it asks for, and its tensors."""
    loads = "yes, as tensors and plain values" if report.safe else f"no: {report.reason}"
    rows = tuple(
        (t.name, " x ".join(map(str, t.shape)) or "scalar", t.dtype) for t in report.tensors
    )
    parts: list[Fact | Table] = [
        Fact("file", (report.path,)),
        Fact("format", (report.format,)),
        Fact("loads", (loads,)),
        Fact("asks for", report.asks_for),
        Fact("others", tuple(f"{name}: {what}" for name, what in report.others.items())),
        Fact("tensors", (count(len(rows)),)),
        Table(("tensor", "shape", "dtype"), rows),
    ]
    return Words(f"{report.path!r}, {several(len(rows), 'tensor')}", parts)


@columns.register
def _columns(report: FileReport) -> dict[str, Sequence[object]]:
    """One row a tensor."""
    keys = ("name", "shape", "dtype")
    return {key: [getattr(tensor, key) for tensor in report.tensors] for key in keys}
