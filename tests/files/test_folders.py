"""Folders of weights: chunks of ``torch.distributed.checkpoint``, adapters of PEFT. Truth: what was saved."""

import pickle
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.distributed.checkpoint.state_dict_saver import save

from landscape import LoadingError
from landscape.files import folders
from landscape.files.checkpoints import load_checkpoint


def net(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def saved(folder: Path, state: dict[str, object]) -> Path:
    with warnings.catch_warnings(action="ignore"):
        save(state, checkpoint_id=folder)
    return folder


FORMS = {
    "the state alone": lambda m: m.state_dict(),
    "under model": lambda m: {"model": m.state_dict(), "epoch": 3},
    "beside an optimiser": lambda m: {
        "model": m.state_dict(),
        "optim": torch.optim.Adam(m.parameters()).state_dict(),
    },
    "with prefixes": lambda m: {"app": 1, **{f"module.{k}": v for k, v in m.state_dict().items()}},
    "in bfloat16": lambda m: {"model": {k: v.bfloat16() for k, v in m.state_dict().items()}},
}


@pytest.mark.parametrize("form", FORMS)
def test_chunks_are_put_together(form: str, tmp_path: Path) -> None:
    source, model = net(1), net(2)
    folder = saved(tmp_path / "dcp", FORMS[form](source))
    notes = load_checkpoint(model, folder)
    if form == "in bfloat16":
        assert any("from bfloat16 to float32" in note for note in notes)
        source = source.bfloat16().float()
    assert same(model, source)
    assert ".metadata" in notes[0]
    assert folders.inspect(folder).safe


def forged(folder: Path, change: object) -> None:
    """The metadata of a folder, changed by whoever has written it."""
    path = folder / ".metadata"
    metadata = pickle.loads(path.read_bytes())
    change(metadata)  # type: ignore[operator]
    path.write_bytes(pickle.dumps(metadata))


def stores(metadata: object, **fields: object) -> None:
    for info in metadata.storage_data.values():  # type: ignore[attr-defined]
        for name, value in fields.items():
            setattr(info, name, value)


def grown(metadata: object) -> None:
    for entry in metadata.state_dict_metadata.values():  # type: ignore[attr-defined]
        entry.size = torch.Size([1 << 40])


class Run:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return eval, (f"open({str(self.marker)!r}, 'w')",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: stores(m, relative_path="../other.distcp"), "outside its folder"),
        (lambda m: stores(m, relative_path="/etc/passwd"), "outside its folder"),
        (lambda m: stores(m, length=1 << 40), "more bytes than its files have"),
        (lambda m: stores(m, offset=7), "damaged"),
        (lambda m: stores(m, transform_descriptors=["zstd"]), "compressed"),
        (grown, "larger than its chunks"),
        (lambda m: m.storage_data.clear(), "damaged"),
    ],
)
def test_a_forged_list_of_chunks_is_told(change: object, words: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "dcp", net(1).state_dict())
    forged(folder, change)
    model = net(2)
    with pytest.raises(LoadingError, match=words):
        load_checkpoint(model, folder)
    assert same(model, net(2))


def test_the_list_of_chunks_runs_nothing(tmp_path: Path) -> None:
    folder = saved(tmp_path / "dcp", net(1).state_dict())
    metadata = pickle.loads((folder / ".metadata").read_bytes())
    metadata.planner_data["x"] = Run(tmp_path / "marker")
    (folder / ".metadata").write_bytes(pickle.dumps(metadata))
    with pytest.raises(LoadingError, match="eval"):
        load_checkpoint(net(2), folder)
    assert not folders.inspect(folder).safe
    assert "builtins.eval" in folders.inspect(folder).asks_for
    assert not (tmp_path / "marker").exists()


def test_a_folder_without_weights_is_listed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "epoch").mkdir()
    torch.save({"w": torch.ones(2)}, tmp_path / "w.pt")
    report = folders.inspect(tmp_path)
    assert not report.safe
    assert set(report.others) == {"config.json", "epoch", "w.pt"}
    assert "torch zip" in report.others["w.pt"]


def adapted(seed: int, **options: object) -> nn.Module:
    peft = pytest.importorskip("peft")
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    config = peft.LoraConfig(r=2, target_modules=["0"], init_lora_weights=False, **options)
    wrapped = peft.get_peft_model(model, config)
    with torch.no_grad():
        for name, p in wrapped.named_parameters():
            if p.requires_grad and "base_layer" not in name:
                p.add_(torch.randn_like(p))
    return wrapped


WAYS: list[dict[str, object]] = [
    {},
    {"modules_to_save": ["2"]},
    {"use_dora": True},
    {"lora_bias": True},
    {"use_rslora": True},
]


@pytest.mark.slow
@pytest.mark.parametrize("options", WAYS, ids=lambda o: next(iter(o), "lora"))
def test_an_adapter_goes_into_its_model_and_leaves_the_rest(
    options: dict[str, object], tmp_path: Path
) -> None:
    source, model = adapted(1, **options), adapted(2, **options)
    source.save_pretrained(tmp_path)  # type: ignore[operator]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    notes = load_checkpoint(model, tmp_path)
    assert "adapter" in notes[1]
    moved = 0
    for name, value in model.state_dict().items():
        own = "lora_" in name or "modules_to_save" in name
        assert torch.equal(value, source.state_dict()[name] if own else before[name]), name
        moved += own and not torch.equal(value, before[name])
    assert moved >= 2


@pytest.mark.slow
def test_an_adapter_that_does_not_fit_is_told(tmp_path: Path) -> None:
    source, model = adapted(1), adapted(2)
    source.save_pretrained(tmp_path)  # type: ignore[operator]
    with pytest.raises(LoadingError, match="as PEFT has wrapped it"):
        load_checkpoint(net(1), tmp_path)
    good = load_file(tmp_path / "adapter_model.safetensors")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    name = next(iter(good))
    for bad, words in (
        ({k: v for k, v in good.items() if k != name}, "1 missing"),
        (good | {"other": torch.ones(1)}, "1 unexpected: other"),
        (good | {name: torch.ones(7, 7)}, "size mismatch"),
    ):
        save_file(bad, tmp_path / "adapter_model.safetensors")
        with pytest.raises(LoadingError, match=words):
            load_checkpoint(model, tmp_path)
        assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting", [{"lora_alpha": 32}, {"use_rslora": True}, {"modules_to_save": ["2"]}]
)
def test_an_adapter_of_other_settings_is_another_function(
    setting: dict[str, object], tmp_path: Path
) -> None:
    source, model = adapted(1, **setting), adapted(2)
    source.save_pretrained(tmp_path)  # type: ignore[operator]
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(LoadingError, match=f"was saved with {next(iter(setting))}="):
        load_checkpoint(model, tmp_path)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_the_folders_within_that_have_weights_are_named(tmp_path: Path) -> None:
    saved(tmp_path / "checkpoint-300", {"a": torch.ones(2)})
    with pytest.raises(LoadingError, match="weights in its folders checkpoint-300"):
        load_checkpoint(net(1), tmp_path)
