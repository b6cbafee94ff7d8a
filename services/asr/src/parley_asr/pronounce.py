"""How a word is said, in the phones of CMU's dictionary, as espeak-ng's library says it.

The library keeps its state in the process and is not for several threads: it is used by the short process that makes a
vocabulary, and by nothing else.
"""

import ctypes

import espeakng_loader  # type: ignore[import-untyped]  # it has no types

_IPA = 0x02
_UTF8 = 1
_SYNCHRONOUS = 2

_PHONES = {
    "tʃ": "CH", "dʒ": "JH", "eɪ": "EY", "aɪ": "AY", "ɔɪ": "OY", "aʊ": "AW", "oʊ": "OW", "əʊ": "OW", "ɪɹ": "IH R",
    "ɛɹ": "EH R", "ʊɹ": "UH R", "ɔːɹ": "AO R", "oːɹ": "AO R", "ɑːɹ": "AA R", "ɜː": "ER", "ɚ": "ER", "iə": "IY AH",
    "aɪə": "AY AH", "aɪɚ": "AY ER", "əl": "AH L", "n̩": "AH N", "iː": "IY", "uː": "UW", "ɑː": "AA", "ɔː": "AO",
    "i": "IY", "ɪ": "IH", "ᵻ": "IH", "ɨ": "IH", "ɛ": "EH", "e": "EH", "æ": "AE", "a": "AE", "ɐ": "AH", "ʌ": "AH",
    "ə": "AH", "ɑ": "AA", "ɒ": "AA", "ɔ": "AO", "o": "OW", "ʊ": "UH", "u": "UW", "p": "P", "b": "B", "t": "T",
    "ɾ": "T", "ʔ": "T", "d": "D", "k": "K", "ɡ": "G", "g": "G", "f": "F", "v": "V", "θ": "TH", "ð": "DH", "s": "S",
    "z": "Z", "ʃ": "SH", "ʒ": "ZH", "h": "HH", "m": "M", "n": "N", "ŋ": "NG", "l": "L", "ɫ": "L", "ɹ": "R", "r": "R",
    "j": "Y", "w": "W", "x": "K", "ɬ": "L",
}  # fmt: skip
_LONGEST = max(map(len, _PHONES))


def phones(ipa: str) -> str:
    """CMU's phones of an IPA transcription; "" where one is not known."""
    found: list[str] = []
    at = 0
    marks = "ˈˌ ː‿̃͡"
    while at < len(ipa):
        for size in range(_LONGEST, 0, -1):
            if (phone := _PHONES.get(ipa[at : at + size])) is not None:
                found.append(phone)
                at += size
                break
        else:
            if ipa[at] not in marks:
                return ""
            at += 1
    return " ".join(found)


class Speller:
    """Says how English words are said."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(espeakng_loader.get_data_path()).encode(), 0)
        self._library.espeak_SetVoiceByName(b"en-us")
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p

    def phones(self, word: str) -> str:
        """As :func:`phones`."""
        pointer = ctypes.c_char_p(word.encode())
        found = self._library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, _IPA)
        return phones((found or b"").decode(errors="replace"))
