"""`landscape analyze` and `spectrum` on a real small net: what they print, what they write, how they exit."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

import landscape as ls

Run = Callable[..., Result]
Snapshot = Callable[[Path], dict[str, bytes]]
FAST = ["--no-layers", "--probes", "2", "--steps", "10"]


def flat(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.slow
def test_the_table_says_what_the_result_says(here: Path, run: Run) -> None:
    result = run("analyze", "net.py", "--out", "run")
    report = ls.load("run")
    text = flat(result.stdout)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert f"{report.parameters} parameters, 24 samples, float64 on cpu" in text
    assert report.point.kind.upper() in text
    assert f"{report.point.value:.4g}" in text
    assert f"{report.point.gradient_norm:.4g}" in text
    for word in (
        "verdict",
        "why",
        "largest",
        "smallest",
        "negative",
        "trace",
        "next",
        "written run",
    ):
        assert word in text
    top = float(report.point.pairs.values[-1])
    assert f"{top:.2g}"[:3] in text
    for reason in report.point.reasons:
        assert flat(reason) in text.replace("- ", "")


@pytest.mark.slow
def test_the_run_folder_is_whole(here: Path, run: Run) -> None:
    run("analyze", "net.py", "--out", "run")
    names = sorted(str(p.relative_to("run")) for p in Path("run").rglob("*") if p.is_file())
    assert [n for n in names if not n.startswith("arrays/")] == [
        "config.toml", "figures/density.png", "figures/layers.png", "figures/slices.png", "figures/spectrum.png", "manifest.json",
        "result.json",
    ]  # fmt: skip
    assert sum(n.startswith("arrays/") for n in names) == 1


@pytest.mark.usefixtures("undrawn")
def test_json_is_the_result_and_nothing_else(here: Path, run: Run) -> None:
    result = run("analyze", "net.py", "--json", "--out", "run", *FAST)
    body = json.loads(result.stdout)
    report = ls.load("run")
    assert result.stderr == ""
    assert body == {"run": "run"} | report.to_dict()
    assert body["verdict"] == report.point.kind


@pytest.mark.usefixtures("undrawn")
def test_what_users_code_prints_goes_to_stderr(here: Path, run: Run) -> None:
    arguments = ["--data", "net.py:data", "--loss", "cross-entropy", "--json"]
    result = run("analyze", "net.py:talkative", *arguments, *FAST)
    assert json.loads(result.stdout)["name"] == "talkative"
    assert "hello from the factory" in result.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_written_configuration_repeats_the_run(here: Path, run: Run) -> None:
    first = run(
        "analyze", "net.py:build", "--data", "net.py:data", "--loss", "cross-entropy", "--set", "hidden=2", "--l2", "*.weight=0.01",
        "--seed", "5", "--batch-size", "7", "--largest", "2", "--out", "one", *FAST,
    )  # fmt: skip
    second = run("analyze", "--config", "one/config.toml", "--out", "two", "--trust")
    assert (first.exit_code, second.exit_code) == (0, 0)
    one, two = ls.load("one"), ls.load("two")
    assert one.point.pairs.values.tolist() == two.point.pairs.values.tolist()
    assert one.density.weights.tolist() == two.density.weights.tolist()
    assert tomllib.loads(Path("one/config.toml").read_text()) == tomllib.loads(
        Path("two/config.toml").read_text()
    )
    assert one.provenance.model_hash == two.provenance.model_hash


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_options_reach_the_landscape(here: Path, run: Run) -> None:
    plain = ["analyze", "net.py:build", "--data", "net.py:data", "--loss", "cross-entropy", *FAST]
    run(*plain, "--out", "plain")
    run(*plain, "--out", "decayed", "--l2", "*=0.5")
    run(*plain, "--out", "narrow", "--include", "2.*")
    run(*plain, "--out", "single", "--dtype", "float32")
    run(*plain, "--out", "other", "--checkpoint", "good.npz")
    values = {
        name: ls.load(name).point.eigenvalues
        for name in ("plain", "decayed", "narrow", "single", "other")
    }
    assert values["decayed"].tolist() == pytest.approx((values["plain"] + 0.5).tolist(), abs=1e-9)
    assert len(values["narrow"]) == 8
    assert ls.load("single").provenance.dtype.endswith("float32")
    assert ls.load("other").provenance.model_hash != ls.load("plain").provenance.model_hash


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("expected", "code"), [("plateau", 1), ("minimum", 1), ("saddle:99", 1)])
def test_an_expectation_that_is_not_met_exits_with_1(
    here: Path, run: Run, expected: str, code: int
) -> None:
    result = run("analyze", "net.py", "--expect", expected, "--out", "run", *FAST)
    assert result.exit_code == code
    assert result.stderr.startswith(f"Expected {expected}, found ")
    assert len(result.stderr.splitlines()) == 1
    assert Path("run/result.json").exists()  # the result is a result all the same


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_an_expectation_that_is_met_exits_with_0(here: Path, run: Run) -> None:
    Path("bowl.py").write_text(
        "import torch, landscape as ls\nfrom torch import nn\n\n\nclass Point(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.x = nn.Parameter(torch.zeros(3, dtype=torch.float64))\n"
        "    def forward(self, signs):\n        return (signs * self.x ** 2).sum(-1)\n\n\n"
        "def mean(output, target):\n    return output.mean()\n\n\n"
        "def bowl():\n    return ls.ModelLandscape(Point(), mean, [(torch.tensor([[1.0, 2.0, 3.0]]).double(), torch.zeros(1))])\n\n\n"
        "def saddle():\n    return ls.ModelLandscape(Point(), mean, [(torch.tensor([[1.0, -2.0, -3.0]]).double(), torch.zeros(1))])\n\n\n"
        "def flat():\n    return ls.ModelLandscape(Point(), mean, [(torch.zeros(1, 3).double(), torch.zeros(1))])\n"
    )
    for attribute, expected, code in [
        ("bowl", "minimum", 0), ("saddle", "saddle", 0), ("saddle", "saddle:2", 0), ("saddle", "saddle:1", 1),
        ("flat", "plateau", 0), ("flat", "minimum", 1), ("bowl", "saddle", 1),
    ]:  # fmt: skip
        Path("now.py").write_text(Path("bowl.py").read_text() + f"\n\nproblem = {attribute}\n")
        result = run("analyze", "now.py", "--expect", expected, *FAST)
        assert result.exit_code == code, (attribute, expected, result.output)


@pytest.mark.usefixtures("undrawn")
def test_resume_returns_the_stored_result_and_computes_nothing(
    here: Path, run: Run, snapshot: Snapshot
) -> None:
    Path("counted.py").write_text(
        Path("net.py").read_text() + "\nwith open('count', 'a') as file:\n    file.write('x')\n"
    )
    first = run("analyze", "counted.py", "--out", "run", "--resume", *FAST)
    before = snapshot(here)
    second = run("analyze", "counted.py", "--out", "run", "--resume", *FAST)
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert second.stdout == first.stdout
    assert second.stderr == ""
    assert snapshot(here) == before
    assert Path("count").read_text() == "x"


@pytest.mark.usefixtures("undrawn")
def test_resume_in_an_empty_folder_starts_afresh(here: Path, run: Run) -> None:
    Path("empty").mkdir()
    Path("killed/.landscape-abc/new").mkdir(
        parents=True
    )  # what a run leaves that was killed outright
    for folder in ("empty", "killed"):
        assert run("analyze", "net.py", "--out", folder, "--resume", *FAST).exit_code == 0
        assert Path(folder, "result.json").exists()


@pytest.mark.usefixtures("undrawn")
def test_resume_with_other_options_says_so(here: Path, run: Run) -> None:
    run("analyze", "net.py", "--out", "run", *FAST)
    result = run("analyze", "net.py", "--out", "run", "--resume", "--seed", "9", *FAST)
    assert result.exit_code == 0
    assert "seed" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.usefixtures("undrawn")
def test_force_replaces_the_result_and_keeps_other_files(here: Path, run: Run) -> None:
    Path("runs/earlier/notes.txt").write_text("mine")
    result = run("analyze", "net.py", "--out", "runs/earlier", "--force", "--seed", "9", *FAST)
    assert result.exit_code == 0
    assert ls.load("runs/earlier").provenance.seed == 9
    assert Path("runs/earlier/notes.txt").read_text() == "mine"


@pytest.mark.usefixtures("undrawn")
def test_the_default_folder_is_fresh(here: Path, run: Run) -> None:
    for expected in ("runs/net", "runs/net-2"):
        assert f"written {expected}" in flat(run("analyze", "net.py", *FAST).stdout)


@pytest.mark.slow
def test_spectrum_gives_the_eigenvalues_and_the_density(here: Path, run: Run) -> None:
    arguments = ["--largest", "3", "--smallest", "2", "--probes", "2", "--steps", "10"]
    result = run("spectrum", "net.py", "--out", "spec", "--json", *arguments)
    body = json.loads(result.stdout)
    truth = ls.load("runs/earlier").point.eigenvalues
    assert [row["value"] for row in body["eigenvalues"]] == pytest.approx(
        [*truth[:2].tolist(), *truth[-3:].tolist()], abs=1e-3
    )
    assert "verdict" not in body
    assert sum(body["density"]["weights"]) == pytest.approx(1.0)
    assert sorted(p.name for p in Path("spec/figures").iterdir()) == ["density.png", "spectrum.png"]
    table = flat(run("spectrum", "net.py", "--out", "spec2", *arguments).stdout)
    assert "largest" in table
    assert "verdict" not in table
    assert run("report", "spec").exit_code == 0
    assert Path("spec/report.html").read_text().count("<svg") == 2


@pytest.mark.slow
def test_report_is_one_file_that_fetches_nothing(here: Path, run: Run) -> None:
    run("analyze", "net.py", "--out", "run")
    result = run("report", "run")
    html = Path("run/report.html").read_text()
    assert result.stdout == "run/report.html\n"
    report = ls.load("run")
    assert html.count("<svg") == 4
    assert html.count('role="img"') == 4
    assert html.count("<script") == 1  # the page's own, which sorts tables
    body = html.replace(
        "http://www.w3.org/", ""
    )  # names of XML dialects, not addresses that are fetched
    assert "http://" not in body
    assert "https://" not in body
    assert "@import" not in html
    for text in (
        report.point.kind.upper(),
        report.provenance.model_hash,
        *(layer.name for layer in report.layers),
    ):
        assert text in html
    ids = [part.split('"')[0] for part in html.split(' id="')[1:]]
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("undrawn")
def test_report_escapes_what_users_name(here: Path, run: Run) -> None:
    from landscape_cli import page

    Path("<b>&.py").write_text(Path("net.py").read_text())
    run("analyze", "<b>&.py", "--out", "run", *FAST)
    assert "<b>" not in page.build(ls.load("run"))


@pytest.mark.slow
def test_figures_are_listed_and_rendered(here: Path, run: Run) -> None:
    listed = flat(run("figures", "list").stdout)
    for name in ("spectrum", "density", "slices", "layers"):
        assert name in listed
    known = json.loads(run("figures", "list", "--json").stdout)
    assert known["results"]["spectrum"]["shows"] in listed
    assert "Kramers 1940" in known["gallery"]["kramers"]["after"]
    Path("out").mkdir()
    Path("out/mine.txt").write_text("mine")
    arguments = [
        "figures",
        "render",
        "all",
        "--from",
        "runs/earlier",
        "--out",
        "out",
        "--format",
        "svg",
        "--format",
        "pdf",
    ]
    first = run(*arguments)
    assert first.exit_code == 0
    assert first.stderr.count("\n") == 1
    assert first.stderr == "6 files written into out.\n"  # the run was made without layers
    files = {p.name: p.read_bytes() for p in Path("out").iterdir()}
    assert sorted(files) == [
        "density.pdf",
        "density.svg",
        "mine.txt",
        "slices.pdf",
        "slices.svg",
        "spectrum.pdf",
        "spectrum.svg",
    ]
    assert run(*arguments).exit_code == 0
    assert {p.name: p.read_bytes() for p in Path("out").iterdir()} == files


def test_inspect_lists_tensors_and_refuses_code(here: Path, run: Run) -> None:
    good = run("inspect", "nested.pt")
    assert good.exit_code == 0
    assert "0.weight" in good.stdout
    assert "3 x 2" in good.stdout
    bad = run("inspect", "evil.pt")
    assert bad.exit_code == 3
    assert "system" in bad.stdout
    assert bad.stderr.startswith("Error: evil.pt")
    assert len(bad.stderr.splitlines()) == 1
    for file in ("garbage.pt", "empty.pt", "objects.npz", "raw.pt", "broken.safetensors"):
        refused = run("inspect", file)
        assert (refused.exit_code, len(refused.stderr.splitlines())) == (3, 1)
        assert file in refused.stderr
    assert json.loads(run("inspect", "evil.pt", "--json").stdout)["safe"] is False
    assert not Path("owned").exists()


def test_doctor_finds_second_derivatives(run: Run) -> None:
    result = run("doctor", "--json")
    body = json.loads(result.stdout)
    assert result.exit_code == 0
    assert body["versions"]["torch"]
    assert all(what.startswith("ok") for what in body["kernels"].values())
    assert {name.split()[0] for name in body["kernels"]} == {"convolution", "attention", "gru"}
    assert "second derivatives" in run("doctor").stdout


def test_zoo_lists_what_analyze_knows(run: Run) -> None:
    names = json.loads(run("zoo", "--json").stdout)
    assert list(names) == ["models", "formulas", "stuck runs", "families"]
    assert "digits-mlp" in names["models"]
    assert "himmelblau" in names["formulas"]
    assert names["stuck runs"]["zero-tanh"] == "saddle"
    assert "isotropic-waves" in names["families"]
    shown = run("zoo").stdout
    for room in names.values():
        assert all(text and name in shown for name, text in room.items())


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_polish_says_how_far_it_went(here: Path, run: Run) -> None:
    arguments = ["--data", "net.py:data", "--loss", "cross-entropy", "--l2", "*=0.05", *FAST]
    result = run("analyze", "net.py:build", *arguments, "--out", "moved", "--polish")
    report = ls.load("moved")
    polish, text = report.polish, flat(result.stdout)
    assert (polish.method, polish.outcome.name) == ("newton-mr", "STATIONARY")
    assert f"moved by {polish.distance:.4g}" in text
    assert f"loss {polish.value_before:.4g} before, {polish.value:.4g} after" in text
    assert f"|gradient| {polish.gradient_norm_before:.4g} before" in text
    assert "did not become stationary" not in text
    assert tomllib.loads(Path("moved/config.toml").read_text())["polish"] == "newton-mr"
    again = run("analyze", "--config", "moved/config.toml", "--out", "again", "--json", "--trust")
    assert json.loads(again.stdout)["polish"]["distance"] == polish.distance
    assert json.loads(again.stdout)["polish"]["outcome"] == "stationary"
    assert run("report", "moved").exit_code == 0
    page = Path("moved/report.html").read_text()
    assert "Moved to a stationary point first" in page
    plain = run("analyze", "net.py:build", *arguments, "--out", "plain", "--json")
    assert json.loads(plain.stdout)["polish"] is None


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_polish_takes_a_method_by_name(here: Path, run: Run) -> None:
    arguments = [
        "--data",
        "net.py:data",
        "--loss",
        "cross-entropy",
        "--l2",
        "*=0.05",
        "--json",
        *FAST,
    ]
    result = run(
        "analyze", "net.py:build", *arguments, "--polish", "saddle-free", "--expect", "minimum"
    )
    assert result.exit_code == 0
    assert json.loads(result.stdout)["polish"]["method"] == "saddle-free"
    wrong = run("analyze", "net.py:build", *arguments, "--polish", "magic")
    assert wrong.exit_code == 2
    assert "newton-mr" in wrong.stderr


@pytest.mark.slow
def test_a_budget_leaves_something_open_and_resume_closes_it(here: Path, run: Run) -> None:
    short = run(
        "analyze", "net.py", "--out", "run", *FAST, "--method", "lanczos", "--budget", "0.001s"
    )
    assert short.exit_code == 0
    assert "unfinished" in short.stdout
    assert ls.load("run").unfinished
    whole = run("analyze", "net.py", "--out", "run", *FAST, "--method", "lanczos", "--resume")
    assert whole.exit_code == 0
    assert "unfinished" not in whole.stdout
    assert ls.load("run").unfinished == ()
    assert run("analyze", "net.py", "--out", "run", *FAST, "--budget", "soon").exit_code == 2


@pytest.mark.slow
def test_an_estimate_writes_nothing(here: Path, run: Run) -> None:
    result = run("analyze", "net.py", "--estimate", "--out", "run")
    assert result.exit_code == 0
    assert "within a factor of 2" in flat(result.stdout)
    assert not Path("run").exists()
    told = json.loads(run("analyze", "net.py", "--estimate", "--json").stdout)
    assert told["product"] > 0
    assert [stage["name"] for stage in told["stages"]][:2] == ["checks", "ends"]
