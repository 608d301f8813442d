"""Published checkpoints into our state dicts, by name table.

Everything wrong with a checkpoint (names that are unknown or missing, shapes that do not fit) is ONE error that
lists all of it. Files are read with `weights_only=True`: nothing in them is ever executed.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from limner.errors import UserError, listing
from limner.weights import names
from limner.weights.manifest import read_json
from limner.weights.names import Entry
from limner.weights.recognise import refuse_other

INDEX = ".index.json"  # of transformers, beside the files that hold a model in parts
HDF5 = b"\x89HDF\r\n\x1a\n"


def read_checkpoint(path: str | Path, *, inside: str | None = None) -> dict[str, Tensor]:
    """The state dict in a torch file (`.pth`, `.bin`) of any version, or in a `.safetensors` file, on the CPU.

    An index of transformers (`model.safetensors.index.json`) stands for the files that it names, which lie beside it.

    Args:
        path: the file.
        inside: a key that the state dict may stand under, in a file that holds more.

    Raises:
        UserError: if the file is missing, is not a torch file, needs code to be read, or holds no state dict.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: no such file: give the path of a checkpoint (.pth)")
    if str(path).endswith(INDEX):
        return _read_shards(Path(path))
    if Path(path).suffix == ".safetensors":
        return _read_safetensors(Path(path))
    with open(path, "rb") as file:
        if file.read(len(HDF5)) == HDF5:
            raise UserError(f"{path}: is an HDF5 file, expected a torch file; Caffe's: limner import caffe-captioner")
    try:
        mapped = zipfile.is_zipfile(path)  # then an optimiser's moments beside the model are never read from the disk
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it needs code, {code[1]}, which is never run" if code else "it is not a torch file"
        raise UserError(f"{path}: cannot be read: {reason}; give a file made by saving model.state_dict()") from error
    except Exception as error:  # a damaged file fails in every way there is
        raise UserError(f"{path}: cannot be read, it is damaged or not a torch file: copy or save it again") from error
    if isinstance(state, Mapping) and "pytorch-lightning_version" in state and inside != "state_dict":
        raise UserError(f"{path}: is a checkpoint of a run; of limner's runs take the package: RUN/package")
    if isinstance(state, Mapping) and inside in state:
        state = state[inside]
    if not isinstance(state, Mapping) or not state:
        found = f"{type(state).__name__} of {len(state)}" if hasattr(state, "__len__") else type(state).__name__
        raise UserError(f"{path}: found a {found}, expected a state dict: save model.state_dict()")
    strange = [str(key) for key, value in state.items() if not isinstance(key, str) or not torch.is_tensor(value)]
    if strange:
        raise UserError(f"{path}: expected tensors only, found others under: {listing(strange)}")
    return dict(state)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); copy it again") from None


def _read_shards(path: Path) -> dict[str, Tensor]:
    """All files that an index names, each once; every tensor must be where the index says."""
    index = read_json(path)
    where = index.get("weight_map") if isinstance(index, Mapping) else None
    if not isinstance(where, Mapping) or not where or not all(isinstance(file, str) for file in where.values()):
        raise UserError(f'{path}: has no "weight_map" of names and files; copy it again')
    if outside := [file for file in where.values() if Path(file).name != file or file.endswith(INDEX)]:
        raise UserError(f"{path}: names files that are not beside it: {listing(dict.fromkeys(outside))}")
    files = list(dict.fromkeys(where.values()))
    if lost := [file for file in files if not (path.parent / file).is_file()]:
        raise UserError(f"{path}: files that it names are missing: {listing(lost)}; copy them to {path.parent}")
    state: dict[str, Tensor] = {}
    for file in files:
        state |= read_checkpoint(path.parent / file)
    if missing := [name for name in where if name not in state]:
        raise UserError(f"{path}: names tensors that its files do not have: {listing(missing)}; copy them again")
    return state


def strip_prefix(state: Mapping[str, Tensor], prefix: str = "module.") -> dict[str, Tensor]:
    """`state` without `prefix` (nn.DataParallel adds `module.`), when every name has it."""
    if state and all(name.startswith(prefix) for name in state):
        return {name[len(prefix) :]: value for name, value in state.items()}
    return dict(state)


