"""A model as a landscape, against the same objective on the full batch written out by hand."""

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nets import KINDS, Net, plain_loss, problem
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls


def landscape(net: Net, size: int = 7, **options: Any) -> ls.ModelLandscape:
    return ls.ModelLandscape(net.model, net.loss, net.batches(size), l2=net.l2 or None, **options)


def world(model: nn.Module) -> list[Any]:
    """Everything of the user's that an evaluation could disturb."""
    return [
        {k: v.clone() for k, v in model.state_dict().items()},
        [(m.training, len(m._forward_hooks)) for m in model.modules()],
        [(p.requires_grad, p.grad, id(p)) for p in model.parameters()],
        torch.get_rng_state(),
        (
            torch.backends.mha.get_fastpath_enabled(),
            torch.backends.mkldnn.enabled,
            torch.is_grad_enabled(),
        ),
    ]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    return all(map(same, a, b)) if isinstance(a, list | tuple) else a == b


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_micro_batches_equal_the_full_batch(kind: str, size: int) -> None:
    net = problem(kind, seed=1)
    f = landscape(net, size)
    objective, point = plain_loss(net)
    x = f.point()
    assert torch.equal(x, point)
    v = torch.linspace(-1, 1, f.dim, dtype=torch.float64)
    value, gradient = objective(x), torch.func.grad(objective)(x)
    _, product = torch.autograd.functional.vhp(objective, x, v)
    torch.testing.assert_close(f.value(x), value, rtol=1e-12, atol=0)
    assert (f.gradient(x) - gradient).norm() <= 1e-12 * gradient.norm()
    assert (ls.Hessian(f) @ v - product).norm() <= 1e-12 * product.norm()


def test_ten_samples_as_nine_and_one() -> None:
    x, y = torch.randn(10, 3, dtype=torch.float64), torch.randn(10, 1, dtype=torch.float64)
    model = nn.Linear(3, 1).double()
    f = ls.ModelLandscape(model, F.mse_loss, [(x[:9], y[:9]), (x[9:], y[9:])])
    residual = model(x) - y
    torch.testing.assert_close(
        f.value(f.point()), (residual**2).mean().detach(), rtol=1e-14, atol=0
    )
    X = torch.cat([x, torch.ones(10, 1, dtype=torch.float64)], 1)
    torch.testing.assert_close(ls.Hessian(f).dense(), 2 * X.T @ X / 10, rtol=1e-13, atol=1e-14)


def test_sum_reduction_adds_batches() -> None:
    x, y = torch.randn(10, 3), torch.randn(10, 1)
    model = nn.Linear(3, 1)
    loss = nn.MSELoss(reduction="sum")
    f = ls.ModelLandscape(model, loss, [(x[:9], y[:9]), (x[9:], y[9:])], reduction="sum")
    torch.testing.assert_close(f.value(f.point()), loss(model(x), y).detach())
    with pytest.raises(ValueError, match="reduction='sum'"):
        ls.ModelLandscape(model, loss, [(x, y)])


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(ignore_index=1),
        nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0])),
        nn.CrossEntropyLoss(weight=torch.tensor([0.2, 1.0, 3.0]), label_smoothing=0.1),
        nn.NLLLoss(weight=torch.tensor([0.2, 1.0, 3.0]), ignore_index=0),
        F.cross_entropy,
    ],
    ids=["ignore", "weights", "smoothed", "nll", "function"],
)
def test_batches_count_what_the_loss_divides_by(loss: Any) -> None:
    x, y = torch.randn(23, 4), torch.randint(0, 3, (23,))
    y[3:9] = -100 if loss is F.cross_entropy else y[3:9]  # one whole batch is ignored
    model = nn.Sequential(nn.Linear(4, 3), nn.LogSoftmax(1))
    f = ls.ModelLandscape(model, loss, list(zip(x.split(3), y.split(3), strict=True)))
    torch.testing.assert_close(f.value(f.point()), loss(model(x), y).detach())


class Keyed(nn.Module):
    """Takes its input by keyword and, given labels, returns an object with a loss: the Hugging Face convention."""

    class Output(dict[str, Tensor]):
        @property
        def loss(self) -> Tensor:
            return self["loss"]

        @property
        def logits(self) -> Tensor:
            return self["logits"]

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(
        self, features: Tensor, scale: Tensor, labels: Tensor | None = None
    ) -> "Keyed.Output":
        logits = self.linear(features) * scale
        loss = {} if labels is None else {"loss": F.cross_entropy(logits, labels)}
        return Keyed.Output(logits=logits, **loss)


