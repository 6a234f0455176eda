"""Truths: what was saved comes back, and the same problem put together by hand; for every mistake, the error's kind
(which is the exit code), one line, and the words that tell what to mend."""

import copy
import csv
import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import landscape as ls
from landscape import LoadingError, NumericalError
from landscape.landscapes import losses
from landscape.loading.problems import (
    ProblemOptions,
    inspect_file,
    load_checkpoint,
    load_data,
    load_loss,
    load_model,
    problem,
    read_state,
)

USER = """
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
import landscape as ls

class Net(nn.Module):
    def __init__(self, width: int = 3, bias: bool = True):
        super().__init__()
        self.a, self.b = nn.Linear(2, width), nn.Linear(width, 1, bias=bias)
    def forward(self, x):
        return self.b(torch.tanh(self.a(x)))

ready = Net()
holder = type("Holder", (), {"net": ready})
number = 3
g = torch.Generator().manual_seed(0)
x, y = torch.randn(12, 2, generator=g), torch.randn(12, 1, generator=g)
pair = (x, y)
dataset = TensorDataset(x, y)
loader = DataLoader(dataset, batch_size=5, shuffle=True)
batches = [(x[:7], y[:7]), (x[7:], y[7:])]
dicts = [{"input": x, "labels": y}]
mixed = [(x[:7], y[:7]), (x[7:, :1], y[7:])]
empty = []
longer = (x, y[:5])
three = (x, y, y)

def make(width=3):
    return Net(width)
def draws():
    return torch.randn(12, 2), torch.randn(12, 1)
def nan():
    bad = x.clone()
    bad[4, 1] = float("nan")
    return bad, y
def raises(width=3):
    raise KeyError("no such thing")
def exits():
    raise SystemExit("goodbye")
def interrupts():
    raise KeyboardInterrupt
def gives_text():
    return "model"
def loss(output, target):
    return (output - target).abs().pow(3).mean()
def problem(decay=0.5):
    return ls.ModelLandscape(ready, nn.functional.mse_loss, batches, l2={"a.weight": decay}, name="mine")
"""


def line(text):
    """The number of the line of USER that has this text."""
    return next(i for i, row in enumerate(USER.splitlines(), 1) if text in row)


@pytest.fixture
def user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "broken.py").write_text("import torch\n\nx = 1 / 0\n")
    (tmp_path / "syntax.py").write_text("import torch\ndef f(:\n")
    (tmp_path / "leaves.py").write_text("import sys\nsys.exit(7)\n")
    (tmp_path / "other.py").write_text("def problem():\n    return 3\n")
    (tmp_path / "empty.py").write_text("")
    return tmp_path


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 2))


def same(model, state):
    return all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


# ---- checkpoints


def save(state, path):
    if path.suffix == ".safetensors":
        save_file(state, path)
    elif path.suffix == ".npz":
        np.savez(path, **{k: v.numpy() for k, v in state.items()})
    else:
        torch.save(state, path)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz"])
def test_every_format_comes_back_exactly(suffix, tmp_path):
    source, model = net(1), net(2)
    save(source.state_dict(), tmp_path / f"w{suffix}")
    assert load_checkpoint(model, tmp_path / f"w{suffix}") == []
    assert same(model, source.state_dict())


