"""Tokenizers: the tiny one is deterministic and encodes anything; a pretrained one is checked, not changed."""

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dti.errors import DtiError
from dti.prompts.tokenizer import encode_texts, found_ids, load_tokenizer, named_ids, train_tiny

TEXTS = ["Heat by Warner, Crime", "Casino by Universal, Crime, Drama", "Toy Story by Pixar, Comedy"]
WORDS = ["<|endoftext|>", "<unk>", " Yes", " No", "Yes", "No", *(f"{x}" for x in range(10)), " 1", " 2"]


@pytest.fixture(scope="module")
def tiny():
    return train_tiny(TEXTS, 300, ["1", "2", "3"])


def pretrained(folder, words=WORDS, **special):
    """A tokenizer folder with the given words (a text is split into words and characters that it knows)."""
    pieces = {word: place for place, word in enumerate(dict.fromkeys([*words, *"abcdefghijklmnopqrstuvwxyzYN "]))}
    merges = []
    for word in words:
        if not word.startswith("<"):
            for stop in range(1, len(word)):
                pieces.setdefault(word[:stop], len(pieces))
                pieces.setdefault(word[stop], len(pieces))
                merges.append((word[:stop], word[stop]))
    tokenizer = Tokenizer(models.BPE(vocab=pieces, merges=list(dict.fromkeys(merges)), unk_token="<unk>"))
    special = {"unk_token": "<unk>", "eos_token": "<|endoftext|>", **special}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    return load_tokenizer(str(folder), None)


def test_special_tokens_come_first_in_a_fixed_order(tiny):
    ids = named_ids(tiny, ["1", "2", "3"])
    assert (ids.pad, ids.empty, ids.sum, ids.no, ids.yes) == (0, 1, 2, 3, 4)
    assert ids.ratings == {"1": 5, "2": 6, "3": 7}


def test_training_twice_gives_the_same_tokenizer(tiny):
    again = train_tiny(TEXTS, 300, ["1", "2", "3"])
    assert tiny.backend_tokenizer.to_str() == again.backend_tokenizer.to_str()


@pytest.mark.parametrize("text", ["Zoë 🎬 (日本)", "unseen words entirely", "tab\tand  spaces"])
def test_unseen_text_is_encoded_without_unknown_tokens(tiny, text):
    encoded = encode_texts(tiny, [text], 100, 1, "test")
    assert 1 not in encoded.tokens
    assert tiny.decode(encoded.tokens).split() == text.split()


def test_a_title_cannot_forge_a_special_token(tiny):
    encoded = encode_texts(tiny, ["[YES] [SUM] [1]"], 100, 1, "test")
    assert encoded.tokens.min() > 7


def test_long_and_empty_texts_are_counted(tiny):
    encoded = encode_texts(tiny, ["word " * 10_000, "", "Heat"], 16, 1, "test")
    assert (encoded.cut, encoded.empty) == (1, 1)
    assert encoded.offsets.tolist()[:3] == [0, 16, 17]
    assert encoded.tokens[16] == 1


def test_an_empty_text_may_stay_empty(tiny):
    assert encode_texts(tiny, ["", ""], 16, None, "test").offsets.tolist() == [0, 0, 0]


def test_a_vocabulary_without_room_for_bytes_is_refused():
    with pytest.raises(DtiError, match=r"model.tiny.vocabulary: 260 is too small .* set >= 261"):
        train_tiny(TEXTS, 260, [])


def test_the_tiny_tokenizer_is_the_same_after_saving(tiny, tmp_path):
    tiny.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert len(loaded) == len(tiny)
    assert (
        encode_texts(loaded, TEXTS, 99, 1, "a").tokens.tolist() == encode_texts(tiny, TEXTS, 99, 1, "b").tokens.tolist()
    )


def test_labels_of_a_pretrained_tokenizer_have_a_space_before_them(tmp_path):
    tokenizer = pretrained(tmp_path, ["<|reserved_special_token_0|>", *WORDS])
    vocabulary = tokenizer.get_vocab()
    ids = found_ids(tokenizer, ["1", "2"])
    assert (ids.no, ids.yes) == (vocabulary[" No"], vocabulary[" Yes"])
    assert ids.ratings == {"1": vocabulary[" 1"], "2": vocabulary[" 2"]}
    assert (ids.sum, ids.empty, ids.pad) == (0, vocabulary["<unk>"], vocabulary["<|endoftext|>"])


def test_all_ratings_take_the_same_form(tmp_path):
    tokenizer = pretrained(tmp_path, ["<unused0>", *WORDS])
    ids = found_ids(tokenizer, ["1", "2", "3"])
    assert ids.ratings == {word: tokenizer.get_vocab()[word] for word in ("1", "2", "3")}


@pytest.mark.parametrize(
    ("spare", "chosen"),
    [
        (
            ["<|fim_pad|>", "<|reserved_special_token_1|>", "<|reserved_special_token_0|>"],
            "<|reserved_special_token_1|>",
        ),
        (["<repo_name>"], "<repo_name>"),
        (["<|fim_pad|>"], "<|fim_pad|>"),
        (["[unused7]"], "[unused7]"),
    ],
)
def test_the_probe_is_a_token_that_nobody_uses(tmp_path, spare, chosen):
    tokenizer = pretrained(tmp_path, [*spare, *WORDS])
    assert found_ids(tokenizer, []).sum == tokenizer.get_vocab()[chosen]


def test_without_a_spare_token_the_backbone_is_refused(tmp_path):
    with pytest.raises(DtiError, match="no reserved or unused token"):
        found_ids(pretrained(tmp_path), [])


def test_labels_of_several_tokens_are_refused(tmp_path):
    words = ["<unused0>", "<|endoftext|>", "<unk>", "Yes"]
    with pytest.raises(DtiError, match="no single token for each of No, Yes"):
        found_ids(pretrained(tmp_path, words), [])
    with pytest.raises(DtiError, match=r"rating.*no single token for each of 4\.5, 5"):
        found_ids(pretrained(tmp_path, ["<unused0>", *WORDS]), ["4.5", "5"])


@pytest.mark.parametrize("backbone", ["./no/such/folder", "/no/such/folder", "a/b/c"])
def test_a_folder_that_does_not_exist_is_named(backbone):
    with pytest.raises(DtiError, match=f"model.backbone: no folder {backbone}"):
        load_tokenizer(backbone, None)


def test_a_folder_without_a_tokenizer_is_named(tmp_path):
    with pytest.raises(DtiError, match=f"model.backbone: {tmp_path}: no usable tokenizer in that folder"):
        load_tokenizer(str(tmp_path), None)
