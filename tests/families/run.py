"""Real families of models: loss, gradient and largest eigenvalue by landscape beside a computation without it.

The truth is one closure of the flat parameters, made by ``torch.func.functional_call`` on a copy of the model, over
all the data at once: its value, its gradient, and ``scipy.sparse.linalg.eigsh`` of its products by double backward.
Where a kernel has no second derivative its products are central differences of the gradient in float64.

    pip install -e '.[families]' && python tests/families/run.py [NAME ...]

The table goes to stdout, as in docs/families.md; ``--list`` prints the names.
"""

import copy
import importlib
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

import landscape as ls

Batch = Any


@dataclass
class Family:
    """A model and its loss as their owner writes them, and the same once more, plainly."""

    model: nn.Module
    loss: Callable[..., Any] | None  # as landscape takes it
    batches: list[Batch]
    plain: Callable[[Callable[..., Any]], Tensor]  # call -> the loss of all the data at once
    twin: nn.Module | None = None  # what ``call`` calls, where it is not a copy of the model
    mode: str = "train"
    # the truth's products are differences over this step; 0: exact
    differences: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Row:
    """What a family came to."""

    name: str
    parameters: int
    loss: float
    gaps: tuple[float, float, float]  # of loss, gradient and largest eigenvalue, relative
    route: str  # how landscape made its products
    seconds: float


FAMILIES: dict[str, Callable[[], Family]] = {}


def family(name: str) -> Callable[[Callable[[], Family]], Callable[[], Family]]:
    def kept(build: Callable[[], Family]) -> Callable[[], Family]:
        FAMILIES[name] = build
        return build

    return kept


def cut(whole: dict[str, Tensor], sizes: list[int]) -> list[dict[str, Tensor]]:
    parts = {k: v.split(sizes) for k, v in whole.items()}
    return [{k: v[i] for k, v in parts.items()} for i in range(len(sizes))]


# ---- transformers

SMALL: dict[str, Any] = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"vocab_size": 11, "intermediate_size": 12}
SMALL |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def tokens(n: int = 5, length: int = 6) -> dict[str, Tensor]:
    ids = torch.randint(1, 11, (n, length))
    return {"input_ids": ids, "labels": ids.clone()}


def configured(kind: str, **options: Any) -> Any:
    import transformers as t

    return getattr(t, f"{kind}Config")(**options)


def causal(kind: str, **options: Any) -> tuple[nn.Module, dict[str, Tensor]]:
    import transformers as t

    config = configured(kind, **options)
    head = "LMHeadModel" if kind == "GPT2" else "ForCausalLM"
    return getattr(t, kind + head)(config), tokens()


def gpt2() -> tuple[nn.Module, dict[str, Tensor]]:
    drop = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0}
    return causal("GPT2", n_embd=8, n_layer=2, n_head=2, vocab_size=11, n_positions=8, **drop)


def llama() -> tuple[nn.Module, dict[str, Tensor]]:
    return causal("Llama", **SMALL, max_position_embeddings=8)


def mixtral() -> tuple[nn.Module, dict[str, Tensor]]:
    return causal(
        "Mixtral", **SMALL, num_key_value_heads=2, num_local_experts=2, max_position_embeddings=8
    )


def mamba() -> tuple[nn.Module, dict[str, Tensor]]:
    return causal("Mamba", hidden_size=8, num_hidden_layers=2, state_size=3, vocab_size=11)


def bert() -> tuple[nn.Module, dict[str, Tensor]]:
    import transformers as t

    model = t.BertForMaskedLM(configured("Bert", **SMALL, max_position_embeddings=8))
    data = tokens()
    data["labels"] = data["labels"].where(torch.rand(5, 6) < 0.5, torch.tensor(-100))
    return model, data


def vit() -> tuple[nn.Module, dict[str, Tensor]]:
    import transformers as t

    config = configured("ViT", **SMALL, image_size=4, patch_size=2, num_labels=3)
    data = {"pixel_values": torch.randn(5, 3, 4, 4).double(), "labels": torch.arange(5) % 3}
    return t.ViTForImageClassification(config), data