def test_the_old_format_of_torch_comes_back(tmp_path):
    torch.save(net(1).state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    model = net(2)
    load_checkpoint(model, tmp_path / "w.pt")
    assert same(model, net(1).state_dict())


@pytest.mark.parametrize("wrap", ["state_dict", "model_state_dict", "model", "net"])
def test_the_usual_entries_are_found_and_said(wrap, tmp_path):
    optimizer = torch.optim.Adam(net().parameters())
    torch.save(
        {"epoch": 3, "optimizer": optimizer.state_dict(), wrap: net(1).state_dict()},
        tmp_path / "w.pt",
    )
    model = net(2)
    notes = load_checkpoint(model, tmp_path / "w.pt")
    assert same(model, net(1).state_dict())
    assert f"'{wrap}'" in notes[0]


def test_a_checkpoint_key_may_be_dotted(tmp_path):
    torch.save({"gan": {"G.1": net(1).state_dict(), "D": net(3).state_dict()}}, tmp_path / "w.pt")
    model = net(2)
    load_checkpoint(model, tmp_path / "w.pt", "gan.G.1")
    assert same(model, net(1).state_dict())
    with pytest.raises(LoadingError, match="Did you mean 'gan'"):
        load_checkpoint(model, tmp_path / "w.pt", "gam")
    with pytest.raises(LoadingError, match="--checkpoint-key"):
        load_checkpoint(model, tmp_path / "w.pt")


@pytest.mark.parametrize(
    "prefix",
    [
        *("module.", "_orig_mod.", "model.", "module._orig_mod.", "model._orig_mod.module."),
        *("net.", "backbone.encoder.", "module.student."),
    ],
)
def test_prefixes_are_stripped_and_said(prefix, tmp_path):
    save({prefix + k: v for k, v in net(1).state_dict().items()}, tmp_path / "w.pt")
    model = net(2)
    notes = load_checkpoint(model, tmp_path / "w.pt")
    assert same(model, net(1).state_dict())
    assert any(repr(prefix) in note for note in notes)


def test_a_prefix_that_belongs_to_the_model_stays(tmp_path):
    source, model = nn.ModuleDict({"model": net(1)}), nn.ModuleDict({"model": net(2)})
    save(source.state_dict(), tmp_path / "w.pt")
    assert load_checkpoint(model, tmp_path / "w.pt") == []
    assert same(model, source.state_dict())


def test_conversions_of_dtype_are_said(tmp_path):
    save(
        {k: v.half() if v.is_floating_point() else v for k, v in net(1).state_dict().items()},
        tmp_path / "w.pt",
    )
    assert load_checkpoint(net(2), tmp_path / "w.pt") == [
        "8 tensors converted from float16 to float32"
    ]


def test_nan_weights_load(tmp_path):
    state = {
        k: v * float("nan") if v.is_floating_point() else v for k, v in net(1).state_dict().items()
    }
    save(state, tmp_path / "w.pt")
    model = net(2)
    load_checkpoint(model, tmp_path / "w.pt")
    assert model[0].weight.isnan().all()


def broken(change):
    state = net(1).state_dict()
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("3.bias"), "1 missing: 3.bias"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 unexpected: extra"),
        (
            lambda s: s.update({"3.weight": torch.zeros(5, 4)}),
            "3.weight is (5, 4) and should be (2, 4)",
        ),
        (lambda s: [s.pop(k) for k in list(s)[1:]], "8 missing"),
        (
            lambda s: s.update({f"x{i}": torch.zeros(1) for i in range(9)}),
            "9 unexpected: x0, x1, x2, x3 and 5 more",
        ),
    ],
)
def test_what_does_not_fit_is_listed_and_changes_nothing(change, words, tmp_path):
    save(broken(change), tmp_path / "w.pt")
    model = net(2)
    with pytest.raises(LoadingError) as error:
        load_checkpoint(model, tmp_path / "w.pt")
    assert words in str(error.value)
    assert "pass those by --set NAME=VALUE" in str(error.value)
    assert same(model, net(2).state_dict())


def test_imaginary_parts_are_not_dropped(tmp_path):
    model, before = net(), net().state_dict()
    torch.save(before | {"0.bias": before["0.bias"].to(torch.complex64)}, tmp_path / "w.pt")
    with pytest.raises(LoadingError, match="complex there, and real in the model"):
        load_checkpoint(model, tmp_path / "w.pt")
    assert same(model, before)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no file"),
        (b"", "is empty"),
        (b"hello, world", "no checkpoint"),
        (b"PK\x03\x04 and then nothing", "damaged"),
        (b"\x80\x02}q\x00.", "refused"),
    ],
)
def test_files_that_are_no_checkpoints(content, words, tmp_path):
    path = tmp_path / "w.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoadingError, match=words):
        read_state(path)


def test_a_folder_and_a_lone_tensor_are_no_checkpoints(tmp_path):
    with pytest.raises(LoadingError, match="save_pretrained"):
        read_state(tmp_path)
    torch.save(torch.zeros(3), tmp_path / "t.pt")
    with pytest.raises(LoadingError, match=r"a tensor \(3,\) of float32"):
        read_state(tmp_path / "t.pt")


