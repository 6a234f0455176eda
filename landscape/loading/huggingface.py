"""``hf:FOLDER``: a model of transformers from a local folder that ``save_pretrained`` has written,
and its data: a text file, or arrays under the names that its ``forward`` takes.

The class is the one that config.json names, as transformers has it; code that a folder brings is
not run, and nothing is downloaded. Weights are float32. The loss is the model's own, unless another
is named.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from landscape import files, specs
from landscape.errors import LoadingError
from landscape.files import folders
from landscape.files.formats import conversions, refuse_pipe
from landscape.landscapes import batches as batching
from landscape.landscapes.batches import Batch
from landscape.rng import seeded

if TYPE_CHECKING:
    from transformers import PretrainedConfig

PREFIX = "hf:"
TEXTS = (".txt", ".md")
ARRAYS = (".npz", ".safetensors", ".pt", ".pth", ".bin")
# Tokens of a row of text, where neither the model nor the user says otherwise.
LENGTH = 128
IGNORED = -100  # the label of a token that the model's own loss leaves out
Local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def build(
    spec: str, settings: Mapping[str, object], seed: int, *, weights: bool = True
) -> tuple[nn.Module, list[str]]:
    """The model of ``hf:FOLDER``, in eval mode, and in words where its weights are from.

    Args:
        spec: ``hf:`` and a folder with config.json; without a file of weights beside it, or with
            ``weights=False``, these are drawn at random by ``seed``.
        settings: entries of config.json to be replaced.

    Raises:
        LoadingError: transformers is not there, or the folder does not give one of its models.
    """
    folder = _folder(spec)
    transformers = _transformers(spec)
    with _guarded(folder, transformers), seeded(seed):
        config = transformers.AutoConfig.from_pretrained(folder, **Local, **settings)
        build = _class(transformers, config, folder)
        if not weights or not folders.has_weights(folder):
            told = [f"no weights in {folder}: drawn at random by seed {seed}"] if weights else []
            return build(config).to(torch.float32).eval(), told
        read, where = folders.read_weights(folder)
        options = Local | {"config": config, "output_loading_info": True, "dtype": torch.float32}
        model, report = build.from_pretrained(folder, **options)
        _require_all(report, folder)
        told = conversions(files.named_tensors(read), model.state_dict())
        return model.eval(), [where, *told]


def batches(model: nn.Module, spec: str, data: str, size: int | None, seed: int) -> list[Batch]:
    """The batches of a text file or of a file of arrays, each a mapping that ``model`` takes by
    keyword.

    A text is made into tokens by the folder's own tokenizer and cut into rows of ``length`` tokens
    (``book.txt:length=64``), for a causal language model. Arrays have one row a sample; where
    ``labels`` are absent, those of a causal language model are its ``input_ids``.

    Raises:
        ValueError: an unknown option, or data of a kind that this model cannot take.
        LoadingError: what cannot be read or does not fit.
    """
    path, options = _data(data)
    if path.suffix in TEXTS:
        arrays = _tokens(model, _folder(spec), path, options)
    else:
        arrays = _arrays(model, path, options)
    if "labels" not in arrays and _is_causal(model) and "input_ids" in arrays:
        arrays["labels"] = _labels(arrays)
    _require_loss(model, arrays, path)
    return batching.cut_rows(arrays, len(next(iter(arrays.values()))), size, seed)


def is_data(data: str) -> bool:
    """Whether this is a file for ``batches``."""
    name, colon, _ = data.rpartition(":")
    return (name if colon else data).endswith((*TEXTS, *ARRAYS)) or data.endswith((*TEXTS, *ARRAYS))


def _folder(spec: str) -> Path:
    folder = Path(spec.removeprefix(PREFIX))
    if not (folder / "config.json").is_file():
        raise LoadingError(
            f"{spec}: there is no {folder / 'config.json'}. Name a folder that save_pretrained() "
            f"has written; nothing is downloaded."
        )
    return folder


def _transformers(spec: str) -> ModuleType:
    try:
        import transformers
    except ImportError as error:
        raise LoadingError(
            f"{spec} needs transformers, which cannot be imported ({specs.one_line(error)}): "
            f"pip install 'torch-landscape[hf]'."
        ) from None
    return transformers


@contextmanager
def _guarded(folder: Path, transformers: ModuleType) -> Iterator[None]:
    """What transformers raises in one line, and its bars and remarks kept silent."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    try:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        yield
    except LoadingError:
        raise
    except Exception as error:  # of many kinds
        raise LoadingError(
            f"transformers cannot load {folder} ({type(error).__name__}: {specs.one_line(error)})."
        ) from None
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _class(
    transformers: ModuleType, config: PretrainedConfig, folder: Path
) -> Any:  # a class of transformers, whose own types tell little
    names = config.architectures or []
    found = getattr(transformers, names[0], None) if names else None
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise LoadingError(
            f"config.json in {folder} names no class of transformers under architectures "
            f"({', '.join(map(str, names)) or 'none'}): code of other places is not run."
        )
    return found