def t5() -> tuple[nn.Module, dict[str, Tensor]]:
    import transformers as t

    config = configured(
        "T5", d_model=8, d_kv=4, d_ff=12, num_layers=2, num_heads=2, vocab_size=11,
        dropout_rate=0.0, decoder_start_token_id=0,
    )  # fmt: skip
    return t.T5ForConditionalGeneration(config), {**tokens(), "labels": tokens(5, 4)["labels"]}


def wav2vec2() -> tuple[nn.Module, dict[str, Tensor]]:
    import transformers as t

    config = configured(
        "Wav2Vec2", **SMALL, conv_dim=(8,), conv_stride=(4,), conv_kernel=(8,),
        num_feat_extract_layers=1, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
        ctc_loss_reduction="mean",
        hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0,
        final_dropout=0.0, layerdrop=0.0, mask_time_prob=0.0, ctc_zero_infinity=True,
    )  # fmt: skip
    data = {"input_values": torch.randn(4, 60).double(), "labels": torch.randint(1, 11, (4, 3))}
    return t.Wav2Vec2ForCTC(config), data


TRANSFORMERS = {
    "GPT-2": gpt2, "Llama": llama, "BERT": bert, "ViT": vit, "T5": t5, "Mamba": mamba,
    "Mixtral": mixtral, "wav2vec2-CTC": wav2vec2,
}  # fmt: skip


def of_transformers(build: Callable[[], Any], checkpointing: bool) -> Family:
    model, data = build()
    model = model.double()
    twin = copy.deepcopy(model)
    if build is mixtral:  # its fused kernel is there for single precision only
        twin.set_experts_implementation("eager")
    if checkpointing:
        model.gradient_checkpointing_enable()
    n = len(data["labels"])
    return Family(
        model,
        None,
        cut(data, [2, n - 2]),
        lambda call: call(**data).loss,
        twin=twin,
        # its scores are float32, so that a short step would show their rounding
        differences=2e-3 if build is wav2vec2 else 0.0,
    )


for _name, _build in TRANSFORMERS.items():
    FAMILIES[_name] = lambda b=_build: of_transformers(b, False)  # type: ignore[misc]
    FAMILIES[f"{_name}, checkpointed"] = lambda b=_build: of_transformers(b, True)  # type: ignore[misc]


# ---- networks of other libraries


@family("GCN of torch_geometric")
def geometric() -> Family:
    from torch_geometric.nn import GCNConv

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = GCNConv(4, 6), GCNConv(6, 3)

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            return self.b(torch.tanh(self.a(x, edge_index)), edge_index)

    x, y = torch.randn(12, 4).double(), torch.arange(12) % 3
    edges = torch.randint(0, 12, (2, 30))
    return Family(
        Net().double(),
        F.cross_entropy,
        [((x, edges), y)],
        lambda call: F.cross_entropy(call(x, edges), y),
    )


@family("UNet of diffusers")
def unet() -> Family:
    UNet2DModel: Any = importlib.import_module("diffusers").UNet2DModel
    model = UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=2,
        block_out_channels=(4, 4), down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"), attention_head_dim=4,
    ).double()  # fmt: skip
    noisy, noise = torch.randn(2, 4, 1, 8, 8).double()
    when = torch.tensor([3, 50, 200, 700])

    def loss(model: Callable[..., Any], batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        x, t, target = batch
        return F.mse_loss(model(x, t).sample, target)

    parts = list(zip(noisy.split(2), when.split(2), noise.split(2), strict=True))
    return Family(model, loss, parts, lambda call: loss(call, (noisy, when, noise)))


def of_torchdiffeq(adjoint: bool) -> Family:
    import torchdiffeq

    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))

        def forward(self, t: Tensor, y: Tensor) -> Tensor:
            out: Tensor = self.net(y)
            return out

    class Ode(nn.Module):
        def __init__(self, adjoint: bool) -> None:
            super().__init__()
            self.slope, self.solve = Slope(), torchdiffeq.odeint
            if adjoint:
                self.solve = torchdiffeq.odeint_adjoint
            self.tight = {"rtol": 1e-7, "atol": 1e-9}

        def forward(self, x: Tensor) -> Tensor:
            times = torch.tensor([0.0, 1.0], dtype=x.dtype)
            out: Tensor = self.solve(self.slope, x, times, **self.tight)[-1]
            return out

    torch.manual_seed(1)
    model, twin = Ode(adjoint).double(), Ode(False).double()
    twin.load_state_dict(model.state_dict())
    x, y = torch.randn(2, 6, 3).double()
    parts = list(zip(x.split([2, 4]), y.split([2, 4]), strict=True))
    return Family(model, F.mse_loss, parts, lambda call: F.mse_loss(call(x), y), twin=twin)