class Tied(nn.Module):
    """An embedding whose weight is the output's too, as in language models."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed, self.body, self.head = nn.Embedding(7, 3), nn.Linear(3, 3), nn.Linear(3, 7)
        self.head.weight = self.embed.weight


def shards(folder, state, count=2):
    """Save a state as save_pretrained does where it is large."""
    names = list(state)
    places = {
        name: f"model-{i % count + 1:05}-of-{count:05}.safetensors" for i, name in enumerate(names)
    }
    for shard in set(places.values()):
        save_file({k: state[k].contiguous() for k in names if places[k] == shard}, folder / shard)
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return places


@pytest.mark.parametrize("count", [1, 2, 3])
def test_shards_are_put_together_and_tied_weights_are_saved_once(count, tmp_path):
    source, model = Tied(1), Tied(2)
    state = {k: v for k, v in source.state_dict().items() if k != "head.weight"}
    shards(tmp_path, state, count)
    notes = load_checkpoint(model, tmp_path)
    assert same(model, source.state_dict())
    assert model.head.weight is model.embed.weight
    assert f"{count} files" in notes[0]
    assert notes[1] == "tied to others in the model, and so saved once: head.weight"


def test_a_weight_that_is_not_tied_is_missing(tmp_path):
    source, model = Tied(1), Tied(2)
    model.head.weight = nn.Parameter(model.head.weight.detach().clone())
    shards(tmp_path, {k: v for k, v in source.state_dict().items() if k != "head.weight"})
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(LoadingError, match=r"1 missing: head\.weight"):
        load_checkpoint(model, tmp_path)
    assert same(model, before)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_folder_with_one_file_of_weights(name, tmp_path):
    save(net(1).state_dict(), tmp_path / name)
    (tmp_path / "config.json").write_text("{}")
    model = net(2)
    assert name in load_checkpoint(model, tmp_path)[0]
    assert same(model, net(1).state_dict())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p | {"embed.weight": "../other.safetensors"}, "outside its folder"),
        (lambda p: p | {"embed.weight": "/etc/passwd"}, "outside its folder"),
        (lambda p: p | {"more": p["embed.weight"]}, "do not hold: more"),
        (lambda p: p | {"embed.weight": "gone.safetensors"}, "no file .*gone"),
        (lambda p: list(p), "no index of weights"),
    ],
)
def test_an_index_that_does_not_fit_is_told(change, words, tmp_path):
    places = shards(tmp_path, {k: v for k, v in Tied(1).state_dict().items() if "head" not in k})
    index = {"weight_map": change(places)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(LoadingError, match=words):
        read_state(tmp_path)


def test_weights_of_one_model_among_others_by_their_prefix(tmp_path):
    student, teacher = net(1).state_dict(), net(3).state_dict()
    save(
        {f"student.{k}": v for k, v in student.items()}
        | {f"teacher.{k}": v for k, v in teacher.items()},
        tmp_path / "w.pt",
    )
    model = net(2)
    notes = load_checkpoint(model, tmp_path / "w.pt", strip="student.")
    assert same(model, student)
    assert f"{len(student)} others left out" in notes[0]
    with pytest.raises(LoadingError, match="--strip"):
        load_checkpoint(model, tmp_path / "w.pt", strip="pupil.")


def test_a_prefix_of_some_names_is_suggested(tmp_path):
    """As torch's AveragedModel saves, and Lightning where a criterion has weights of its own."""
    averaged = torch.optim.swa_utils.AveragedModel(net(1))
    torch.save({"state_dict": averaged.state_dict()}, tmp_path / "w.pt")
    model = net(2)
    with pytest.raises(LoadingError, match="do: --strip module"):
        load_checkpoint(model, tmp_path / "w.pt")
    load_checkpoint(model, tmp_path / "w.pt", strip="module.")
    assert same(model, net(1).state_dict())


@pytest.mark.parametrize("name", ["model_ema", "ema_state_dict", "netG", "best_weights"])
def test_the_only_entry_of_weights_is_taken_and_said(name, tmp_path):
    adam = torch.optim.Adam(net(3).parameters())
    adam.param_groups[0]["params"][0].grad = torch.ones_like(adam.param_groups[0]["params"][0])
    adam.step()
    torch.save({name: net(1).state_dict(), "opt": adam.state_dict(), "step": 3}, tmp_path / "w.pt")
    model = net(2)
    notes = load_checkpoint(model, tmp_path / "w.pt")
    assert same(model, net(1).state_dict())
    assert notes == [f"weights read from the entry {name!r} of w.pt"]