def convert(
    state: Mapping[str, Tensor], table: Mapping[str, Entry], sizes: Mapping[str, int], kind: str
) -> dict[str, Tensor]:
    """`state` under our names, each tensor checked against `table` and `sizes`.

    Tensors of shape (1,) are taken where () is expected: torch 0.3 had no 0-dim tensors.

    Args:
        kind: what the checkpoint is, for the error line.

    Raises:
        UserError: one line with every unknown name, every missing name and every wrong shape.
    """
    expected = {
        f"{theirs}.{leaf}": (f"{entry.ours}.{leaf}", shape)
        for theirs, entry in table.items()
        for leaf, shape in entry.leaves.items()
    }
    missing = [name for name in expected if name not in state]
    unknown = [name for name in state if name not in expected]
    converted, shapes = {}, []
    for name, (ours, symbols) in expected.items():
        if name not in state:
            continue
        tensor, shape = state[name], _shape(symbols, sizes)
        if shape == () and tuple(tensor.shape) == (1,):
            tensor = tensor.reshape(())
        if shape is not None and tuple(tensor.shape) != shape:
            shapes.append(f"{name} is {list(tensor.shape)}, expected {list(shape)}")
        converted[ours] = tensor.detach().clone()
    problems = [
        f"{what}: {', '.join(found)}"
        for what, found in (("missing", missing), ("unknown", unknown), ("wrong shape", shapes))
        if found
    ]
    if problems:
        raise UserError(f"not a {kind} checkpoint: {'; '.join(problems)}")
    return converted


def _shape(symbols: tuple[str, ...], sizes: Mapping[str, int]) -> tuple[int, ...] | None:
    """The shape that `symbols` mean, or None if it rests on a size that could not be read."""

    def value(symbol: str) -> int:
        if "+" in symbol:
            return sum(value(part) for part in symbol.split("+"))
        if "*" in symbol:
            factor, rest = symbol.split("*")
            return int(factor) * value(rest)
        return int(symbol) if symbol.isdigit() else sizes[symbol]

    try:
        return tuple(value(symbol) for symbol in symbols)
    except KeyError:
        return None


def read_sizes(state: Mapping[str, Tensor], where: Mapping[str, tuple[str, int]]) -> dict[str, int]:
    """Sizes from shapes: `where` says which axis of which tensor tells each. What cannot be read is left out."""
    return {
        size: state[name].shape[axis]
        for size, (name, axis) in where.items()
        if name in state and state[name].dim() > axis
    }


def convert_hu_vqa(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A checkpoint of bottom-up-attention-vqa (`baseline0_newatt` or `baseline0`) as a state dict of `UpDownVQA`.

    Build the model with `UpDownVQA(**hu_vqa_sizes(state))`. The prefix `module.` may be there or not.
    """
    refuse_other(state, "hu-vqa")
    state, table = _hu_vqa(state)
    sizes = read_sizes(state, names.HU_VQA_SIZES)
    return convert(state, table, sizes, "bottom-up-attention-vqa")


def hu_vqa_sizes(state: Mapping[str, Tensor]) -> dict[str, int | str | float]:
    """The arguments of `UpDownVQA` for a checkpoint of bottom-up-attention-vqa, from its shapes.

    Raises:
        UserError: as `convert_hu_vqa`.
    """
    convert_hu_vqa(state)
    state, table = _hu_vqa(state)
    sizes = read_sizes(state, names.HU_VQA_SIZES)
    product = table is names.HU_VQA_PRODUCT
    return {
        "words": sizes.pop("rows") - 1,  # the last row is the pad
        **sizes,
        "attention": "product" if product else "concat",
        "dropout_attention": 0.2 if product else 0.0,
    }


def _hu_vqa(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Entry]]:
    state = strip_prefix(state)
    concat = any(name.startswith("v_att.nonlinear.") for name in state)
    return state, names.HU_VQA_CONCAT if concat else names.HU_VQA_PRODUCT