FAMILIES["odeint of torchdiffeq"] = lambda: of_torchdiffeq(False)
FAMILIES["odeint_adjoint of torchdiffeq"] = lambda: of_torchdiffeq(True)


@family("CHGNet")
def chgnet() -> Family:
    crystals: Any = importlib.import_module("pymatgen.core")
    CHGNet: Any = importlib.import_module("chgnet.model").CHGNet
    sizes: dict[str, Any] = {"atom_fea_dim": 4, "bond_fea_dim": 4, "angle_fea_dim": 4, "n_conv": 2}
    model = CHGNet(
        **sizes, atom_conv_hidden_dim=4, bond_conv_hidden_dim=4, mlp_hidden_dims=[4], num_radial=5,
        num_angular=5, composition_model=None, mlp_first=True,
    )  # fmt: skip
    salts = [
        crystals.Structure(crystals.Lattice.cubic(a), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
        for a in (3.4, 3.6, 3.5)
    ]
    graphs = [model.graph_converter(s) for s in salts]
    energies = torch.tensor([-3.4, -3.2, -3.3])

    def loss(model: Callable[..., Any], batch: tuple[list[int], Tensor]) -> Tensor:
        places, target = batch
        return F.mse_loss(model([graphs[i] for i in places], task="e")["e"], target)

    return Family(
        model,
        loss,
        [([0], energies[:1]), ([1, 2], energies[1:])],
        lambda call: loss(call, ([0, 1, 2], energies)),
    )


@family("LoRA of PEFT")
def lora() -> Family:
    import peft

    model, data = gpt2()
    config = peft.LoraConfig(r=2, target_modules=["c_attn"], init_lora_weights=False)
    wrapped = peft.get_peft_model(model, config).double()
    return Family(wrapped, None, cut(data, [2, 3]), lambda call: call(**data).loss)


# ---- networks of torch alone


def pairs(n: int = 9, width: int = 3, classes: int = 3) -> tuple[Tensor, Tensor]:
    return torch.randn(n, width).double(), torch.arange(n) % classes


def of_pairs(model: nn.Module, twin: nn.Module | None = None) -> Family:
    x, y = pairs()
    parts = list(zip(x.split([4, 5]), y.split([4, 5]), strict=True))
    return Family(
        model, F.cross_entropy, parts, lambda call: F.cross_entropy(call(x), y), twin=twin
    )


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3)).double()


@family("TorchScript")
def script() -> Family:
    net = mlp()
    with warnings.catch_warnings(action="ignore"):
        return of_pairs(torch.jit.script(net), net)


@family("torch.compile")
def compiled() -> Family:
    net = mlp()
    return of_pairs(torch.compile(net), net)  # type: ignore[arg-type]


@family("DistributedDataParallel")
def parallel() -> Family:
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # type: ignore[attr-defined]
    net = mlp()
    return of_pairs(nn.parallel.DistributedDataParallel(net), net)


@family("ResNet with BatchNorm")
def resnet() -> Family:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (nn.Conv2d(4, 4, 3, padding=1, bias=False) for _ in range(2))
            self.m, self.n = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            return F.softplus(x + self.n(self.b(F.softplus(self.m(self.a(x))))))

    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), Block(), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).double()
    x, y = torch.randn(9, 1, 6, 6).double(), torch.arange(9) % 3
    net.train()
    net(x)  # running statistics of its own
    parts = list(zip(x.split([4, 5]), y.split([4, 5]), strict=True))
    return Family(
        net, F.cross_entropy, parts, lambda call: F.cross_entropy(call(x), y), mode="eval"
    )