def _require_all(report: Mapping[str, Any], folder: Path) -> None:
    """Raise unless each weight of the model was in the folder, in its shape."""
    for what in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        names = [str(name) for name in report.get(what) or ()]
        if names:
            raise LoadingError(
                f"{folder} does not fit its config.json: {len(names)} {what.split('_')[0]}: "
                f"{files.few(names)}."
            )


def _data(data: str) -> tuple[Path, specs.Options]:
    name, colon, text = data.rpartition(":")
    if colon and name.endswith((*TEXTS, *ARRAYS)):
        return Path(name), specs.options(text, data)
    return Path(data), {}


def _is_causal(model: nn.Module) -> bool:
    return type(model).__name__.endswith(("ForCausalLM", "LMHeadModel"))


def _tokens(
    model: nn.Module, folder: Path, path: Path, options: specs.Options
) -> dict[str, Tensor]:
    if not _is_causal(model):
        raise ValueError(
            f"--data {path}: {type(model).__name__} is no causal language model, and a text alone "
            f"has no labels for it. Pass a file of arrays by the names that its forward takes."
        )
    unknown = [option for option in options if option != "length"]
    if unknown:
        raise ValueError(f"data file {path} has no option {unknown[0]!r}: length is its only one.")
    most = getattr(model.config, "max_position_embeddings", None) or LENGTH
    length = options.get("length", min(LENGTH, int(most)))
    if not isinstance(length, int) or isinstance(length, bool) or not length >= 2:
        raise ValueError(f"length of {path} must be a whole number of at least 2, got {length!r}.")
    try:
        refuse_pipe(path)
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadingError(f"{path} cannot be read: {error}.") from None
    transformers = _transformers(PREFIX + str(folder))
    with _guarded(folder, transformers):
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **Local)
        ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"], device="cpu")
    if len(ids) < 2:
        raise LoadingError(f"{path} has {len(ids)} tokens, and a row needs 2.")
    short = -len(ids) % length
    rows = torch.nn.functional.pad(ids.long(), (0, short)).view(-1, length)
    mask = torch.nn.functional.pad(torch.ones_like(ids), (0, short)).view(-1, length)
    return {"input_ids": rows, "attention_mask": mask}


def _require_loss(model: nn.Module, arrays: Mapping[str, Tensor], path: Path) -> None:
    """Raise where a model computes no loss, or lacks the labels for it."""
    name, known = type(model).__name__, inspect.signature(model.forward).parameters
    if "labels" not in known and "return_loss" not in known:
        raise LoadingError(
            f"{name} computes no loss: its forward takes no labels. Name a folder whose "
            f"config.json has a class with a head under architectures, or pass a file.py whose "
            f"problem() has a loss."
        )
    if "labels" in known and "labels" not in arrays:
        raise LoadingError(
            f"{path} has no labels, and the loss of {name} needs them: add an array labels."
        )


def _labels(arrays: Mapping[str, Tensor]) -> Tensor:
    """The tokens themselves, which causal language models shift, but for padding."""
    ids = arrays["input_ids"]
    mask = arrays.get("attention_mask")
    return ids if mask is None else ids.masked_fill(mask == 0, IGNORED)


def _arrays(model: nn.Module, path: Path, options: specs.Options) -> dict[str, Tensor]:
    if options:
        raise ValueError(
            f"data file {path} has no option {next(iter(options))!r}: its arrays are taken by the "
            f"names that forward of {type(model).__name__} has."
        )
    tree = files.read_tree(path)
    found = files.named_tensors(tree)
    known = list(inspect.signature(model.forward).parameters)
    strange = [name for name in found if name not in known]
    if strange or not found:
        raise LoadingError(
            f"{path} has {files.few(strange) or 'no arrays'}, and forward of "
            f"{type(model).__name__} takes {files.few(known, 12)}."
        )
    lengths = {len(v) if v.ndim else 0 for v in found.values()}
    if len(lengths) != 1 or 0 in lengths:
        raise LoadingError(f"the arrays of {path} must have one row a sample each.")
    return found
