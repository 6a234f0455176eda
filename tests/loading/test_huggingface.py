"""``hf:FOLDER`` against the same model, weights and loss put together by hand with transformers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from landscape import LoadingError, ModelLandscape
from landscape.loading.problems import LandscapeOptions, Problem, ProblemOptions, problem

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.slow

WORDS = ["a", "b", "c", "d", "e", "f"]
TEXT = " ".join(["a", "b", "a", "c", "d", "e", "f", "a", "b"] * 5)
SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 16}


def point(found: Problem) -> torch.Tensor:
    assert isinstance(found.landscape, ModelLandscape)
    return found.landscape.point()


def gpt(folder: Path) -> torch.nn.Module:
    from tokenizers import Tokenizer, models, pre_tokenizers

    inner = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_embd=8, n_layer=1, n_head=2, vocab_size=8, n_positions=16, bos_token_id=0, eos_token_id=0
    )
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=inner).save_pretrained(folder)
    return model.eval()


@pytest.mark.parametrize("length", [4, 7])
def test_a_text_is_cut_into_rows_of_tokens(length: int, tmp_path: Path) -> None:
    model = gpt(tmp_path / "gpt")
    (tmp_path / "book.txt").write_text(TEXT)
    spec = f"{tmp_path / 'book.txt'}:length={length}"
    found = problem(ProblemOptions(f"hf:{tmp_path / 'gpt'}", data=spec, batch_size=2))
    assert found.name == "gpt"
    assert "model.safetensors" in found.notes[0]
    ids = torch.tensor([WORDS.index(w) for w in TEXT.split()])
    logits = [model(row[None]).logits[0, :-1] for row in ids.split(length)]
    right = [row[1:] for row in ids.split(length)]
    truth = torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat(right))
    f = found.landscape
    assert float(f.value(point(found))) == pytest.approx(float(truth.detach()), rel=1e-5)


TASKS = {
    "images": (
        lambda: transformers.ViTForImageClassification(
            transformers.ViTConfig(**SMALL, image_size=4, patch_size=2, num_labels=3)
        ),
        lambda: {"pixel_values": torch.randn(6, 3, 4, 4), "labels": torch.arange(6) % 3},
    ),
    "sentences": (
        lambda: transformers.BertForSequenceClassification(
            transformers.BertConfig(**SMALL, vocab_size=9, max_position_embeddings=8)
        ),
        lambda: {
            "input_ids": torch.randint(1, 9, (6, 5)),
            "attention_mask": torch.ones(6, 5, dtype=torch.int64),
            "labels": torch.arange(6) % 2,
        },
    ),
    "masked tokens": (
        lambda: transformers.BertForMaskedLM(
            transformers.BertConfig(**SMALL, vocab_size=9, max_position_embeddings=8)
        ),
        lambda: {
            "input_ids": torch.randint(1, 9, (6, 5)),
            "labels": torch.randint(1, 9, (6, 5)).where(torch.rand(6, 5) < 0.6, -100),
        },
    ),
    "causal tokens": (
        lambda: transformers.LlamaForCausalLM(
            transformers.LlamaConfig(**SMALL, vocab_size=9, max_position_embeddings=8)
        ),
        lambda: {"input_ids": torch.randint(1, 9, (6, 5))},
    ),
    "from one text to another": (
        lambda: transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2, vocab_size=9,
                decoder_start_token_id=0,
            )
        ),
        lambda: {"input_ids": torch.randint(1, 9, (6, 5)), "labels": torch.randint(1, 9, (6, 3))},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "dtype"),
    zip(TASKS, ["float32", "bfloat16", "bfloat16", "float32", "float32"], strict=True),
)
def test_arrays_by_the_names_of_forward_and_the_models_own_loss(
    task: str, dtype: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    build, data = TASKS[task]
    model, arrays = build().to(getattr(torch, dtype)), data()
    model.save_pretrained(tmp_path / "m")
    save_file(arrays, tmp_path / "d.safetensors")
    asked = ProblemOptions(
        f"hf:{tmp_path / 'm'}", data=str(tmp_path / "d.safetensors"), batch_size=4, dtype="float64"
    )
    found = problem(asked)
    assert any("from bfloat16 to float32" in n for n in found.notes) == (dtype == "bfloat16")
    labels = arrays.get("labels", arrays.get("input_ids"))
    arrays = {k: v.double() if v.is_floating_point() else v for k, v in arrays.items()}
    truth = model.double().eval()(**{**arrays, "labels": labels}).loss
    f = found.landscape
    # a causal model's own loss is in single precision, whatever the model's
    single = task == "causal tokens"
    right = pytest.approx(float(truth.detach()), rel=1e-6 if single else 1e-9)
    assert float(f.value(point(found))) == right


def test_a_config_alone_is_drawn_by_seed(tmp_path: Path) -> None:
    gpt(tmp_path / "gpt")
    (tmp_path / "gpt" / "model.safetensors").unlink()
    (tmp_path / "book.txt").write_text(TEXT)
    points = [
        problem(
            LandscapeOptions(f"hf:{tmp_path / 'gpt'}", data=str(tmp_path / "book.txt"), seed=seed)
        )
        for seed in (0, 0, 1)
    ]
    first, again, other = (point(p) for p in points)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert "drawn at random by seed 0" in points[0].notes[0]


def broken(folder: Path, how: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    if how == "class":
        config["architectures"] = ["Evil"]
    if how == "code":
        config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Evil"}}
        (folder / "evil.py").write_text(f"open({str(folder / 'marker')!r}, 'w')\n")
    if how == "size":
        config["n_embd"] = 12
    if how == "layers":
        config["n_layer"] = 2
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("class", "names no class of transformers"),
        ("code", "transformers cannot load"),
        ("size", "mismatched|cannot load"),
        ("layers", "missing"),
    ],
)
def test_a_folder_that_does_not_fit_is_told_and_runs_no_code(
    how: str, words: str, tmp_path: Path
) -> None:
    gpt(tmp_path)
    broken(tmp_path, how)
    (tmp_path / "book.txt").write_text(TEXT)
    with pytest.raises(LoadingError, match=words) as error:
        problem(ProblemOptions(f"hf:{tmp_path}", data=str(tmp_path / "book.txt")))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "marker").exists()


def test_data_that_do_not_fit_are_told(tmp_path: Path) -> None:
    gpt(tmp_path)
    np.savez(tmp_path / "other.npz", pixels=np.zeros((2, 3)))
    np.savez(tmp_path / "uneven.npz", input_ids=np.ones((2, 3)), labels=np.ones((3, 3)))
    (tmp_path / "book.txt").write_text(TEXT)
    model = f"hf:{tmp_path}"
    for data, kind, words in (
        (None, ValueError, "needs --data"),
        ("other.npz", LoadingError, "has pixels, and forward"),
        ("uneven.npz", LoadingError, "one row a sample"),
        ("book.txt:size=3", ValueError, "no option 'size'"),
        ("book.txt:length=1", ValueError, "at least 2"),
        ("gone.txt", LoadingError, "cannot be read"),
    ):
        with pytest.raises(kind, match=words):
            problem(ProblemOptions(model, data=data and str(tmp_path / data)))
    with pytest.raises(LoadingError, match="nothing is downloaded"):
        problem(ProblemOptions("hf:gpt2", data="book.txt"))


def test_a_model_that_computes_no_loss_is_told(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    config = BertConfig(
        vocab_size=11,
        hidden_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=4,
    )
    np.savez(tmp_path / "ids.npz", input_ids=np.ones((4, 3), dtype=np.int64))
    for kind, words in (
        (BertModel, "BertModel computes no loss"),
        (BertForSequenceClassification, "add an array labels"),
    ):
        kind(config).save_pretrained(tmp_path / kind.__name__)
        with pytest.raises(LoadingError, match=words):
            problem(
                ProblemOptions(f"hf:{tmp_path / kind.__name__}", data=str(tmp_path / "ids.npz"))
            )