def test_other_entries_of_weights_are_named(tmp_path):
    """An exponential average beside the weights is another network: which one was read is said."""
    both = {"model": net(1).state_dict(), "ema": net(3).state_dict()}
    torch.save(both, tmp_path / "w.pt")
    model = net(2)
    notes = load_checkpoint(model, tmp_path / "w.pt")
    assert same(model, both["model"])
    assert "under ema too" in notes[1]
    assert "--checkpoint-key ema" in notes[1]
    load_checkpoint(model, tmp_path / "w.pt", "ema")
    assert same(model, both["ema"])
    torch.save({"netG": net(1).state_dict(), "netD": net(3).state_dict()}, tmp_path / "w.pt")
    with pytest.raises(LoadingError, match=r"weights under netG, netD: .* --checkpoint-key netG"):
        load_checkpoint(model, tmp_path / "w.pt")
    assert same(model, both["ema"])


@pytest.mark.slow
def test_a_folder_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(n_embd=8, n_layer=2, n_head=2, vocab_size=40, n_positions=16)
    source, model = transformers.GPT2LMHeadModel(config), transformers.GPT2LMHeadModel(config)
    for size, files in (("1GB", "model.safetensors"), ("3KB", "model.safetensors.index.json")):
        folder = tmp_path / size
        source.save_pretrained(folder, max_shard_size=size)
        assert (folder / files).is_file()
        load_checkpoint(model, folder)
        assert same(model, source.state_dict())
        assert model.lm_head.weight is model.transformer.wte.weight


@pytest.mark.parametrize(
    ("suffix", "left"),
    [(".safetensors", -100), (".safetensors", 100), (".pt", -100), (".npz", -100)],
)
def test_a_truncated_file_is_damaged(suffix, left, tmp_path):
    path = tmp_path / f"w{suffix}"
    save(net(1).state_dict(), path)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(LoadingError, match="damaged"):
        read_state(path)


def test_inspect_lists_names_shapes_dtypes_and_the_rest(tmp_path):
    torch.save(
        {"epoch": 3, "state_dict": {"w": torch.zeros(2, 3), "b": torch.zeros(2).half()}},
        tmp_path / "w.pt",
    )
    report = inspect_file(tmp_path / "w.pt")
    assert report.safe
    assert report.format == "torch zip"
    assert [(t.name, t.shape, t.dtype) for t in report.tensors] == [
        ("state_dict.w", (2, 3), "float32"),
        ("state_dict.b", (2,), "float16"),
    ]
    assert report.others == {"epoch": "3"}
    ls.results.save(report, tmp_path / "stored")
    assert ls.load(tmp_path / "stored") == report


# ---- data


def arrays(n=33):
    g = np.random.default_rng(0)
    return g.normal(size=(n, 2)).astype(np.float32), g.integers(0, 3, n)


