"""Backbones in a GGUF file: which file a name means, and what its header says of the weights."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gguf import GGUFReader

from dti.errors import DtiError

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""The supported families under GGUF's names; Mistral's files say llama."""
PLAIN = {"F64", "F32", "F16", "BF16"}
"""Tensor types that are no quantisation."""
FULL = "float32"


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of itself.

    Attributes:
        architecture: one of ``ARCHITECTURES``.
        quantised: the quantised types of its tensors, that of most weights first; empty where there are none.
    """

    architecture: str
    quantised: tuple[str, ...]

    @property
    def weights(self) -> str:
        """In words: what the float32 weights that transformers makes of the file are worth."""
        return f"GGUF {' + '.join(self.quantised)}, dequantised to {FULL}" if self.quantised else FULL


def find_gguf(backbone: str) -> Path | None:
    """The GGUF file that ``model.backbone`` means: its path, or a folder that holds it and no safetensors.

    Returns:
        None for a folder of safetensors, for a hub id and for ``tiny``.

    Raises:
        DtiError: there is no such file, or a folder has several.
    """
    path = Path(backbone)
    if path.is_dir():
        return _only_gguf(path)
    if not backbone.endswith(".gguf"):
        return None
    if not path.is_file():
        raise DtiError(f"model.backbone: no file {backbone}; give the path of a GGUF file (a hub id cannot name one)")
    return path


def _only_gguf(folder: Path) -> Path | None:
    files = sorted(folder.glob("*.gguf"))
    if not files or any(folder.glob("*.safetensors")):
        return None
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise DtiError(f"model.backbone: {folder} has {len(files)} GGUF files ({names}); name one of them")
    return files[0]


def read_header(file: Path) -> Header:
    """The header of a GGUF file; takes seconds for a large vocabulary.

    Raises:
        DtiError: it cannot be read, is a part of a model, or is of a kind that would not be computed rightly.
    """
    try:
        reader = GGUFReader(file)
    except (OSError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise DtiError(f"model.backbone: {file}: no complete GGUF file of a known version: {error}") from error
    architecture = str(_value(reader, "general.architecture"))
    if architecture not in ARCHITECTURES:
        supported = ", ".join(ARCHITECTURES)
        raise DtiError(
            f"model.backbone: {file}: GGUF of architecture {architecture!r}, supported are {supported}; choose another"
        )
    if _value(reader, "split.count") not in (None, 0, 1):
        raise DtiError(f"model.backbone: {file} is one part of a split model; merge the parts into one file")
    if _scales_rope(reader, architecture):
        raise DtiError(
            f"model.backbone: {file}: its RoPE is scaled, which transformers does not read from GGUF; "
            "use the model's safetensors"
        )
    return Header(architecture, _quantised(reader))


def weights_of(backbone: str) -> str:
    """What a backbone's weights are, in words: ``float32``, or how its GGUF file quantised them.

    Raises:
        DtiError: as ``find_gguf`` and ``read_header``.
    """
    file = find_gguf(backbone)
    return read_header(file).weights if file else FULL


def _value(reader: GGUFReader, key: str) -> object:
    field = reader.get_field(key)
    return field.contents() if field else None


def _scales_rope(reader: GGUFReader, architecture: str) -> bool:
    kind = _value(reader, f"{architecture}.rope.scaling.type")
    return kind not in (None, "none") or any(tensor.name == "rope_freqs.weight" for tensor in reader.tensors)


def _quantised(reader: GGUFReader) -> tuple[str, ...]:
    elements: Counter[str] = Counter()
    for tensor in reader.tensors:
        elements[tensor.tensor_type.name] += int(tensor.n_elements)
    return tuple(name for name, _ in elements.most_common() if name not in PLAIN)