@family("a physics-informed network")
def pinn() -> Family:
    net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    x = torch.rand(9, 1).double()

    def loss(model: Callable[..., Any], batch: Tensor) -> Tensor:
        x = batch.clone().requires_grad_(True)
        u = model(x)
        (first,) = torch.autograd.grad(u.sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
        return (second + torch.sin(x) + u**3).square().mean()

    return Family(net, loss, list(x.split([4, 5])), lambda call: loss(call, x))


@family("a variational autoencoder")
def vae() -> Family:
    class Vae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Linear(5, 4), nn.Linear(2, 5)

        def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            mean, spread = torch.tanh(self.down(x)).chunk(2, -1)
            return self.up(mean + noise * spread.exp()), mean, spread

    x, noise = torch.randn(9, 5).double(), torch.randn(9, 2).double()

    def loss(model: Callable[..., Any], batch: dict[str, Tensor]) -> Tensor:
        out, mean, spread = model(batch["x"], batch["noise"])
        kl = 0.5 * (mean**2 + (2 * spread).exp() - 2 * spread - 1).sum(-1).mean()
        return (out - batch["x"]).square().sum(-1).mean() + kl

    whole = {"x": x, "noise": noise}
    return Family(Vae().double(), loss, cut(whole, [4, 5]), lambda call: loss(call, whole))


@family("a policy (REINFORCE)")
def policy() -> Family:
    net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    seen, done, gain = torch.randn(9, 4).double(), torch.arange(9) % 2, torch.randn(9).double()

    def loss(policy: Callable[..., Any], rollout: dict[str, Tensor]) -> Tensor:
        chosen = torch.distributions.Categorical(logits=policy(rollout["seen"]))
        return -(chosen.log_prob(rollout["done"]) * rollout["gain"]).mean()

    whole = {"seen": seen, "done": done, "gain": gain}
    return Family(net, loss, cut(whole, [4, 5]), lambda call: loss(call, whole))


@family("an LSTM of packed sequences")
def lstm() -> Family:
    from torch.nn.utils.rnn import pack_padded_sequence

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.out = nn.LSTM(3, 5, batch_first=True), nn.Linear(5, 3)

        def forward(self, packed: Any) -> Tensor:
            return self.out(self.lstm(packed)[1][0][-1])

    x, y = torch.randn(9, 6, 3).double(), torch.arange(9) % 3
    lengths = torch.tensor([6, 5, 5, 4, 4, 3, 3, 2, 1])

    def packed(part: slice) -> Any:
        return pack_padded_sequence(x[part], lengths[part], batch_first=True)

    batches = [(packed(slice(0, 4)), y[:4]), (packed(slice(4, 9)), y[4:])]
    return Family(
        Net().double(),
        F.cross_entropy,
        batches,
        lambda call: F.cross_entropy(call(packed(slice(0, 9))), y),
    )


@family("layers with weight normalisation")
def weight_norm() -> Family:
    from torch.nn.utils.parametrizations import weight_norm as normed

    net = nn.Sequential(normed(nn.Linear(3, 8)), nn.Tanh(), normed(nn.Linear(8, 3))).double()
    one = of_pairs(net)
    one.differences = 1e-5  # torch's own second derivative of its fused kernel is wrong
    return one


@family("a transformer of torch")
def encoder() -> Family:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True, activation=F.gelu)
    net = nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Flatten())
    net = nn.Sequential(net, nn.Linear(12, 3)).double()
    x, y = torch.randn(9, 3, 4).double(), torch.arange(9) % 3
    parts = list(zip(x.split([4, 5]), y.split([4, 5]), strict=True))
    return Family(net, F.cross_entropy, parts, lambda call: F.cross_entropy(call(x), y))


@family("a network with spectral normalisation")
def spectral() -> Family:
    from torch.nn.utils.parametrizations import spectral_norm

    net = nn.Sequential(spectral_norm(nn.Linear(3, 8)), nn.Tanh(), nn.Linear(8, 3)).double()
    net(torch.zeros(1, 3).double())
    family = of_pairs(net)
    family.mode = "eval"
    return family


# ---- both computations