def test_every_form_of_batch_and_loss_agrees() -> None:
    x, s, y = torch.randn(23, 4), torch.rand(23, 1), torch.randint(0, 3, (23,))
    model = Keyed()
    expected = F.cross_entropy(model.linear(x) * s, y).detach()
    dicts = [
        {"features": a, "scale": b, "labels": c}
        for a, b, c in zip(x.split(5), s.split(5), y.split(5), strict=True)
    ]
    pairs = [((a, b), c) for a, b, c in zip(x.split(5), s.split(5), y.split(5), strict=True)]
    forms = [
        ls.ModelLandscape(model, None, dicts),
        ls.ModelLandscape(model, F.cross_entropy, dicts),
        ls.ModelLandscape(model, F.cross_entropy, pairs),
        ls.ModelLandscape(model, lambda model, batch: model(**batch).loss, dicts),
        ls.ModelLandscape(
            model, lambda m, batch: F.cross_entropy(m(*batch[0]).logits, batch[1]), pairs
        ),
    ]
    for f in forms:
        torch.testing.assert_close(f.value(f.point()), expected)


def test_layout_of_tied_and_frozen_parameters() -> None:
    net = problem("tied")
    net.model.get_parameter("mix.bias").requires_grad_(False)
    f = landscape(net)
    assert list(f.layout) == ["embedding.weight", "mix.weight"]
    assert f.layout["mix.weight"] == slice(35, 60)
    assert f.dim == 60
    x = f.point()
    assert torch.equal(
        x[f.layout["embedding.weight"]],
        net.model.get_parameter("embedding.weight").detach().flatten(),
    )
    expected = torch.autograd.grad(
        net.loss(net.model(net.batch[0]), net.batch[1]), net.model.get_parameter("head.weight")
    )[0]
    torch.testing.assert_close(
        f.gradient(x)[:35], expected.flatten()
    )  # both uses of the tied weight


def test_include_and_exclude_cut_out_a_block() -> None:
    net = problem("tanh-mlp", seed=1)
    whole, layer = landscape(net), landscape(net, include="2.*")
    where = slice(whole.layout["2.weight"].start, whole.layout["2.bias"].stop)
    assert list(layer.layout) == ["2.weight", "2.bias"]
    torch.testing.assert_close(
        layer.value(layer.point()), whole.value(whole.point())
    )  # the others' L2 is kept
    torch.testing.assert_close(ls.Hessian(layer).dense(), ls.Hessian(whole).dense()[where, where])
    assert list(landscape(net, exclude=["*.bias", "0.*"]).layout) == ["2.weight", "4.weight"]


def test_l1_and_l2_terms() -> None:
    model = nn.Linear(3, 2).double()
    batch = (torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 2, dtype=torch.float64))
    bare = ls.ModelLandscape(model, F.mse_loss, [batch])
    f = ls.ModelLandscape(
        model, F.mse_loss, [batch], l2={"weight": 0.3, "*": 0.1}, l1={"bias": 0.7}
    )
    x = f.point()
    w, b = x[:6], x[6:]
    extra = 0.5 * 0.4 * (w @ w) + 0.5 * 0.1 * (b @ b) + 0.7 * b.abs().sum()
    torch.testing.assert_close(f.value(x) - bare.value(x), extra)
    torch.testing.assert_close(
        f.gradient(x) - bare.gradient(x), torch.cat([0.4 * w, 0.1 * b + 0.7 * b.sign()])
    )
    torch.testing.assert_close(
        ls.Hessian(f).dense() - ls.Hessian(bare).dense(),
        torch.diag(torch.tensor([0.4] * 6 + [0.1] * 2).double()),
    )


def test_l2_is_the_weight_decay_of_torch() -> None:
    net = problem("tanh-mlp")
    f = ls.ModelLandscape(net.model, net.loss, [net.batch], l2={"*": 0.05})
    step = f.point() - 0.1 * f.gradient(f.point())
    optimizer = torch.optim.SGD(net.model.parameters(), lr=0.1, weight_decay=0.05)
    net.loss(net.model(net.batch[0]), net.batch[1]).backward()
    optimizer.step()
    torch.testing.assert_close(f.point(), step, rtol=1e-12, atol=1e-14)


def test_many_points_at_once() -> None:
    f = landscape(problem("conv"))
    x = f.point() + 0.1 * torch.randn(2, 3, f.dim, dtype=torch.float64)
    assert f.value(x).shape == (2, 3)
    assert torch.equal(f.value(x)[1, 2], f.value(x[1, 2]))
    torch.testing.assert_close(f.gradient(x)[0, 1], f.gradient(x[0, 1]), rtol=1e-13, atol=1e-15)