def rows(batches):
    x, y = (torch.cat([b[k] for b in batches]) for k in (0, 1))
    return sorted(zip(x.tolist(), y.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["npz", "named", "safetensors", "pt", "csv", "header"])
def test_every_kind_of_file_gives_all_its_rows_once(kind, tmp_path):
    x, y = arrays()
    truth = sorted(zip(x.tolist(), y.tolist(), strict=True))
    path = tmp_path / f"d.{ {'named': 'npz', 'header': 'csv'}.get(kind, kind) }"
    spec = str(path)
    if kind == "npz":
        np.savez(path, X=x, y=y)
    elif kind == "named":
        np.savez(path, images=x, marks=y)
        spec += ":x=images,y=marks"
    elif kind in ("safetensors", "pt"):
        save({"inputs": torch.from_numpy(x), "targets": torch.from_numpy(y)}, path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            if kind == "header":
                writer.writerow(["first", "class", "second"])
            writer.writerows(
                [a, k, b] if kind == "header" else [a, b, k]
                for (a, b), k in zip(x.tolist(), y, strict=True)
            )
        spec += ":target=class" if kind == "header" else ""
    for size in (None, 7, 1000):
        assert rows(load_data(spec, size)) == truth
    assert [len(b[1]) for b in load_data(spec, 7)] == [7, 7, 7, 7, 5]
    assert len(load_data(spec)) >= 11
    assert rows(load_data(spec, 7, seed=1)[:1]) != rows(load_data(spec, 7, seed=2)[:1])


@pytest.mark.parametrize(
    ("attr", "sizes"),
    [
        ("pair", [1] * 12),
        ("dataset", [1] * 12),
        ("loader", [5, 5, 2]),
        ("batches", [7, 5]),
        ("draws", [1] * 12),
    ],
)
def test_every_kind_of_object(attr, sizes, user):
    batches = load_data(f"user.py:{attr}")
    assert [len(b[1]) for b in batches] == sizes
    assert [len(b[1]) for b in load_data(f"user.py:{attr}", 8)] in ([8, 4],)
    again = load_data(f"user.py:{attr}")
    assert all(torch.equal(a[0], b[0]) for a, b in zip(batches, again, strict=True))


def test_digits_are_scikit_learns():
    datasets = pytest.importorskip("sklearn.datasets")
    x, y = datasets.load_digits(return_X_y=True)
    batches = load_data("digits", 200)
    assert [len(b[1]) for b in batches] == [200] * 8 + [197]
    assert rows(batches) == sorted(
        zip((torch.from_numpy(x).float() / 16).tolist(), y.tolist(), strict=True)
    )


def put(path, **arrays):
    np.savez(path, **arrays)
    return str(path)


def saved(path):
    torch.save((torch.zeros(4, 2), torch.zeros(4)), path)
    return str(path)


def expanded(path):
    torch.save({"x": torch.zeros(1).expand(1 << 40), "y": torch.zeros(1).expand(1 << 40)}, path)
    return str(path)


BAD_DATA = {
    "expanded": (lambda d: expanded(d / "a.pt"), LoadingError, "no plain array"),
    "unknown": (lambda d: "digit", ValueError, "Did you mean 'digits'"),
    "suffix": (lambda d: "data.parquet", ValueError, ".npz"),
    "a pair without names": (
        lambda d: saved(d / "a.pt"),
        LoadingError,
        "holds a tuple of 2 tensors",
    ),
    "objects": (
        lambda d: put(d / "a.npz", x=np.zeros((2, 2)), y=np.array(["a", 1], dtype=object)),
        LoadingError,
        "arrays of Python objects, y,",
    ),
    "three": (lambda d: "user.py:three", LoadingError, "a tuple of 3 tensors: data are a pair"),
    "missing file": (lambda d: "none.npz", LoadingError, "no file none.npz"),
    "missing csv": (lambda d: "none.csv", LoadingError, "no file none.csv"),
    "lengths": (
        lambda d: put(d / "a.npz", x=np.zeros((4, 2)), y=np.zeros(3)),
        LoadingError,
        "4 inputs and 3 targets",
    ),
    "empty": (
        lambda d: put(d / "a.npz", x=np.zeros((0, 2)), y=np.zeros(0)),
        LoadingError,
        "no samples",
    ),
    "names": (
        lambda d: put(d / "a.npz", a=np.zeros(2), b=np.zeros(2)),
        LoadingError,
        "it has a, b",
    ),
    "option": (
        lambda d: put(d / "a.npz", x=np.zeros(2), y=np.zeros(2)) + ":z=1",
        ValueError,
        "no option 'z'",
    ),
    "scalar": (
        lambda d: put(d / "a.npz", x=np.float64(1), y=np.zeros(2)),
        LoadingError,
        "single number",
    ),
    "nan": (
        lambda d: put(d / "a.npz", x=np.array([[0, 1], [np.nan, 2]]), y=np.zeros(2)),
        NumericalError,
        "(1, 0)",
    ),
    "inf": (
        lambda d: put(d / "a.npz", x=np.zeros(3), y=np.array([0, 0, np.inf])),
        NumericalError,
        "y of",
    ),
    "object length": (lambda d: "user.py:longer", LoadingError, "12 inputs and 5 targets"),
    "object empty": (lambda d: "user.py:empty", LoadingError, "no batches"),
    "object nan": (lambda d: "user.py:nan", NumericalError, "(4, 1)"),
    "object number": (lambda d: "user.py:number", LoadingError, "is a int"),
    "object raises": (lambda d: "user.py:raises", LoadingError, "KeyError"),
    "no attribute": (lambda d: "user.py", ValueError, "user.py:attr"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(case, user):
    make, kind, words = BAD_DATA[case]
    spec = make(user)
    with pytest.raises(kind) as error:
        load_data(spec)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("a,b\n", "empty"),
        ("1,2\n3\n", "csv:2 has 1 cells"),
        ("a,b\n1,2\n1,x\n", "csv:3: 'x' in column b"),
        ("1\n2\n", "one column"),
    ],
)
def test_bad_csv_names_the_line(text, words, tmp_path):
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(LoadingError) as error:
        load_data(str(tmp_path / "d.csv"))
    assert words in str(error.value)


def test_batch_sizes_that_cannot_be(user):
    with pytest.raises(ValueError, match="at least 1"):
        load_data("digits", 0)
    with pytest.raises(ValueError, match="cannot cut"):
        load_data("user.py:mixed", 4)


def test_batches_of_any_structure_are_cut_again(user):
    batches = load_data("user.py:dicts", 5)
    assert [len(b["labels"]) for b in batches] == [5, 5, 2]
    assert rows([(b["input"], b["labels"]) for b in batches]) == rows(load_data("user.py:pair"))
    found = problem(ProblemOptions("user.py", batch_size=5, device="cpu")).landscape
    whole = problem(ProblemOptions("user.py", device="cpu")).landscape
    assert isinstance(found, ls.ModelLandscape)
    assert isinstance(whole, ls.ModelLandscape)
    assert [len(y) for _, y in found.batches] == [5, 5, 2]
    torch.testing.assert_close(
        found.gradient(found.point()), whole.gradient(whole.point()), rtol=1e-5, atol=1e-7
    )


# ---- models


def weight(layer: str, *spec: Any, **options: Any) -> torch.Tensor:
    """A layer's weight in the module that ``load_model`` gives."""
    model = load_model(*spec, **options)
    assert isinstance(model, nn.Module)
    return model.get_parameter(f"{layer}.weight")


def test_a_file_gives_instances_classes_factories_and_problems(user):
    assert isinstance(load_model("user.py:ready"), nn.Module)
    assert load_model("user.py:holder.net") is load_model("user.py:ready")  # the file ran once
    assert weight("b", "user.py:Net", {"width": 5, "bias": False}).shape == (1, 5)
    assert weight("a", "user.py:make", {"width": 2}).shape == (2, 2)
    assert load_model("user.py").l2 == {"a.weight": 0.5}
    assert load_model("user.py", {"decay": 2.0}).l2 == {"a.weight": 2.0}
    assert isinstance(
        load_model("torch.nn:Linear", {"in_features": 2, "out_features": 1}), nn.Linear
    )


def test_a_file_may_import_its_neighbour(user):
    (user / "sub").mkdir()
    (user / "sub" / "neighbour_of_main.py").write_text(
        "from torch import nn\nnet = nn.Linear(1, 1)\n"
    )
    (user / "sub" / "main.py").write_text("import sys\nfrom neighbour_of_main import net\n")
    assert isinstance(load_model("sub/main.py:net"), nn.Linear)


def test_models_are_drawn_by_the_seed_and_the_global_state_stays(user):
    before = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()
    a, b, c = (weight("a", "user.py:make", seed=s) for s in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state(legacy=False)["state"]["key"]).all()


@pytest.mark.parametrize(
    ("spec", "settings", "kind", "words"),
    [
        (
            "digits-mpl",
            {},
            ValueError,
            "Did you mean 'digits-mlp'? Pass a built-in name (`landscape zoo`",
        ),
        ("no/such.py:net", {}, LoadingError, "no file no/such.py"),
        ("no/such.py", {}, LoadingError, "no file no/such.py"),
        ("no_such_package.mod:net", {}, LoadingError, "No module named 'no_such_package'"),
        ("user.py:Nett", {}, LoadingError, "Did you mean 'Net'"),
        ("empty.py", {}, LoadingError, "defines no 'problem'"),
        ("user.py:number", {}, LoadingError, "is a int"),
        ("user.py:gives_text", {}, LoadingError, "gave a str"),
        ("other.py", {}, LoadingError, "should give a ModelLandscape"),
        ("user.py:Net", {"wide": 3}, ValueError, "Its parameters: width, bias"),
        ("user.py:ready", {"width": 3}, ValueError, "finished model"),
        (
            "user.py:raises",
            {},
            LoadingError,
            f"user.py:{line('raise KeyError')}: KeyError: 'no such thing'",
        ),
        (
            "user.py:exits",
            {},
            LoadingError,
            f"user.py:{line('raise SystemExit')}: SystemExit: goodbye",
        ),
        ("broken.py:net", {}, LoadingError, "broken.py:3: ZeroDivisionError: division by zero"),
        ("syntax.py:net", {}, LoadingError, "syntax.py:2: SyntaxError"),
        ("leaves.py:net", {}, LoadingError, "leaves.py:2: SystemExit: 7"),
        (
            "user.py:Net",
            {"width": -1},
            LoadingError,
            f"user.py:{line('self.a, self.b')}: RuntimeError",
        ),
    ],
)
def test_bad_models(spec, settings, kind, words, user):
    with pytest.raises(kind) as error:
        load_model(spec, settings)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_ctrl_c_in_a_users_file_is_ctrl_c(user):
    with pytest.raises(KeyboardInterrupt):
        load_model("user.py:interrupts")


def lost(spec: str, output: torch.Tensor, target: torch.Tensor) -> float:
    value = load_loss(spec)(output, target)
    assert isinstance(value, torch.Tensor)
    return value.item()


def test_losses_by_name_function_and_class(user):
    out, y = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.0])
    assert lost("huber:delta=1", out, y) == 1.5
    assert lost("user.py:loss", out, y) == 14
    assert lost("torch.nn:MSELoss", out, y) == 5
    assert lost("torch.nn.functional:l1_loss", out, y) == 2
    with pytest.raises(LoadingError, match="a loss is a function"):
        load_loss("user.py:number")
    with pytest.raises(ValueError, match="Did you mean 'mse'"):
        load_loss("msee")