class Truth:
    """The loss of a family as a closure of the flat trainable parameters, without landscape."""

    def __init__(self, family: Family) -> None:
        twin = copy.deepcopy(family.model) if family.twin is None else family.twin
        self.twin = twin.train(family.mode == "train")
        named = {k: p for k, p in self.twin.named_parameters() if p.requires_grad}
        self.names, self.shapes = list(named), [p.shape for p in named.values()]
        self.x = torch.cat([p.detach().flatten() for p in named.values()])
        self.family, self.dtype = family, self.x.dtype

    def value(self, x: Tensor) -> Tensor:
        parts = x.split([s.numel() for s in self.shapes])
        given = {n: p.view(s) for n, p, s in zip(self.names, parts, self.shapes, strict=True)}
        result: Tensor = self.family.plain(
            lambda *args, **kwargs: functional_call(self.twin, given, args, kwargs)
        )
        return result

    def gradient(self, x: Tensor, graph: bool = False) -> tuple[Tensor, Tensor]:
        x = x.detach().requires_grad_(True)
        (g,) = torch.autograd.grad(self.value(x), x, create_graph=graph)
        return x, g

    def largest(self) -> float:
        x, g = self.gradient(self.x, graph=not self.family.differences)

        def product(v: np.ndarray) -> np.ndarray:
            u = torch.from_numpy(np.asarray(v).reshape(-1)).to(self.dtype)
            if self.family.differences:
                h = self.family.differences / float(u.norm())
                up, down = (self.gradient(self.x + s * h * u)[1] for s in (1, -1))
                return ((up - down) / (2 * h)).detach().double().numpy()
            return torch.autograd.grad(g, x, u, retain_graph=True)[0].double().numpy()

        n = len(self.x)
        A = LinearOperator((n, n), matvec=product, dtype=np.float64)
        start = np.random.default_rng(0).standard_normal(n)
        tol = 1e-9 if self.dtype == torch.float64 else 1e-5
        return float(eigsh(A, k=1, which="LA", v0=start, tol=tol, return_eigenvectors=False)[0])


def row(name: str) -> Row:
    """Both computations of a family; what it raises is its failure."""
    began = time.perf_counter()
    torch.manual_seed(0)
    one = FAMILIES[name]()
    truth = Truth(one)
    f = ls.ModelLandscape(one.model, one.loss, one.batches, mode=one.mode, **one.options)
    x = f.point()
    H = ls.Hessian(f)
    top = float(ls.eigsh(H, largest=1, tol=1e-7 if f.dtype == torch.float64 else 1e-4).values[-1])
    with sdpa_kernel(SDPBackend.MATH):
        loss, slope, right = truth.value(truth.x), truth.gradient(truth.x)[1], truth.largest()
    gaps = (
        abs(float(f.value(x)) - float(loss.detach())) / abs(float(loss.detach())),
        float((f.gradient(x) - slope).norm() / slope.norm()),
        abs(top - right) / abs(right),
    )
    route = "differences" if H.method == "finite-difference" else "exact"
    return Row(name, f.dim, float(loss.detach()), gaps, route, time.perf_counter() - began)


def tolerance(row: Row, dtype: torch.dtype = torch.float64) -> tuple[float, float, float]:
    """What the gaps may be: the solvers' tolerance, and for differences their error."""
    if row.name == "CHGNet":  # float32
        return 1e-4, 1e-3, 1e-2
    if "torchdiffeq" in row.name:  # what its solver is asked for
        return 1e-6, 1e-5, 1e-3
    if row.name.split(",")[0] in ("GPT-2", "Llama", "Mixtral", "Mamba", "T5", "LoRA of PEFT"):
        return 1e-6, 1e-5, 1e-4  # parts of these models compute in float32, whatever their dtype
    return (1e-6, 1e-7, 1e-3) if row.route == "differences" else (1e-9, 1e-7, 1e-6)


def main(names: list[str]) -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    print(
        "| family | parameters | loss | gap of the loss | of the gradient | of the largest | products | s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in names or FAMILIES:
        try:
            found = row(name)
        except Exception as error:
            line = " ".join(str(error).split())[:160]
            print(f"| {name} | fails | {type(error).__name__}: {line} | | | | | |", flush=True)
            continue
        held = all(a <= b for a, b in zip(found.gaps, tolerance(found), strict=True))
        gaps = " | ".join(f"{gap:.0e}" for gap in found.gaps)
        print(
            f"| {name} | {found.parameters:,} | {found.loss:.4f} | {gaps} | {found.route} | "
            f"{found.seconds:.1f}{'' if held else ' WRONG'} |",
            flush=True,
        )


if __name__ == "__main__":
    print(*FAMILIES, sep="\n") if "--list" in sys.argv else main(sys.argv[1:])
