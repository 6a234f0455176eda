"""Weights from a checkpoint into a model, strictly: every name there once, every shape the same.

A state is a flat dict from names to tensors. What had to be done to make it fit is told in notes;
where it does not fit, the model stays as it was.
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from landscape import files, specs
from landscape.errors import LoadingError
from landscape.files import adapters, folders
from landscape.files.formats import conversions
from landscape.files.outlines import outline
from landscape.landscapes import distributed
from landscape.landscapes.model import ModelLandscape
from landscape.landscapes.sharded import Sharded

# where training loops put the weights, the usual first
STATE_KEYS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "module",
    "weights",
    "params",
    "policy",
)
OPTIMIZER_KEYS = (
    "optimizer",
    "optimizer_state_dict",
    "optimizer_state",
    "optimizer_states",
    "optimizers",
    "optim",
    "opt",
    "policy.optimizer",
)
# what to do about names or shapes that are not the model's
OTHER = (
    " It is of another model, or of this one built with other arguments: pass those by --set "
    "NAME=VALUE, or the model that was saved."
)


@dataclass(frozen=True)
class State:
    """Weights by name, on the CPU, and in words how they were found."""

    tensors: dict[str, Tensor]
    notes: tuple[str, ...]


def read_state(
    path: str | os.PathLike[str], key: str | None = None, strip: str | None = None
) -> State:
    """The weights in a checkpoint.

    Args:
        path: .safetensors, .pt, .pth, .bin, .ckpt, .npz or a .zip of stable-baselines3, the first
            bytes decide, not the suffix; or a folder as Hugging Face's ``save_pretrained`` writes
            it, its weights in one file or in shards, or as ``torch.distributed.checkpoint`` does.
        key: the entry that holds the weights, dotted where nested; None looks for the usual ones.
        strip: what the names of the wanted weights begin with there; it is cut off, and weights of
            other names are left out.

    Raises:
        LoadingError: no such file, a pickle that asks for more than tensors, or no weights where
            they should be.
    """
    path = Path(path)
    if path.is_dir():
        tree, where = folders.read_weights(path)
        return _state(tree, [where], path, key, strip)
    content = files.read(path)
    return _state(content.tree, content.notes, path, key, strip)


def _state(tree: object, notes: list[str], path: Path, key: str | None, strip: str | None) -> State:
    """The weights in a tree that was read from ``path``."""
    if key is None:
        whole, (tree, entries) = tree, _weights(tree)
        notes += _entered(whole, entries, path)
    else:
        tree = entry(tree, key, path)
    found = tree if isinstance(tree, dict) else {}
    tensors = files.named_tensors(found)
    if not tensors:
        where = f"the entry {key!r} of {path}" if key else str(path)
        raise LoadingError(f"{where} holds {_instead(tree)}.")
    others = [str(k) for k in found if str(k) not in tensors]
    if others:
        notes.append(f"{len(others)} entries that are no tensors left out: {files.few(others)}")
    if strip:
        tensors, told = _stripped(tensors, strip, path)
        notes.append(told)
    return State(tensors, tuple(notes))


def _entered(tree: object, entries: list[str], path: Path) -> list[str]:
    """In words, by which entries the weights of a tree were found, and which others it has."""
    if not entries:
        return []
    notes = [f"weights read from the entry {name!r} of {path.name}" for name in entries]
    others = [name for name in _holders(tree) if name != entries[0]]
    if others:
        notes.append(
            f"{path.name} holds tensors under {files.few(others)} too, an average of the weights "
            f"or another net: --checkpoint-key {others[0]} reads those"
        )
    return notes


def _stripped(tensors: dict[str, Tensor], prefix: str, path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors whose names begin with a prefix, without it."""
    found = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    if not found:
        raise LoadingError(
            f"no name in {path} begins with {prefix!r} (--strip). It holds "
            f"{files.few(list(tensors))}."
        )
    told = f"prefix {prefix!r} stripped from {len(found)} names"
    left = len(tensors) - len(found)
    return found, told + (f", {left} others left out" if left else "")


def _weights(tree: object) -> tuple[object, list[str]]:
    """What a tree holds under the usual names of weights, or under the only name of any, and these
    names from the outside in.
    """
    entries: list[str] = []
    # {"model": {"state_dict": ...}} is as deep as it gets
    while isinstance(tree, dict) and len(entries) < 3:
        inner = next((k for k in STATE_KEYS if _has_tensors(tree.get(k), 3)), None)
        if inner is None and not files.named_tensors(tree):
            holders = _holders(tree)
            inner = holders[0] if len(holders) == 1 else None
        if inner is None:
            break
        tree = tree[inner]
        entries.append(inner)
    return tree, entries


def _holders(tree: object) -> list[str]:
    """The entries of a tree that hold tensors by name, but for those of optimisers."""
    if not isinstance(tree, dict):
        return []
    return [
        name
        for name, value in tree.items()
        if isinstance(name, str) and not _of_optimizer(name, value) and _has_tensors(value, 3)
    ]


def _of_optimizer(name: str, value: object) -> bool:
    stated = isinstance(value, dict) and "param_groups" in value
    return stated or name in (*OPTIMIZER_KEYS, "state", "callbacks", "loops")


