"""Every mistake a user can make: the exit status, one line that names the input, and nothing earlier damaged."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result

NET = ["analyze", "net.py"]
BUILD = ["analyze", "net.py:build", "--data", "net.py:data", "--loss", "cross-entropy"]


def build(model: str = "build", data: str = "data", loss: str = "cross-entropy") -> list[str]:
    loss = loss if loss == "cross-entropy" else f"net.py:{loss}"
    return ["analyze", f"net.py:{model}", "--data", f"net.py:{data}", "--loss", loss]


def formula(name: str, *more: str, dim: str = "2") -> list[str]:
    return ["saddles", "census", f"formulas.py:{name}", "--dim", dim, "--domain", "box:-3,3", *more]


def domain(spec: str, dim: str = "2") -> list[str]:
    return ["saddles", "find", "formulas.py:well", "--dim", dim, "--domain", spec]


FIND = ["saddles", "find", "formulas.py:well", "--dim", "2", "--domain", "box:-3,3"]
PATH = ["saddles", "path", "formulas.py:well", "--dim", "2", "--domain", "box:-3,3"]
CENSUS = [*PATH, "--census", "runs/census"]

CASES: list[tuple[str, list[str], int, str]] = [
    # the model
    ("no-model", ["analyze"], 2, "MODEL"),
    ("no-command", ["analyse", "net.py"], 2, "analyse"),
    ("unknown-name", ["analyze", "digit-mpl"], 2, "digit-mpl"),
    ("missing-file", ["analyze", "nowhere.py"], 3, "nowhere.py"),
    ("missing-module", ["analyze", "no.such:thing", "--data", "net.py:data", "--loss", "mse"], 3, "no.such"),
    ("missing-attribute", build(model="bild"), 3, "bild"),
    ("no-problem", ["analyze", "nothing.py"], 3, "nothing.py"),
    ("odd-problem", ["analyze", "odd.py"], 3, "odd.py"),
    ("syntax-error", ["analyze", "syntax.py"], 3, "syntax.py"),
    ("exits-on-import", ["analyze", "exits.py"], 3, "exits.py"),
    ("imports-nothing", ["analyze", "imports.py"], 3, "a_module_that_is_not_there"),
    ("factory-raises", build(model="boom"), 3, "no such luck"),
    ("factory-exits", build(model="leave"), 3, "SystemExit"),
    ("factory-lacks-argument", build(model="needs_more"), 2, "width"),
    ("factory-unknown-setting", [*BUILD, "--set", "depth=3"], 2, "depth"),
    ("factory-gives-a-string", build(model="not_a_module"), 3, "not_a_module"),
    ("attribute-is-a-number", build(model="a_number"), 3, "a_number"),
    ("frozen", build(model="frozen"), 3, "trainable"),
    ("no-parameters", build(model="no_parameters"), 3, "parameter"),
    ("forward-raises", build(model="Raises"), 3, "forward has failed"),
    ("forward-exits", build(model="Exits"), 3, "SystemExit|exit"),
    ("forward-wrong-axis", build(model="Flat"), 3, "7"),
    ("factory-recurses", build(model="endless"), 3, "RecursionError"),
    ("nan-weights", build(model="holed"), 4, "0.weight"),
    # the checkpoint
    ("checkpoint-missing", [*BUILD, "--checkpoint", "nowhere.pt"], 3, "nowhere.pt"),
    ("checkpoint-garbage", [*BUILD, "--checkpoint", "garbage.pt"], 3, "garbage.pt"),
    ("checkpoint-empty", [*BUILD, "--checkpoint", "empty.pt"], 3, "empty.pt"),
    ("checkpoint-broken", [*BUILD, "--checkpoint", "broken.safetensors"], 3, "broken.safetensors"),
    ("checkpoint-folder", [*BUILD, "--checkpoint", "occupied"], 3, "occupied"),
    ("checkpoint-keys", [*BUILD, "--checkpoint", "keys.npz"], 3, "first.weight"),
    ("checkpoint-shapes", [*BUILD, "--checkpoint", "shapes.npz"], 3, "0.weight"),
    ("checkpoint-nan", [*BUILD, "--checkpoint", "nan.npz"], 4, "parameter 0.bias of nan.npz"),
    ("checkpoint-no-key", [*BUILD, "--checkpoint", "nested.pt", "--checkpoint-key", "stage"], 3, "stage"),
    ("checkpoint-key-alone", [*BUILD, "--checkpoint-key", "state"], 2, "--checkpoint"),
    ("strip-alone", [*BUILD, "--strip", "student."], 2, "--strip says which weights"),
    ("checkpoint-evil", [*BUILD, "--checkpoint", "evil.pt"], 3, "system"),
    ("checkpoint-raw-pickle", [*BUILD, "--checkpoint", "raw.pt"], 3, "system"),
    ("checkpoint-objects", [*BUILD, "--checkpoint", "objects.npz"], 3, "objects.npz"),
    ("compare-no-model", ["compare", "good.npz", "shapes.npz"], 2, "--model net.py"),
    ("compare-no-model-of-folders", ["compare", "occupied", "occupied"], 2, "--model net.py"),
    # the data
    ("no-data", ["analyze", "net.py:build", "--loss", "mse"], 2, "--data"),
    ("unknown-data", ["analyze", "net.py:build", "--data", "digts", "--loss", "mse"], 2, "digts"),
    ("data-missing-file", ["analyze", "net.py:build", "--data", "no.npz", "--loss", "mse"], 3, "no.npz"),
    ("data-missing-array", ["analyze", "net.py:build", "--data", "only_x.npz", "--loss", "mse"], 3, "only_x.npz"),
    ("data-unknown-option", ["analyze", "net.py:build", "--data", "xy.npz:z=a", "--loss", "mse"], 2, "z"),
    ("data-objects", ["analyze", "net.py:build", "--data", "objects.npz", "--loss", "mse"], 3, "objects.npz"),
    ("data-empty-csv", ["analyze", "net.py:build", "--data", "empty.csv", "--loss", "mse"], 3, "empty.csv"),
    ("data-words-csv", ["analyze", "net.py:build", "--data", "words.csv", "--loss", "mse"], 3, "two"),
    ("data-empty", build(data="empty"), 3, "empty"),
    ("data-no-batches", build(data="no_batches"), 3, "no_batches"),
    ("data-uneven", build(data="uneven"), 3, "uneven"),
    ("data-wrong-width", build(data="wide"), 3, "(4, 9)|5x9|9"),
    ("data-nan", build(data="holes"), 4, "(3, 1)|nan"),
    ("data-raises", build(data="boom"), 3, "no such luck"),
    ("data-exits", build(data="leave"), 3, "SystemExit"),
    ("data-of-words", build(data="words"), 2, "str"),
    ("label-too-large", build(data="far"), 3, "6|5"),
    ("label-negative", build(data="negative"), 3, "-3|-2"),
    # the loss
    ("no-loss", ["analyze", "net.py:build", "--data", "net.py:data"], 2, "--loss"),
    ("unknown-loss", [*BUILD[:-1], "cross-entrpy"], 2, "cross-entropy"),
    ("loss-option", [*BUILD[:-1], "huber:delta=-1"], 2, "delta"),
    ("loss-missing", build(loss="nothing_like_it"), 3, "nothing_like_it"),
    ("loss-vector", build(loss="vector"), 3, "scalar"),
    ("loss-detached", build(loss="detached"), 3, "detach"),
    ("loss-float", build(loss="a_float"), 3, "float|tensor"),
    ("loss-raises", build(loss="loss_boom"), 3, "target"),
    ("loss-exits", build(loss="loss_exits"), 3, "enough|SystemExit"),
    ("loss-a-text", build(loss="text"), 3, "str"),
    ("loss-infinite", build(loss="infinite"), 4, "inf|finite"),
    # the options
    ("unknown-option", [*NET, "--largset", "3"], 2, "--largset"),
    ("largest-zero", [*NET, "--largest", "0"], 2, "--largest"),
    ("largest-word", [*NET, "--largest", "ten"], 2, "--largest"),
    ("smallest-negative", [*NET, "--smallest", "-2"], 2, "--smallest"),
    ("tol-zero", [*NET, "--tol", "0"], 2, "--tol"),
    ("tol-nan", [*NET, "--tol", "nan"], 2, "--tol"),
    ("tol-word", [*NET, "--tol", "tight"], 2, "--tol"),
    ("probes-one", [*NET, "--probes", "1"], 2, "--probes"),
    ("steps-one", [*NET, "--steps", "1"], 2, "--steps"),
    ("seed-negative", [*NET, "--seed", "-1"], 2, "--seed"),
    ("seed-word", [*NET, "--seed", "lucky"], 2, "--seed"),
    ("seed-huge", [*NET, "--seed", str(2**70)], 2, "--seed"),
    ("batch-size-zero", [*BUILD, "--batch-size", "0"], 2, "--batch-size"),
    ("masks-zero", [*BUILD, "--masks", "0"], 2, "--masks"),
    ("mode-unknown", [*BUILD, "--mode", "test"], 2, "--mode"),
    ("dtype-unknown", [*BUILD, "--dtype", "float8"], 2, "--dtype"),
    ("device-unknown", [*BUILD, "--device", "abacus"], 2, "abacus"),
    ("device-absent", [*BUILD, "--device", "cuda:99"], 2, "cuda:99"),
    ("method-unknown", [*NET, "--method", "guess"], 2, "--method"),
    ("expect-unknown", [*NET, "--expect", "hill"], 2, "hill"),
    ("expect-index-word", [*NET, "--expect", "saddle:x"], 2, "saddle:x"),
    ("expect-index-zero", [*NET, "--expect", "saddle:0"], 2, "saddle:0"),
    ("expect-minimum-index", [*NET, "--expect", "minimum:1"], 2, "minimum:1"),
    ("set-no-value", [*BUILD, "--set", "hidden"], 2, "hidden"),
    ("set-bad-json", [*BUILD, "--set", "hidden=[1,"], 2, "hidden"),
    ("set-bad-key", [*BUILD, "--set", "1x=2"], 2, "1x=2"),
    ("l2-no-value", [*BUILD, "--l2", "*.weight"], 2, "*.weight"),
    ("l2-word", [*BUILD, "--l2", "*.weight=much"], 2, "much"),
    ("l2-negative", [*BUILD, "--l2", "*.weight=-1"], 2, "*.weight=-1"),
    ("l2-nan", [*BUILD, "--l2", "*=nan"], 2, "*=nan"),
    ("l2-matches-nothing", [*BUILD, "--l2", "conv*=1e-4"], 2, "conv*"),
    ("l1-matches-nothing", [*BUILD, "--l1", "conv*=1e-4"], 2, "conv*"),
    ("include-matches-nothing", [*BUILD, "--include", "conv*"], 2, "conv*"),
    ("exclude-everything", [*BUILD, "--exclude", "*"], 2, "*"),
    ("spectrum-option", ["spectrum", "net.py", "--tol", "-1"], 2, "--tol"),
    ("spectrum-missing", ["spectrum", "nowhere.py"], 3, "nowhere.py"),
    # the configuration
    ("config-missing", [*NET, "--config", "no.toml"], 2, "no.toml"),
    ("config-folder", [*NET, "--config", "occupied"], 2, "occupied"),
    ("config-syntax", [*NET, "--config", "syntax.toml"], 2, "syntax.toml"),
    ("config-unknown-key", [*NET, "--config", "unknown.toml"], 2, "did you mean largest"),
    ("config-type", [*NET, "--config", "type.toml"], 2, "type.toml"),
    ("config-range", [*NET, "--config", "range.toml"], 2, "range.toml"),
    ("config-table", [*NET, "--config", "table.toml"], 2, "seed"),
    ("config-bool", [*NET, "--config", "bool.toml"], 2, "batch-size"),
    ("config-choice", [*NET, "--config", "choice.toml"], 2, "float8"),
    ("config-expect", [*NET, "--config", "expect.toml"], 2, "hill"),
    # the folder
    ("out-occupied", [*NET, "--out", "occupied"], 2, "occupied"),
    ("out-finished", [*NET, "--out", "runs/earlier"], 2, "runs/earlier"),
    ("out-a-file", [*NET, "--out", "a_file"], 2, "a_file"),
    ("out-below-a-file", [*NET, "--out", "a_file/run"], 2, "a_file"),
    ("out-a-dangling-link", [*NET, "--out", "dangling"], 2, "dangling"),
    ("out-forced-a-file", [*NET, "--out", "a_file", "--force"], 2, "a_file"),
    ("resume-foreign", [*NET, "--out", "occupied", "--resume"], 2, "occupied"),
    ("resume-corrupt", [*NET, "--out", "corrupt", "--resume"], 3, "result.json"),
    ("resume-other-kind", ["spectrum", "net.py", "--out", "runs/earlier", "--resume"], 2, "AnalysisReport"),
    ("resume-and-force", [*NET, "--out", "runs/earlier", "--resume", "--force"], 2, "--force"),
    ("force-fails", [*build(loss="infinite"), "--out", "runs/earlier", "--force"], 4, "inf|finite"),
    # stored results and files
    ("report-missing", ["report", "no/run"], 3, "no/run"),
    ("report-corrupt", ["report", "corrupt"], 3, "result.json"),
    ("report-damaged", ["report", "damaged"], 3, "damaged"),
    ("report-newer", ["report", "newer"], 3, "99"),
    ("report-strange", ["report", "strange"], 3, "strange"),
    ("report-foreign", ["report", "occupied"], 3, "occupied"),
    ("report-out-nowhere", ["report", "runs/earlier", "--out", "no/page.html"], 2, "no/page.html"),
    ("figure-unknown", ["figures", "render", "spectra", "--from", "runs/earlier"], 2, "spectra"),
    ("figure-no-run", ["figures", "render", "spectrum"], 2, "--from"),
    ("figure-no-exhibit", ["figures", "render", "sadle"], 2, "Did you mean 'saddle'?"),
    ("figure-missing-run", ["figures", "render", "all", "--from", "no/run"], 3, "no/run"),
    ("figure-format", ["figures", "render", "all", "--from", "runs/earlier", "--format", "bmp"], 2, "bmp"),
    ("figure-lacks-numbers", ["figures", "render", "layers", "--from", "runs/earlier"], 2, "layers"),
    ("figure-out-a-file", ["figures", "render", "density", "--from", "runs/earlier", "--out", "a_file"], 2, "a_file"),
    ("inspect-missing", ["inspect", "nowhere.pt"], 3, "nowhere.pt"),
    ("inspect-nothing", ["inspect"], 2, "FILE"),
    ("analyze-formula", ["analyze", "himmelblau"], 2, "Use `landscape saddles census himmelblau`"),
    ("zoo-extra-argument", ["zoo", "digits-mlp"], 2, "digits-mlp"),
    # the landscape
    ("saddles-nothing", ["saddles", "find"], 2, "LANDSCAPE"),
    ("saddles-no-command", ["saddles", "serch", "net.py"], 2, "serch"),
    ("landscape-unknown", ["saddles", "find", "digits-mpl"], 2, "'digits-mlp'"),
    ("landscape-missing-file", ["saddles", "find", "nowhere.py:f", "--dim", "2"], 3, "nowhere.py"),
    ("landscape-missing-formula", ["saddles", "find", "formulas.py:wel", "--dim", "2"], 3, "'well'"),
    ("landscape-a-number", formula("a_number"), 3, "a_number"),
    ("landscape-no-dim", ["saddles", "census", "formulas.py:well"], 2, "--dim"),
    ("landscape-two-arguments", ["saddles", "census", "formulas.py:two"], 2, "width"),
    ("landscape-a-string", ["saddles", "find", "formulas.py:words"], 3, "words"),
    ("landscape-factory-raises", ["saddles", "find", "formulas.py:broken"], 3, "factory out of order"),
    ("landscape-a-module", ["saddles", "find", "net.py:build"], 2, "--data"),
    ("landscape-built-in-dim", ["saddles", "find", "digits-mlp", "--dim", "2"], 2, "--dim"),
    ("dim-zero", formula("well", dim="0"), 2, "--dim"),
    ("dim-word", formula("well", dim="two"), 2, "--dim"),
    ("dim-too-small", formula("well", dim="1"), 3, "formulas.py:9"),
    ("dim-too-large", formula("matrix", dim="4"), 3, "formulas.py:"),
    ("dim-of-a-model", ["saddles", "find", "net.py", "--dim", "2"], 2, "--dim"),
    ("dim-of-a-finished-one", ["saddles", "find", "formulas.py:finished", "--dim", "2"], 2, "--dim"),
    ("domain-of-a-model", ["saddles", "find", "net.py", "--domain", "torus"], 2, "--domain"),
    ("domain-of-a-finished-one", ["saddles", "find", "formulas.py:factory", "--domain", "torus"], 2, "--domain"),
    ("domain-unknown", domain("boxx:-1,1"), 2, "'box'"),
    ("domain-box-alone", domain("box"), 2, "box:LOW,HIGH"),
    ("domain-box-empty", domain("box:"), 2, "not a number"),
    ("domain-box-three", domain("box:1,2,3"), 2, "box:1,2,3"),
    ("domain-box-reversed", domain("box:5,-5"), 2, "box:5,-5"),
    ("domain-box-words", domain("box:low,high"), 2, "'low'"),
    ("domain-box-infinite", domain("box:-inf,inf"), 2, "-inf"),
    ("domain-box-places", domain("box:0,1;0,1;0,1"), 2, "3 places"),
    ("domain-torus-zero", domain("torus:0"), 2, "above zero"),
    ("domain-torus-two", domain("torus:1,2"), 2, "torus:1,2"),
    ("domain-torus-period", domain("torus:3"), 3, "period"),
    ("domain-sphere-negative", domain("sphere:-1"), 2, "sphere:-1"),
    ("domain-sphere-places", domain("sphere:1;1"), 2, "2 places"),
    ("domain-sphere-line", domain("sphere", dim="1"), 2, "dim 2"),
    ("formula-set", formula("well", "--set", "width=2"), 2, "width"),
    ("formula-data", formula("well", "--data", "digits"), 2, "--data"),
    ("formula-checkpoint", formula("well", "--checkpoint", "good.npz"), 2, "--checkpoint"),
    ("formula-l2", formula("well", "--l2", "*=1"), 2, "--l2"),
    ("formula-device", formula("well", "--device", "cuda"), 2, "--device cuda"),
    ("formula-built-dtype", ["saddles", "find", "formulas.py:finished", "--dtype", "float32"], 2, "--dtype"),
    ("formula-single", formula("single"), 3, "single is not batched"),
    ("formula-batch-only", formula("batch_only"), 3, "formulas.py:"),
    ("formula-total", formula("total"), 3, "total is not batched"),
    ("formula-four-rows", formula("single", dim="4"), 3, "single is not batched"),
    ("formula-column", formula("column"), 3, "column is not batched"),
    ("formula-raises", formula("boom"), 3, "formulas.py:42: KeyError"),
    ("formula-exits", formula("leave"), 3, "SystemExit"),
    ("formula-float", formula("a_float"), 3, "float"),
    ("formula-numpy", formula("by_numpy"), 3, "numpy|ndarray|float"),
    ("formula-detached", formula("detached"), 3, "detached"),
    ("formula-dtype", formula("single_precision"), 3, "float32"),
    ("formula-random", formula("dice"), 3, "two values"),
    ("formula-infinite", formula("nowhere"), 4, "NaN or infinite at all"),
    ("formula-kinks", formula("kinks"), 4, "second derivative"),
    ("formula-once", formula("once"), 4, "second derivative"),
    # where it begins
    ("start-short", [*FIND, "--start", "1"], 2, "given in 1: 1"),
    ("start-long", [*FIND, "--start", "1,2,3"], 2, "given in 1,2,3: 3"),
    ("start-word", [*FIND, "--start", "1,two"], 2, "'two'"),
    ("start-nan", [*FIND, "--start", "nan,1"], 2, "nan"),
    ("start-outside", [*FIND, "--start", "9,9"], 2, "outside"),
    ("start-off-the-sphere", [*domain("sphere"), "--start", "0,0"], 2, "outside"),
    ("start-a-folder", [*FIND, "--start", "occupied"], 2, "occupied"),
    ("start-missing-file", [*FIND, "--start", "nowhere.npy"], 3, "nowhere.npy"),
    ("start-wrong-file", [*FIND, "--start", "long.npy"], 2, "long.npy: 5"),
    ("start-nan-file", [*FIND, "--start", "nan.npy"], 4, "nan.npy"),
    ("start-objects", [*FIND, "--start", "objects.npy"], 3, "objects.npy"),
    ("start-garbage", [*FIND, "--start", "garbage.npy"], 3, "garbage.npy"),
    ("start-census", [*FIND, "--start", "runs/census"], 3, "Census"),
    ("start-other-run", [*FIND, "--start", "runs/earlier"], 2, "runs/earlier: 17"),
    ("start-corrupt-run", [*FIND, "--start", "corrupt"], 3, "corrupt"),
    ("start-many-arrays", [*FIND, "--start", "xy.npz"], 3, "xy.npz"),
    ("start-and-random", [*FIND, "--start", "1,2", "--random"], 2, "--random"),
    ("start-random-model", ["saddles", "find", "net.py", "--random"], 2, "--random"),
    ("start-checkpoint", ["saddles", "find", "net.py", "--start", "shapes.npz"], 3, "0.weight"),
    ("start-checkpoint-nan", ["saddles", "find", "net.py", "--start", "nan.npz"], 4, "nan.npz"),
    ("index-too-large", [*FIND, "--index", "3"], 2, "--index 3"),
    ("index-too-large-on-a-sphere", [*domain("sphere"), "--index", "2"], 2, "at most 1"),
    ("index-negative", [*FIND, "--index", "-1"], 2, "--index"),
    ("index-of-newton", [*FIND, "--index", "1", "--method", "newton-mr"], 2, "--index"),
    ("find-method", [*FIND, "--method", "guess"], 2, "guess"),
    ("find-expect", [*FIND, "--expect", "hill"], 2, "hill"),
    ("find-budget-zero", [*FIND, "--max-products", "0"], 2, "--max-products"),
    ("census-starts-zero", formula("well", "--starts", "0"), 2, "--starts"),
    ("census-tolerance", formula("well", "--tolerance", "nan"), 2, "--tolerance"),
    ("census-unknown-key", formula("well", "--config", "unknown.toml"), 2, "largset"),
    # from where to where
    ("path-no-end", [*PATH, "--from", "-1,0"], 2, "--to"),
    ("path-same-ends", [*PATH, "--from", "1,0", "--to", "1,0"], 2, "same point"),
    ("path-short-end", [*PATH, "--from", "1,0", "--to", "1"], 2, "--to"),
    ("path-word", [*PATH, "--from", "1,0", "--to", "there"], 2, "there"),
    ("path-images", [*PATH, "--from", "-1,0", "--to", "1,0", "--images", "4"], 2, "--images"),
    ("path-tol", [*PATH, "--from", "-1,0", "--to", "1,0", "--tol", "0"], 2, "--tol"),
    ("path-steps", [*PATH, "--from", "-1,0", "--to", "1,0", "--max-steps", "0"], 2, "--max-steps"),
    ("path-census-missing", [*PATH, "--census", "no/run", "--from", "0", "--to", "1"], 3, "no/run"),
    ("path-census-other-kind", [*PATH, "--census", "runs/earlier", "--from", "0", "--to", "1"], 2, "AnalysisReport"),
    ("path-census-no-number", [*CENSUS, "--from", "first", "--to", "1"], 2, "'first'"),
    ("path-census-far-number", [*CENSUS, "--from", "0", "--to", "3"], 2, "minima are 0, 1"),
    ("path-census-saddle", [*CENSUS, "--from", "0", "--to", "2"], 2, "a saddle"),
    ("path-census-other-landscape", ["saddles", "path", "formulas.py:waves", *CENSUS[3:], "--from", "0", "--to", "1"], 2, "its point 0, a minimum there, is not-stationary in waves"),
    ("path-census-other-dim", ["saddles", "path", "formulas.py:waves", "--dim", "3", *CENSUS[-2:], "--from", "0", "--to", "1"], 2, "3"),
    # the folder
    ("find-out-occupied", [*FIND, "--out", "occupied"], 2, "occupied"),
    ("census-out-occupied", formula("well", "--out", "occupied"), 2, "occupied"),
    ("path-out-occupied", [*PATH, "--from", "-1,0", "--to", "1,0", "--out", "occupied"], 2, "occupied"),
    ("find-resume-other-kind", [*FIND, "--out", "runs/earlier", "--resume"], 2, "AnalysisReport"),
    ("census-resume-and-force", formula("well", "--out", "runs/census", "--resume", "--force"), 2, "--force"),
    ("census-resume-other", formula("well", "--out", "runs/census", "--resume", "--tolerance", "1e-3"), 2, "tolerance"),
    ("census-resume-other-formula", formula("half", "--out", "runs/census", "--resume"), 2, "landscape"),
    ("analyze-a-formula", ["analyze", "ground.py"], 3, "FunctionLandscape"),
]  # fmt: skip


def state(folder: Path) -> dict[str, tuple[int, ...]]:
    """What changes with every write to a file: cheaper than to read them all, and nothing that is written escapes it."""
    files = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    stats = ((p, p.stat()) for p in files)
    return {str(p): (s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns) for p, s in stats}


@pytest.fixture(scope="module")
def shared(workshop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(
        shutil.copytree(workshop, tmp_path_factory.mktemp("shared") / "here", symlinks=True)
    )


@pytest.fixture
def unharmed(workshop: Path, shared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One copy of the workshop for all mistakes, as none may change it; after one that did, the next gets a new copy."""
    for name in [n for n in os.environ if n.startswith("LANDSCAPE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(shared)
    before = state(shared)
    yield shared
    if state(shared) != before:
        shutil.rmtree(shared)
        shutil.copytree(workshop, shared, symlinks=True)


@pytest.mark.parametrize(
    ("arguments", "code", "names"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_a_mistake_gives_one_line(
    unharmed: Path, run: Callable[..., Result], arguments: list[str], code: int, names: str
) -> None:
    here, before = unharmed, state(unharmed)
    result = run(*arguments)
    assert result.exit_code == code, result.output
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    assert any(name in lines[0] for name in names.split("|")), lines[0]
    assert result.stdout == ""
    assert state(here) == before, "files were changed"
    assert sorted(p.name for p in here.iterdir() if p.name.startswith(".")) == []
    assert not (here / "owned").exists(), "a checkpoint has run its code"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SEED", "x"),
        ("LARGEST", "0"),
        ("DTYPE", "float8"),
        ("TOL", "-1"),
        ("EXPECT", "hill"),
        ("CONFIG", "no.toml"),
        ("L2", "w"),
    ],
)
def test_a_bad_variable_is_named(
    here: Path, run: Callable[..., Result], variable: str, value: str
) -> None:
    result = run("analyze", "net.py", env={f"LANDSCAPE_{variable}": value})
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert value in result.stderr
    if variable != "CONFIG":
        assert f"LANDSCAPE_{variable}" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_folder(here: Path, run: Callable[..., Result]) -> None:
    (here / "locked").mkdir(mode=0o500)
    result = run("analyze", "net.py", "--out", "locked/run")
    assert result.exit_code == 2
    assert "locked/run" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_folder_of_the_system_that_nobody_may_write(
    here: Path, run: Callable[..., Result]
) -> None:
    result = run("analyze", "net.py", "--out", "/proc/landscape/run")
    assert result.exit_code == 2
    assert "/proc/landscape/run" in result.stderr
    assert len(result.stderr.splitlines()) == 1