# ---- problems


def module_problem(**options):
    given = {
        "model": "user.py:make",
        "data": "user.py:pair",
        "loss": "mse",
        "device": "cpu",
    } | options
    return problem(ProblemOptions(**given))


def test_a_module_problem_is_the_one_put_together_by_hand(user):
    found = module_problem(
        settings={"width": 4}, l2={"*.weight": 0.1}, batch_size=5, dtype="float64", exclude="b.*"
    )
    model = load_model("user.py:make", {"width": 4})
    assert isinstance(model, nn.Module)
    g = torch.Generator().manual_seed(0)
    whole = [(torch.randn(12, 2, generator=g), torch.randn(12, 1, generator=g))]
    loss = nn.functional.mse_loss
    by_hand = ls.ModelLandscape(
        model, loss, whole, l2={"*.weight": 0.1}, exclude="b.*", dtype=torch.float64
    )
    x = by_hand.point()
    torch.testing.assert_close(found.landscape.point(), x)
    torch.testing.assert_close(
        found.landscape.gradient(x), by_hand.gradient(x), rtol=1e-12, atol=1e-14
    )
    assert found.name == "make"


def test_the_resolved_configuration_gives_the_same_again(user):
    first = module_problem(settings={"width": 4}, l2={"*.weight": 0.1}, batch_size=5, seed=3)
    again = problem(ProblemOptions(**first.config))
    assert first.config["device"] == "cpu"
    assert first.config["dtype"] == "float32"
    assert again.landscape.fingerprint() == first.landscape.fingerprint()
    assert again.config == first.config


