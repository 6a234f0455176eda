"""What pyproject.toml cannot say: one more file for an editable installation.

The clone of this repository is called ``landscape``, as the package in it is. For a Python that is
started in the folder that holds the clone, the clone itself is an empty namespace package of that
name. It is found before setuptools' own hook is asked, which comes last. A regular package further
down ``sys.path`` wins over a namespace package, so the clone's folder is put there, by a .pth file
as setuptools itself writes it for simpler layouts.
"""

import base64
import csv
import hashlib
import io
import locale
import sys
import zipfile
from pathlib import Path

from setuptools import setup
from setuptools.command.editable_wheel import editable_wheel

CLONE = Path(__file__).resolve().parent
# As Python's site module reads such files.
PTH_ENCODING = "utf-8" if sys.version_info >= (3, 13) else locale.getencoding()


class EditableWheel(editable_wheel):
    """The wheel of ``pip install -e``; ``pip uninstall`` removes the file with the rest."""

    def run(self) -> None:
        super().run()
        for wheel in Path(self.dist_dir).glob("torch_landscape-*.whl"):
            add_file(wheel, "torch_landscape_clone.pth", f"{CLONE}\n".encode(PTH_ENCODING))


def add_file(wheel: Path, name: str, content: bytes) -> None:
    """Put a file into a wheel and into its list of files, RECORD."""
    with zipfile.ZipFile(wheel) as archive:
        files = {member: archive.read(member) for member in archive.namelist()}
    (record,) = (member for member in files if member.endswith(".dist-info/RECORD"))
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([name, f"sha256={digest}", len(content)])
    files[record] = line.getvalue().encode() + files[record]
    files[name] = content
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in files.items():
            archive.writestr(member, data)


setup(cmdclass={"editable_wheel": EditableWheel})
