"""WordPiece: texts as the word parts that BERT reads, through the library `tokenizers`.

    words = WordPiece.load("bert/vocab.txt")       a file with one part a line, such as bert-base-uncased's
    words = WordPiece.load("bert-base-uncased")    a name on the Hugging Face hub
    words = WordPiece.train(texts, size=2000)      learned from texts

Ids are those of BERT's uncased tokeniser without special signs. "[SEP]" in a text is text: it never becomes the sign.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import xxhash
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from limner.data.cache import cached
from limner.data.text_pool import TextPool
from limner.errors import UserError, listing

SIGNS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CHUNK = 10_000  # texts the library is given at once: its results take kilobytes a text
_PLAIN = re.compile(r"[ -~]*")  # printable ASCII, where BERT's rules for words are the next line
_WORD = re.compile(r"[0-9A-Za-z]+|[^0-9A-Za-z ]")
_CACHE = "wordpiece-1"
_GET_IT = "download its vocab.txt where there is a network and give the file's path"


class WordPiece:
    """Word parts and their ids; a part's id is its place.

    Args:
        words: the parts. A part that goes on with a word begins with "##".
        lowercase: lower case without accents, as the uncased BERT.
        source: what errors call it.

    Attributes:
        words: tuple of V parts.
        ids: part -> id.
        pad, unk, cls, sep, mask: ids of the five signs.

    Raises:
        UserError: a sign is missing, a part stands twice or is no text.
    """

    def __init__(self, words: Iterable[str], *, lowercase: bool = True, source: object = "wordpiece") -> None:
        self.words, self.lowercase = tuple(words), lowercase
        wrong = [word for word in self.words if not isinstance(word, str)]
        if wrong:
            raise UserError(f"{source}: found {listing(map(repr, wrong))}, expected texts")
        self.ids = {word: place for place, word in enumerate(self.words)}
        if len(self.ids) < len(self.words):
            twice = [repr(word) for word, count in Counter(self.words).items() if count > 1]
            raise UserError(f"{source}: parts stand twice: {listing(twice)}; each needs one place")
        missing = [sign for sign in SIGNS if sign not in self.ids]
        if missing:
            raise UserError(f"{source}: has no {listing(missing)}, expected BERT's five signs {', '.join(SIGNS)}")
        self.pad, self.unk, self.cls, self.sep, self.mask = (self.ids[sign] for sign in SIGNS)
        self._tokenizer = _untrained(lowercase)
        self._tokenizer.model = models.WordPiece(self.ids, unk_token="[UNK]", max_input_chars_per_word=100)

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WordPiece) and (self.words, self.lowercase) == (other.words, other.lowercase)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"WordPiece({len(self):,} parts, {'uncased' if self.lowercase else 'cased'})"

    # --- where it comes from ---

    @classmethod
    def load(cls, source: str | Path, *, lowercase: bool = True) -> WordPiece:
        """From a vocab.txt or a folder with one, or from the hub when `source` is neither but may be a name there.

        Raises:
            UserError: there is no such file, it cannot be read, or the hub does not give it.
        """
        path = Path(source)
        path = path / "vocab.txt" if path.is_dir() else path
        if path.exists() or not _is_name(str(source)):
            return cls.from_file(path, lowercase=lowercase)
        return cls.from_file(download(str(source)), lowercase=lowercase)

    @classmethod
    def from_file(cls, path: str | Path, *, lowercase: bool = True) -> WordPiece:
        """From a file with one part a line. Raises `UserError` when it cannot be read or is another kind of file."""
        try:
            text = Path(path).read_bytes().decode("utf-8")
        except FileNotFoundError:
            raise UserError(
                f"{path}: no such file; give a vocab.txt, or a name on the hub: bert-base-uncased"
            ) from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read: {error.strerror or error}; give a vocab.txt") from None
        except UnicodeDecodeError as error:
            raise UserError(f"{path}: is not UTF-8 text ({error.reason}); expected a vocab.txt") from None
        # at line feeds only: BERT's vocabulary has other line separators among its parts
        lines = [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]
        return cls(lines, lowercase=lowercase, source=path)

    @classmethod
    def train(cls, texts: Iterable[str], *, size: int = 30522, min_count: int = 2, lowercase: bool = True) -> WordPiece:
        """Learned from texts: the same texts give the same parts, in any order of the texts.

        size: parts, at least the signs and every character (as the beginning of a word and inside one). min_count: how
        often a pair of parts must occur to become one.
        """
        tokenizer = _untrained(lowercase)
        if size < len(SIGNS) or min_count < 1:
            raise UserError(f"wordpiece: size {size}, min_count {min_count}; expected at least {len(SIGNS)} and 1")
        texts = list(texts)
        normalize, split = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
        characters = sorted({letter for text in texts for word, _ in split(normalize(text)) for letter in word})
        if not characters:
            raise UserError("wordpiece: the texts to learn from have no word; give texts, or a vocab.txt")
        # The library numbers "##x" in the order of a hash table that differs from run to run; signs keep their places.
        first = [*SIGNS, *characters, *(f"##{letter}" for letter in characters)]
        trainer = trainers.WordPieceTrainer(
            vocab_size=max(size, len(first)), min_frequency=min_count, special_tokens=first, show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        return cls(sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().__getitem__), lowercase=lowercase)

    @classmethod
    def from_json(cls, data: Any, source: object = "wordpiece") -> WordPiece:
        """From what `to_json` gave. `source` names the file in an error."""
        if not isinstance(data, dict) or not isinstance(data.get("words"), list):
            raise UserError(f'{source}: expected an object with the key "words" that holds a list of word parts')
        return cls(data["words"], lowercase=bool(data.get("lowercase", True)), source=source)

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file, such as a package's vocab.json."""
        return {"words": list(self.words), "lowercase": self.lowercase}

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digits that change with the parts and with `lowercase`."""
        return xxhash.xxh3_128_hexdigest("\n".join((str(self.lowercase), *self.words)).encode("utf-8", "surrogatepass"))

    # --- texts ---

    def encode(self, text: str) -> list[int]:
        """Ids of a text, without any sign but [UNK] for what cannot be written with these parts."""
        return self._tokenizer.encode(_clean(text), add_special_tokens=False).ids

    def encode_all(self, texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
        """Ids of many texts: `flat (M,) int32, offsets (N+1,) int64`; text n is `flat[offsets[n]:offsets[n+1]]`.

        Dialogs repeat their words: each distinct word of plain texts goes through the library once, which is four times
        faster than every text. The others go through it whole.
        """
        known: dict[str, list[int]] = {}
        parts, counts = [np.zeros(0, np.int32)], [np.zeros(1, np.int64)]
        texts = iter(texts)
        while chunk := list(islice(texts, _CHUNK)):
            others = [_clean(text) for text in chunk if not _PLAIN.fullmatch(text)]
            found = iter(self._tokenizer.encode_batch_fast(others, add_special_tokens=False))
            flat: list[int] = []
            ends = []
            for text in chunk:
                flat += self._plain(text, known) if _PLAIN.fullmatch(text) else next(found).ids
                ends.append(len(flat))
            parts.append(np.array(flat, np.int32))
            counts.append(np.diff(ends, prepend=0))
        return np.concatenate(parts), np.cumsum(np.concatenate(counts))

    def _plain(self, text: str, known: dict[str, list[int]]) -> list[int]:
        """Ids of a text of printable ASCII; words are looked up in `known` and added to it."""
        found: list[int] = []
        for word in _WORD.findall(text.lower() if self.lowercase else text):
            ids = known.get(word)
            if ids is None:
                ids = known[word] = self._tokenizer.encode(word, add_special_tokens=False).ids
            found += ids
        return found

    def encode_pool(self, pool: TextPool, *, cache: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
        """`encode_all` of a pool, kept in the folder `cache` and found again by texts and parts."""
        key = ""
        if cache is not None:
            digest = xxhash.xxh3_128(self.fingerprint.encode())
            digest.update(np.ascontiguousarray(pool.offsets).data)
            digest.update(np.ascontiguousarray(pool.text).data)
            key = f"{_CACHE}-{digest.hexdigest()}"

        def build() -> tuple[dict[str, np.ndarray], None]:
            flat, offsets = self.encode_all(pool)
            return {"flat": flat, "offsets": offsets}, None

        arrays, _ = cached(cache, key, build)
        return arrays["flat"], arrays["offsets"]

    def decode(self, ids: Iterable[int]) -> str:
        """A text for people: parts joined to words, signs as they are."""
        return " ".join(self.words[number] for number in ids).replace(" ##", "")


def download(name: str) -> str:
    """The path of a hub model's vocab.txt in the hub's own cache, fetched when it is not there.

    Raises:
        UserError: it cannot be fetched: no network, no such name, no such file.
    """
    from huggingface_hub import hf_hub_download

    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)  # without a network it says so in ten lines; one is raised here
    try:
        return hf_hub_download(name, "vocab.txt")
    except Exception as error:  # the hub's errors come from several libraries
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise UserError(
            f"wordpiece: {name!r} is no file here, and the hub does not give it ({reason}); {_GET_IT}"
        ) from None
    finally:
        logger.setLevel(level)


def _is_name(source: str) -> bool:
    """`name` or `owner/name`, as on the hub, and not a path."""
    parts = source.split("/")
    plain = all(part and not part.startswith((".", "~")) for part in parts)
    return len(parts) <= 2 and plain and not source.endswith((".txt", ".json"))


def _untrained(lowercase: bool) -> Tokenizer:
    """BERT's rules for words, without parts."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _clean(text: str) -> str:
    """Without lone halves of surrogate pairs, which JSON can hold and UTF-8 cannot; BERT drops them, too."""
    return text if text.isascii() else text.encode("utf-8", "ignore").decode()