def test_parts_of_a_users_problem_are_replaced_one_by_one(user):
    own = problem(ProblemOptions("user.py", device="cpu"))
    assert isinstance(own.landscape, ls.ModelLandscape)
    assert own.name == "mine"
    assert own.landscape.l2 == {"a.weight": 0.5}
    changed = problem(
        ProblemOptions(
            "user.py", loss="l1", l2={"*": 0.1}, include="a.*", data="user.py:pair", device="cpu"
        )
    )
    assert isinstance(changed.landscape, ls.ModelLandscape)
    assert changed.landscape.l2 == {"*": 0.1}
    assert changed.notes == ("--l2 takes the place of l2={'a.weight': 0.5} in user.py",)
    config: dict[str, Any] = own.config
    assert own.notes == problem(ProblemOptions(**config)).notes == ()
    assert set(changed.landscape.layout) == {"a.weight", "a.bias"}
    assert changed.landscape.loss == losses.get("l1")


def test_a_checkpoint_goes_into_the_problem_and_is_said(user):
    source = load_model("user.py:make", seed=9)
    assert isinstance(source, nn.Module)
    save({f"module.{k}": v for k, v in source.state_dict().items()}, user / "w.pt")
    found = module_problem(checkpoint=str(user / "w.pt"))
    assert torch.equal(
        found.landscape.model.get_parameter("a.weight"), source.get_parameter("a.weight")
    )
    assert "'module.'" in found.notes[0]