def _instead(tree: object) -> str:
    """What a tree without named tensors holds, and what to do, in words."""
    holders = _holders(tree)
    if holders:
        return f"weights under {files.few(holders)}: name one by --checkpoint-key {holders[0]}, say"
    if isinstance(tree, dict):
        return f"no weights, but {files.describe(tree)}. Name their entry by --checkpoint-key"
    return (
        f"no weights by name, but {files.describe(tree)}: save torch.save(model.state_dict(), "
        f"'weights.pt')"
    )


def read_optimizer(path: str | os.PathLike[str]) -> tuple[dict[str, object], str] | None:
    """The state of an optimiser in a checkpoint, as ``optimizer.state_dict()`` gave it, and in
    words where it was; None: there is none.

    It is the file itself, or in one of the usual entries; a list of them, as Lightning has, must be
    of one. In a folder it is ``optimizer.pt``, where transformers' Trainer saves it.

    Raises:
        LoadingError: no such file, or a pickle that asks for more than tensors.
    """
    path = Path(path)
    if path.is_dir():
        path = path / folders.OPTIMIZER
        if not path.is_file():
            return None
    tree = files.read_tree(path)
    if not isinstance(tree, dict):
        return None
    for key in (None, *OPTIMIZER_KEYS):
        found = tree if key is None else tree.get(key)
        found = found[0] if isinstance(found, list | tuple) and len(found) == 1 else found
        if isinstance(found, dict) and "state" in found and "param_groups" in found:
            return found, f"{path.name}" if key is None else f"the entry {key!r} of {path.name}"
    return None


def load_checkpoint(
    model: nn.Module,
    path: str | os.PathLike[str],
    key: str | None = None,
    strip: str | None = None,
) -> list[str]:
    """Put the weights of a file or folder, see ``read_state``, into a model, strictly: every name
    there once, every shape the same. Of names that share one tensor in the model one is enough.

    Returns:
        What had to be done, in words: the entry they were in, prefixes stripped, dtypes converted.

    Raises:
        LoadingError: the file does not load or does not fit; the model is then as it was.
    """
    state = read_state(path, key, strip)
    if Path(path).is_dir() and folders.adapter(Path(path)):
        return [*state.notes, *adapters.put(model, state.tensors, Path(path))]
    notes = list(state.notes)
    live = model.state_dict()
    variants = [(cut, _with_tied(tensors, live)) for cut, tensors in _variants(state.tensors)]
    saved = {
        k: v.detach().clone() for k, v in live.items() if isinstance(v, Tensor) and not is_lazy(v)
    }
    for prefix, tensors in variants:
        _require_real(tensors, saved, path)
        try:
            model.load_state_dict(tensors, strict=True)
        except Exception as error:  # its own hooks may raise anything
            failure = error
            _restore(live, saved)
            continue
        except BaseException:
            _restore(live, saved)
            raise
        if prefix:
            notes.append(f"prefix {prefix!r} stripped from {len(tensors)} names")
        tied = [k for k in tensors if not any(k == s.removeprefix(prefix) for s in state.tensors)]
        if tied:
            notes.append(f"tied to others in the model, and so saved once: {files.few(tied)}")
        return notes + conversions(tensors, saved)
    _, misfit = min((_misfit(t, saved) for _, t in variants), key=lambda found: found[0])
    remedy = _by_prefix(state.tensors, saved) or OTHER
    why = f"{misfit}.{remedy}" if misfit else f"{specs.one_line(failure)}."
    raise LoadingError(f"{path} does not fit the model: {why}")


def load_parts(
    f: ModelLandscape,
    path: str | os.PathLike[str],
    key: str | None = None,
    strip: str | None = None,
) -> list[str]:
    """As ``load_checkpoint``, into the model of a landscape of ``over_ranks(f, shard=True)``, on
    every rank: each reads its part of the tensors, and no rank holds more than one of them whole.

    The model may have been built on the meta device, ``with torch.device("meta")`` say, where its
    tensors take no memory. Of .safetensors files and folders of ``torch.distributed.checkpoint``
    the rows of a rank's part are read and no others.

    Raises:
        ValueError: f is not sharded.
        LoadingError: the file does not load or does not fit, or a tensor on the meta device, a
            buffer that is not saved say, is not in it.
    """
    if not isinstance(f, Sharded):
        raise ValueError(
            f"load_parts is for landscapes of over_ranks(f, shard=True) on more than one process: "
            f"use load_checkpoint for the model of {f.name}."
        )
    path, live = Path(path), f.model.state_dict(keep_vars=True)
    with f.ranks.together():
        found = outline(path)
        state = _state(found.tree, found.notes, path, key, strip)
        cut, tensors = _fitting(state.tensors, live, path)
        for name in set(f.absent) & set(tensors):
            f.fill(name, partial(found.entries, tensors[name]))
        if f.absent:
            raise LoadingError(
                f"{path} has no values for {files.few(list(f.absent))}, which the model computes "
                f"when it is built: build it with parameters alone on the meta device."
            )
    for name, t in live.items():
        if not t.is_meta:  # as it was before
            distributed.write(t, found.entries(tensors[name], 0, t.numel()).view(t.shape))
    notes = [f"prefix {cut!r} stripped from {len(tensors)} names"] if cut else []
    return [*state.notes, *notes, *conversions(tensors, live)]


