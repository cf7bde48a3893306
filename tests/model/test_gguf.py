"""A GGUF file is a backbone: same logits as safetensors of the same weights, LoRA on it, its tokenizer in the store."""

import json

import gguf
import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from tokenizers import pre_tokenizers

from dti.attention.visibility import Sight
from dti.errors import DtiError
from dti.model.adapter import FORMAT, Record, load, read_record, save
from dti.model.backbone import digest, pretrained, with_lora
from dti.model.ctr import CtrModel
from dti.model.scoring import logits_of
from dti.params import Lora
from dti.prompts.gguf_file import find_gguf, read_header, weights_of
from dti.prompts.pack import pack
from dti.prompts.packing import stream_prompts
from dti.prompts.store import Store
from dti.prompts.tokenizer import load_tokenizer

HEADS = {"attn_q": 4, "attn_k": 2}
MERGES = ["Ġ Y", "ĠY e", "ĠYe s", "Ġ N", "ĠN o"]
WORDS = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(merge.replace(" ", "") for merge in MERGES)]
SPECIAL = ["<|reserved_special_token_0|>", "<|endoftext|>"]
TOKENS = [*WORDS, *SPECIAL]
ROPE = {"rope_type": "default", "rope_theta": 5000.0}
CPU = torch.device("cpu")


def permuted(weights, heads):
    """Rows of queries or keys in llama.cpp's order for Llama: pairs to rotate stand side by side."""
    halves = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weights.shape)