@pytest.mark.slow
def test_dropout_is_frozen_by_seed_and_averaged_over_masks() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Tanh(), nn.Linear(16, 3))
    batches = [(torch.randn(6, 4), torch.randint(0, 3, (6,))) for _ in range(3)]
    x = ls.ModelLandscape(model, F.cross_entropy, batches).point()

    def train(**options: Any) -> ls.ModelLandscape:
        return ls.ModelLandscape(model, F.cross_entropy, batches, mode="train", **options)

    assert train(seed=1).value(x) == train(seed=1).value(x) != train(seed=2).value(x)
    f = train(masks=4)
    many = train(masks=400).value(x)
    few = torch.stack([train(seed=s).value(x) for s in range(100)])
    assert abs(many - few.mean()) <= 4 * few.std() * (1 / 100 + 1 / 400) ** 0.5
    H = ls.Hessian(f).dense(symmetric=False)
    assert (H - H.T).abs().max() <= 1e-5 * H.abs().max()  # the same masks in every product


def test_batch_norm_in_train_mode_uses_the_batch_and_keeps_its_statistics() -> None:
    net = problem("batch-norm")
    before = world(net.model)
    f = ls.ModelLandscape(net.model, net.loss, [net.batch], mode="train")
    value = f.value(f.point())
    ls.Hessian(f) @ f.point()
    assert same(world(net.model), before)
    twin = copy.deepcopy(net.model).train()
    torch.testing.assert_close(value, net.loss(twin(net.batch[0]), net.batch[1]).detach())