def _by_prefix(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> str:
    """By which prefixes some of the tensors would fit, and what to type, in words; "" where by
    none.
    """
    first = next(iter(wanted), "")
    found = [k.removesuffix(first) for k in tensors if first and k.endswith("." + first)]
    fitting = [
        p
        for p in found
        if all(p + k in tensors and tensors[p + k].shape == v.shape for k, v in wanted.items())
    ]
    if not fitting:
        return ""
    return f" Its tensors under {files.few(fitting)} do: --strip {fitting[0]}"


def _fitting(
    tensors: dict[str, Tensor], live: dict[str, Tensor], path: Path
) -> tuple[str, dict[str, Tensor]]:
    """The prefix to cut off a state, and the state without it, which has every name of the model's
    own, ``live``.
    """
    variants = [(cut, _with_tied(found, live)) for cut, found in _variants(tensors)]
    cut, chosen = min(variants, key=lambda variant: _misfit(variant[1], live)[0])
    _require_real(chosen, live, path)
    count, misfit = _misfit(chosen, live)
    if count:
        raise LoadingError(f"{path} does not fit the model: {misfit}.{OTHER}")
    return cut, chosen


def _require_real(
    tensors: dict[str, Tensor], saved: dict[str, Tensor], path: str | os.PathLike[str]
) -> None:
    """Raise where a weight is complex that is real in the model: its imaginary part would go."""
    complex_ = [k for k, v in tensors.items() if k in saved and v.is_complex()]
    cut = [k for k in complex_ if not saved[k].is_complex()]
    if cut:
        raise LoadingError(
            f"{path} does not fit the model: {files.few(cut)} complex there, and real in the model."
        )


def _restore(live: dict[str, Tensor], saved: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, value in saved.items():
            live[name].copy_(value)


def _variants(tensors: dict[str, Tensor]) -> list[tuple[str, dict[str, Tensor]]]:
    """The state as it is, and with each run of prefixes that all its names share cut off."""
    variants, cut = [("", tensors)], ""
    while True:
        shared = {k.partition(".")[0] + "." for k in tensors} if tensors else set()
        prefix = next(iter(shared)) if len(shared) == 1 else ""
        if not prefix or not all(k.startswith(prefix) and k != prefix for k in tensors):
            return variants
        cut += prefix
        tensors = {k.removeprefix(prefix): v for k, v in tensors.items()}
        variants.append((cut, tensors))


def _with_tied(tensors: dict[str, Tensor], live: dict[str, Tensor]) -> dict[str, Tensor]:
    """With the names that were dropped on saving because the model has the same tensor under
    another one.
    """
    places = {_place(live[k]): v for k, v in tensors.items() if isinstance(live.get(k), Tensor)}
    tied = {
        k: places[_place(v)]
        for k, v in live.items()
        if k not in tensors and isinstance(v, Tensor) and _place(v) in places
    }
    return tensors | tied


def _place(tensor: Tensor) -> tuple[object, ...]:
    """Where a tensor's numbers lie; lazy and empty ones lie in a place of their own."""
    if is_lazy(tensor) or tensor.is_meta or not tensor.numel():
        return (id(tensor),)
    return tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride()


def _misfit(tensors: dict[str, Tensor], wanted: dict[str, Tensor]) -> tuple[int, str]:
    """How many names do not fit, and which."""
    missing = [k for k in wanted if k not in tensors]
    extra = [k for k in tensors if k not in wanted]
    shapes = [
        f"{k} is {tuple(v.shape)} and should be {tuple(wanted[k].shape)}"
        for k, v in tensors.items()
        if k in wanted and v.shape != wanted[k].shape
    ]
    parts = [
        f"{len(names)} {what}: {files.few(names)}"
        for what, names in (
            ("missing", missing),
            ("unexpected", extra),
            ("of another shape", shapes),
        )
        if names
    ]
    return len(missing) + len(extra) + len(shapes), "; ".join(parts)


def entry(tree: object, key: str, path: Path) -> object:
    """The entry of a tree, read from ``path``, under a dotted key, whose parts may have dots of
    their own.

    Raises:
        LoadingError: there is none.
    """
    parts = key.split(".")
    for cut in range(len(parts), 0, -1):
        head, rest = ".".join(parts[:cut]), ".".join(parts[cut:])
        if isinstance(tree, dict) and head in tree:
            return entry(tree[head], rest, path) if rest else tree[head]
    known = [str(k) for k in tree] if isinstance(tree, dict) else []
    raise LoadingError(
        f"{path} has no entry {key!r}.{specs.closest(key, known)} It holds {files.describe(tree)}."
    )


def _has_tensors(tree: object, depth: int) -> bool:
    if not isinstance(tree, dict) or depth == 0:
        return False
    return any(isinstance(v, Tensor) or _has_tensors(v, depth - 1) for v in tree.values())
