"""Makes a vocabulary for pocketsphinx: texts on stdin (a MessagePack array), files in the folder that is the argument.

A process of its own: it takes a second or two, and neither library that it uses lets others work meanwhile.
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pocketsphinx

from parley_asr.pronounce import Speller
from parley_asr.vocabulary import BEGIN, COMMON, arpa, count, sentences

MOST_WORDS = 200_000
"""Words of text that count."""
MOST_NEW = 5000
"""Words that may be added to the dictionary."""
_BASE = math.log(1.0001)


class Bundled:
    """pocketsphinx' own model and dictionary."""

    def __init__(self) -> None:
        folder = Path(pocketsphinx.get_model_path()) / "en-us"
        self._model = pocketsphinx.NGramModel.readfile(str(folder / "en-us.lm.bin"))
        lines = (folder / "cmudict-en-us.dict").read_text(encoding="utf-8").splitlines()
        self.words = {line.split(" ", 1)[0] for line in lines if "(" not in line.split(" ", 1)[0]}
        ranked = sorted(self.words, key=lambda word: -self.probability((word,)))
        self.common = [word for word in ranked if word.replace("'", "").isalpha()][:COMMON]

    def probability(self, words: Sequence[str]) -> float:
        """Of the last word after the others."""
        return math.exp(max(-1e6, self._model.prob(list(reversed(words)))) * _BASE)


def new_words(texts: Sequence[str], known: set[str]) -> dict[str, str]:
    """Words that the dictionary lacks, and how they are said; the most frequent ones."""
    written: dict[str, str] = {}
    frequent: dict[str, int] = {}
    for text in texts:
        for sentence in sentences(text):
            for word in sentence:
                if word.lower() not in known and word != BEGIN:
                    if word.isupper() or word.lower() not in written:
                        written[word.lower()] = word
                    frequent[word.lower()] = frequent.get(word.lower(), 0) + 1
    speller = Speller()
    found: dict[str, str] = {}
    for word in sorted(frequent, key=lambda one: (-frequent[one], one))[:MOST_NEW]:
        if said := speller.phones(written[word]):
            found[word] = said
    return found


def main() -> None:
    """Write ``words.lm`` and ``words.json``."""
    texts: list[str] = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=list[str])
    folder = Path(sys.argv[1])
    bundled = Bundled()
    added = new_words(texts, bundled.words)
    counts = count(texts, lambda word: word in bundled.words or word in added, most=MOST_WORDS)
    lines = arpa(counts, bundled.common, bundled.probability)
    (folder / "words.lm").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "words.json").write_text(json.dumps(sorted(added.items())), encoding="utf-8")


if __name__ == "__main__":
    main()