def add_metadata(writer, config):
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_key_length(config.head_dim)
    writer.add_rope_freq_base(ROPE["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([1] * len(WORDS) + [3] * len(SPECIAL))
    writer.add_token_merges(MERGES)
    for add in (writer.add_bos_token_id, writer.add_eos_token_id, writer.add_pad_token_id):
        add(len(TOKENS) - 1)


def write(file, model, kind=Type.F32, architecture=None, leave_out=(), **extra):
    """Write a model's weights and a byte-level tokenizer as llama.cpp would; ``extra`` are strings of metadata."""
    family = model.config.model_type
    writer = gguf.GGUFWriter(file, architecture or family)
    add_metadata(writer, model.config)
    for key, value in extra.items():
        writer.add_string(f"{family}.{key.replace('_', '.')}", value)
    arch = {name: arch for arch, name in gguf.MODEL_ARCH_NAMES.items()}[family]
    names = gguf.get_tensor_name_map(arch, model.config.num_hidden_layers)
    for name, weights in model.state_dict().items():
        stem, _, suffix = name.rpartition(".")
        place = names.get_name(stem)
        if place in leave_out or (place == "output" and model.config.tie_word_embeddings):
            continue
        array = weights.numpy()
        if family == "llama" and place.split(".")[-1] in HEADS:
            array = permuted(array, HEADS[place.split(".")[-1]])
        stored = kind if array.ndim == 2 else Type.F32
        writer.add_tensor(f"{place}.{suffix}", gguf.quants.quantize(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def rounded(model, kind):
    """The model with weights that the quantisation ``kind`` can hold."""
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim == 2:
                stored = gguf.quants.quantize(weights.numpy(), kind)
                weights.copy_(torch.from_numpy(gguf.quants.dequantize(stored, kind)))
    return model


@pytest.fixture
def llama(backbone):
    return backbone("llama", layers=1, vocabulary=len(TOKENS), rope_parameters=ROPE, tie_word_embeddings=True)


@pytest.fixture
def file(tmp_path, llama):
    return write(tmp_path / "small.gguf", llama, Type.Q8_0)


@pytest.fixture
def packed(tmp_path, interim, params_for, file):
    """A store whose tokenizer comes from the file."""
    params = params_for(n=3, k=5)
    model = params.model.model_copy(update={"backbone": str(file)})
    histories = [[(order % 3, order % 2) for order in range(12)]] * 2
    source = interim(tmp_path / "interim", histories, [{"title": t} for t in ("red lamp", "Yes", "chair")])
    pack(params.model_copy(update={"model": model}), source, tmp_path / "packed")
    return Store.open(tmp_path / "packed")


@pytest.mark.parametrize("kind", [Type.F32, Type.Q8_0, Type.Q4_1])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3"])
def test_logits_equal_those_of_safetensors(tmp_path, backbone, family, tied, kind):
    size = {"head_dim": 128} if family == "qwen3" else {}  # the only one that transformers knows in its GGUF files
    model = backbone(family, vocabulary=len(TOKENS), rope_parameters=ROPE, tie_word_embeddings=tied, **size)
    rounded(model, kind).save_pretrained(tmp_path / "folder")
    file = write(tmp_path / "small.gguf", model, kind)
    ids = torch.randint(len(TOKENS), (2, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = (pretrained(str(place), None)(ids).logits for place in (tmp_path / "folder", file))
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    quantised = f"GGUF {kind.name}, dequantised to float32"
    assert weights_of(str(file)) == ("float32" if kind == Type.F32 else quantised)


def test_pack_finds_the_tokenizer(packed, file):
    ids = packed.meta.tokens
    named = (TOKENS.index("ĠNo"), TOKENS.index("ĠYes"), TOKENS.index(SPECIAL[0]), TOKENS.index(SPECIAL[1]))
    assert (ids.no, ids.yes, ids.sum, ids.empty) == named
    saved = load_tokenizer(str(packed.folder / "tokenizer"), None)
    assert saved.get_vocab() == load_tokenizer(str(file), None).get_vocab() == {t: i for i, t in enumerate(TOKENS)}
    assert str(file.parent) not in "".join(p.read_text() for p in (packed.folder / "tokenizer").iterdir())


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_an_adapter_on_a_file_is_saved_and_scores_the_same(tmp_path, packed, file, tuning):
    tokens, sight = packed.meta.tokens, Sight("isolated", "local", "label", 3)
    backbone = pretrained(str(file.parent), None)
    if tuning == "lora":
        backbone = with_lora(backbone, Lora(r=4, alpha=8, dropout=0.0, layers=None), tokens.sum)
    torch.manual_seed(1)
    trained = [parameter for parameter in backbone.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.1 * torch.randn_like(parameter))
    model = CtrModel(backbone, tokens, sight, "blocks").eval()
    made_of = ("binary", False, 5, 1, "demo", packed.meta.digest, weights_of(str(file)))
    record = Record(FORMAT, str(file), None, tuning, {}, sight, tokens, *made_of, base_digest=digest(str(file)))
    save(tmp_path / "adapter", model, record, packed.folder / "tokenizer")
    loaded, found = load(tmp_path / "adapter", "blocks", CPU)
    assert found.backbone_weights == "GGUF Q8_0, dequantised to float32"
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float32}
    prompts = stream_prompts(packed, "train", "all")
    before, after = (logits_of(m, packed, prompts, 10_000, "test") for m in (model, loaded))
    np.testing.assert_array_equal(before, after)


def test_a_record_from_before_says_float32(tmp_path, packed):
    sight = Sight("isolated", "local", "label", 3)
    made_of = ("binary", False, 5, 1, "demo", packed.meta.digest)
    record = Record(FORMAT, "tiny", None, "full", {}, sight, packed.meta.tokens, *made_of)
    content = {name: value for name, value in vars(record).items() if name != "backbone_weights"}
    (tmp_path / "dti.json").write_text(json.dumps(content, default=vars))
    assert read_record(tmp_path) == record
    assert record.backbone_weights == "float32"


def test_safetensors_go_before_a_file_beside_them(tmp_path, llama, file):
    assert find_gguf(str(tmp_path)) == find_gguf(str(file)) == file
    llama.save_pretrained(tmp_path)
    assert find_gguf(str(tmp_path)) is None
    assert find_gguf("tiny") is None
    assert find_gguf("an/id") is None


def test_two_files_and_a_missing_one_are_named(tmp_path, file):
    (tmp_path / "b.gguf").write_bytes(b"")
    with pytest.raises(DtiError, match=r"model.backbone: .* has 2 GGUF files \(b.gguf, small.gguf\); name one"):
        pretrained(str(tmp_path), None)
    for read in (pretrained, load_tokenizer):
        with pytest.raises(DtiError, match="model.backbone: no file nowhere.gguf"):
            read("nowhere.gguf", None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"architecture": "bloom"}, "GGUF of architecture 'bloom', supported are llama, qwen2, qwen3"),
        ({"rope_scaling_type": "linear"}, "its RoPE is scaled"),
        ({"leave_out": ("blk.0.ffn_up",)}, "lacks 1 weights, model.layers.0.mlp.up_proj.weight first"),
    ],
)
def test_what_would_not_be_computed_rightly_is_refused(tmp_path, llama, settings, message):
    file = write(tmp_path / "small.gguf", llama, **settings)
    with pytest.raises(DtiError, match=f"model.backbone: .*{message}"):
        pretrained(str(file), None)


def test_sizes_that_transformers_takes_for_others_are_refused(tmp_path, backbone):
    file = write(tmp_path / "small.gguf", backbone("qwen3", layers=1, vocabulary=len(TOKENS)))
    with pytest.raises(DtiError, match="model.backbone: cannot load"):
        pretrained(str(file), None)


@pytest.mark.parametrize("length", [0, 3, 40, 3000, -40])
def test_an_incomplete_file_is_refused(file, length):
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(DtiError, match="model.backbone: .*no complete GGUF file"):
        read_header(file)


def test_one_part_of_several_is_refused(tmp_path, llama):
    writer = gguf.GGUFWriter(tmp_path / "part.gguf", "llama")
    writer.add_uint16("split.count", 3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(DtiError, match="one part of a split model"):
        read_header(tmp_path / "part.gguf")