class Failing(nn.Module):
    def __init__(self, error: type[BaseException] | None) -> None:
        super().__init__()
        self.linear, self.norm, self.drop, self.error, self.calls = (
            nn.Linear(4, 3),
            nn.BatchNorm1d(3),
            nn.Dropout(),
            error,
            iter(range(4)),  # a plain number would be put back before every pass
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.error and next(self.calls, None) is None:
            raise self.error("stop here")
        return self.drop(self.norm(self.linear(x)))


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_the_world_is_left_as_found(error: type[BaseException] | None, mode: str) -> None:
    model = Failing(error)
    model.norm.eval()  # a mixture of modes
    model.linear.weight.grad = torch.ones(3, 4)
    batches = DataLoader(
        TensorDataset(torch.randn(20, 4), torch.randint(0, 3, (20,))), batch_size=6, shuffle=True
    )
    before = world(model)
    f = ls.ModelLandscape(model, F.cross_entropy, batches, mode=mode)
    try:
        x = f.point()
        f.value(x), f.gradient(x)
        H = ls.Hessian(f)
        H @ x, H @ x, ls.GaussNewton(f) @ x
    except (ls.LoadingError, KeyboardInterrupt):
        assert error
    else:
        assert not error
    assert same(world(model), before)


def test_load_writes_the_point_and_training_moves_it() -> None:
    net = problem("encoder")
    f = landscape(net)
    x = torch.randn(f.dim, dtype=torch.float64)
    f.load(x)
    assert torch.equal(f.point(), x)
    with torch.no_grad():
        net.model.get_parameter("head.bias").add_(1)
    assert torch.equal(f.point()[f.layout["head.bias"]], x[f.layout["head.bias"]] + 1)


def test_dtype_and_device(dtype: torch.dtype, device: torch.device) -> None:
    net = problem("encoder")
    f = landscape(net, dtype=dtype, device=device)
    x = f.point()
    assert (x.dtype, x.device.type) == (dtype, device.type)
    expected = plain_loss(net)[0](plain_loss(net)[1])
    torch.testing.assert_close(
        f.value(x).cpu().double(), expected, rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=0
    )
    assert f.gradient(x).dtype == dtype
    assert (
        ls.ModelLandscape(copy.deepcopy(net.model).half(), net.loss, net.batches(7)).dtype
        == torch.float32
    )


def test_a_shuffling_loader_is_a_function() -> None:
    loader = DataLoader(
        TensorDataset(torch.randn(20, 4), torch.randint(0, 3, (20,))), batch_size=6, shuffle=True
    )
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    f = ls.ModelLandscape(model, F.cross_entropy, loader, mode="train")
    torch.rand(5)
    first = f.value(f.point())
    torch.rand(7)
    assert f.value(f.point()) == first


def test_nothing_is_made_on_the_default_device() -> None:
    net = problem("batch-norm", seed=1)
    f = landscape(net, mode="train")
    x = f.point()
    with torch.device("meta"):
        f.value(x), f.gradient(x), ls.Hessian(f) @ x, ls.GaussNewton(f) @ x, ls.Hessian(f).dense()


GOOD = [(torch.randn(6, 4), torch.randint(0, 3, (6,)))]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"model": F.relu}, TypeError, "nn.Module"),
        ({"loss": 3}, TypeError, "callable"),
        ({"batches": iter(GOOD)}, ValueError, "only once"),
        ({"batches": (b for b in GOOD)}, ValueError, "only once"),
        ({"batches": []}, ValueError, "empty"),
        ({"mode": "training"}, ValueError, "eval, train"),
        ({"reduction": "none"}, ValueError, "mean, sum"),
        ({"masks": 0}, ValueError, "masks"),
        ({"include": "head.*"}, ValueError, "include glob 'head.\\*' matches no"),
        ({"exclude": "nothing"}, ValueError, "exclude glob"),
        ({"exclude": "*"}, ValueError, "leave no parameter"),
        ({"l2": {"w": 1.0}}, ValueError, "l2 glob 'w'"),
        ({"l1": {"w": 1.0}}, ValueError, "l1 glob 'w'"),
        ({"dtype": torch.int64}, ValueError, "must be torch.float32"),
        ({"model": nn.Linear(4, 3).requires_grad_(False)}, ls.LoadingError, "no trainable parameter"),
        ({"model": nn.LazyLinear(3)}, ls.LoadingError, "run the model once"),
        ({"batches": [(torch.randn(6, 5), GOOD[0][1])]}, ls.LoadingError, "RuntimeError on batch 0.*6x5"),
        ({"batches": [(GOOD[0][0], torch.full((6,), 3))]}, ls.LoadingError, "IndexError on batch 0"),
        ({"batches": [torch.randn(6, 4)]}, ValueError, "is a pair"),
        ({"loss": nn.CrossEntropyLoss(reduction="none"), "reduction": "mean"}, ValueError, "reduction='none'"),
        ({"loss": lambda o, t: F.cross_entropy(o, t, reduction="none")}, ls.LoadingError, "scalar tensor, got shape \\(6,\\)"),
        ({"loss": lambda o, t: F.cross_entropy(o, t).item()}, ls.LoadingError, "got a float"),
        ({"loss": lambda o, t: F.cross_entropy(o, t).detach()}, ls.LoadingError, "detached"),
        ({"loss": lambda o, t: 1 / 0}, ls.LoadingError, "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(
    change: dict[str, Any], error: type[Exception], words: str
) -> None:
    arguments: dict[str, Any] = {
        "model": nn.Linear(4, 3),
        "loss": F.cross_entropy,
        "batches": GOOD,
    } | change

    def use() -> None:
        f = ls.ModelLandscape(**arguments)
        f.gradient(f.point())

    with pytest.raises(error, match=words):
        use()


def test_bad_points_are_named() -> None:
    f = ls.ModelLandscape(nn.Linear(4, 3), F.cross_entropy, GOOD)
    for bad, words in (
        (torch.zeros(4), "n = 15"),
        (torch.zeros(15).double(), "float64"),
        (torch.zeros(15, 2), "n = 15"),
    ):
        with pytest.raises(ValueError, match=words):
            f.value(bad)
        with pytest.raises(ValueError, match=words):
            f.gradient(bad)
    with pytest.raises(ValueError, match="n = 15"):
        f.load(torch.zeros(3))


def test_a_module_used_twice_keeps_its_parameters() -> None:
    """Under two names, both of which torch's functional_call would replace, and put back wrongly."""
    layer = nn.Linear(3, 3)
    model = nn.ModuleDict({"a": layer, "b": layer, "head": nn.Linear(3, 1)}).double()
    x, y = torch.randn(7, 3, dtype=torch.float64), torch.randn(7, 1, dtype=torch.float64)

    def loss(model: Any, batch: Any) -> Tensor:
        return F.mse_loss(
            model["head"](torch.tanh(model["b"](torch.tanh(model["a"](batch[0]))))), batch[1]
        )

    before = list(model.parameters())
    f = ls.ModelLandscape(model, loss, [(x, y)])
    point = f.point()
    value, gradient, H = f.value(point), f.gradient(point), ls.Hessian(f).dense()
    assert all(a is b for a, b in zip(model.parameters(), before, strict=True))

    def plain(p: Tensor) -> Tensor:
        W, b, u, c = p[:9].view(3, 3), p[9:12], p[12:15], p[15]
        return (torch.tanh(torch.tanh(x @ W.T + b) @ W.T + b) @ u + c - y[:, 0]).square().mean()

    torch.testing.assert_close(value, plain(point), rtol=1e-13, atol=0)
    torch.testing.assert_close(
        gradient, torch.autograd.functional.jacobian(plain, point), rtol=1e-12, atol=1e-14
    )
    torch.testing.assert_close(
        H, torch.autograd.functional.hessian(plain, point), rtol=1e-12, atol=1e-14
    )