def test_a_built_in_name_takes_settings_and_overrides():
    pytest.importorskip("sklearn")
    options = ProblemOptions(
        "digits-mlp", settings={"hidden": 3, "steps": 0}, l2={"*": 0.5}, device="cpu", seed=4
    )
    found = problem(options)
    assert isinstance(found.landscape, ls.ModelLandscape)
    assert found.landscape.dim == 75 * 3
    assert found.landscape.l2 == {"*": 0.5}
    assert found.landscape.dtype == torch.float64
    assert found.config["seed"] == 4


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"data": None}, ValueError, "needs --data"),
        ({"loss": None}, ValueError, "needs --loss"),
        ({"device": "tpu9"}, ValueError, "device 'tpu9' cannot be used"),
        ({"device": "cuda:99"}, ValueError, "cannot be used"),
        ({"dtype": "float63"}, ValueError, "Did you mean 'float64'"),
        ({"mode": "test"}, ValueError, "mode must be one of"),
        ({"masks": 0}, ValueError, "masks"),
        ({"include": "c.*"}, ValueError, "matches no trainable parameter"),
        ({"l2": {"nothing": 1.0}}, ValueError, "matches no trainable parameter"),
        ({"checkpoint": "none.pt"}, LoadingError, "no file none.pt"),
        (
            {"model": "user.py", "data": None, "batch_size": 0},
            ValueError,
            "--batch-size must be at least 1",
        ),
        ({"model": "pnett"}, ValueError, "Did you mean 'pnet'"),
    ],
)
def test_bad_options(options, kind, words, user):
    with pytest.raises(kind) as error:
        module_problem(**options)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arrays", "loss", "words"),
    [
        (
            {"x": np.zeros((6, 2), np.float32), "y": np.array([0, 0, 0, 0, 0, 1])},
            "cross-entropy",
            "the label of sample 6 is 1",
        ),
        (
            {"x": np.zeros((6, 2), np.float32), "y": np.zeros(6)},
            "cross-entropy",
            "d.npz has labels of float64, and this loss needs integers",
        ),
        (
            {"x": np.zeros((6, 2), np.float32), "y": np.zeros(6, np.float32)},
            "mse",
            "(1, 1) and targets (1,)",
        ),
        (
            {"x": np.zeros((6, 3), np.float32), "y": np.zeros((6, 1), np.float32)},
            "mse",
            "raised RuntimeError on batch",
        ),
        (
            {"x": np.zeros((6, 2), np.float32), "y": np.full((6, 1), 7)},
            "bce-with-logits",
            "targets in [0, 1], got 7",
        ),
    ],
)
def test_data_that_do_not_fit_the_loss_or_the_model(arrays, loss, words, user):
    def sloped():
        f = module_problem(data=put(user / "d.npz", **arrays), loss=loss).landscape
        return f.gradient(f.point())

    with pytest.raises(LoadingError) as error:
        sloped()
    assert words in str(error.value)


def test_a_named_loss_gives_the_same_gradient_for_every_batch_size(user):
    x, labels = arrays(10)
    labels[::4] = -100
    spec = put(user / "d.npz", x=x, y=labels)
    gradients = []
    for size in (1, 4, 9, 10):
        options = {
            "model": "torch.nn:Linear",
            "settings": {"in_features": 2, "out_features": 3},
            "dtype": "float64",
        }
        f = module_problem(
            **options, data=spec, loss="cross-entropy:label_smoothing=0.1", batch_size=size
        ).landscape
        gradients.append(f.gradient(f.point()))
    assert gradients[-1].norm() > 0.1
    assert all(torch.allclose(g, gradients[-1], rtol=1e-12, atol=1e-14) for g in gradients)


def test_the_precision_of_products_is_passed_on_and_kept(user, tmp_path):
    coarse = problem(
        ProblemOptions("user.py:make", data="user.py:pair", loss="mse", precision="bf16")
    )
    assert coarse.landscape.precision == "bf16"
    (tmp_path / "own.py").write_text(
        "import landscape as ls, torch\nfrom user import make, pair\n"
        "def problem():\n"
        "    return ls.ModelLandscape(\n"
        "        make(), torch.nn.functional.mse_loss, [pair], precision='tf32')\n"
    )
    own = str(tmp_path / "own.py")
    assert problem(ProblemOptions(own, batch_size=4)).landscape.precision == "tf32"
    assert problem(ProblemOptions(own, precision="full")).landscape.precision == "full"