def test_no_points_have_no_values() -> None:
    f = ls.ModelLandscape(nn.Linear(2, 1), F.mse_loss, [(torch.ones(3, 2), torch.ones(3, 1))])
    assert f.value(torch.zeros(0, 3)).shape == (0,)
    assert f.gradient(torch.zeros(0, 3)).shape == (0, 3)


def test_an_error_of_the_backward_pass_is_a_loading_error() -> None:
    model = nn.Sequential(
        nn.Linear(2, 2), nn.Sigmoid(), nn.ReLU(inplace=True)
    )  # overwrites what sigmoid has saved
    f = ls.ModelLandscape(model, F.mse_loss, [(torch.ones(3, 2), torch.ones(3, 2))])
    for call in (lambda: f.gradient(f.point()), lambda: ls.Hessian(f) @ f.point()):
        with pytest.raises(ls.LoadingError, match="modified by an inplace operation"):
            call()
    assert model.training


def test_what_a_caller_raises_within_an_evaluation_is_its_own() -> None:
    class StoppedError(RuntimeError):
        pass

    f = ls.ModelLandscape(nn.Linear(2, 1), F.mse_loss, [(torch.ones(3, 2), torch.ones(3, 1))])
    with pytest.raises(StoppedError, match="enough"), f.evaluation():
        raise StoppedError("enough")


def test_want_of_memory_is_no_fault_of_the_model() -> None:
    class Large(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise MemoryError("none left")

    f = ls.ModelLandscape(Large(2, 1), F.mse_loss, [(torch.ones(3, 2), torch.ones(3, 1))])
    with pytest.raises(MemoryError, match="none left"):
        f.value(f.point())


@pytest.mark.parametrize("names", [["nope"], [], "weight"])
def test_parts_are_of_parameters_that_exist(names: Any) -> None:
    f = ls.ModelLandscape(nn.Linear(2, 1), F.mse_loss, [(torch.ones(3, 2), torch.ones(3, 1))])
    with pytest.raises(ValueError, match="names must be of the layout's parameters, weight, bias"):
        f.part(names, f.point())


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": torch.float16}, ValueError, "float32 or torch.float64, got torch.float16"),
        ({"l2": 1e-4}, TypeError, "l2 must map globs"),
        ({"l1": {"*": float("nan")}}, ValueError, "must be finite, got nan"),
        ({"batches": 3}, TypeError, "batches must be an iterable of batches"),
        ({"model": nn.Linear(2, 1, dtype=torch.complex64)}, ls.LoadingError, "weight is complex"),
        ({"model": nn.Linear(2, 1, device="meta")}, ls.LoadingError, "on the meta device"),
        ({"model": nn.ParameterList([torch.zeros(0, 3)])}, ls.LoadingError, "all empty"),
    ],
    ids=["half", "l2", "nan", "batches", "complex", "meta", "empty"],
)
def test_what_cannot_be_a_landscape_is_refused(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {
        "model": nn.Linear(2, 1),
        "batches": [(torch.ones(3, 2), torch.ones(3, 1))],
    } | options
    with pytest.raises(error, match=message):
        ls.ModelLandscape(loss=F.mse_loss, **given)


def test_the_heaviest_batches_are_what_they_add_to_the_whole() -> None:
    """Of uneven batches the full ones come first; all of them are f."""
    net = problem("tanh-mlp")
    f = landscape(net, size=7)
    x = f.point()
    with f.evaluation(), torch.no_grad():
        per_batch = [float(term.function(x)) for term in f.terms() if term.batch is not None]
    regulariser = float(f.value(x)) - sum(per_batch)
    order = sorted(range(len(per_batch)), key=lambda i: -float(f.weights[i]))
    for count in (1, 2, len(per_batch)):
        told = float(f.heaviest(count).value(x))
        assert told == pytest.approx(
            sum(per_batch[i] for i in order[:count]) + regulariser, rel=1e-5
        )
    assert f.heaviest(1).identity() != f.identity()
    assert len(f.weights) == len(per_batch) > 2
