"""The default engine with its real model: what it hears depends on the segment alone, and a base's words are heard."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hearing import hear, heard, pcm
from voices import synthesised

from parley_asr.engine import Base, Hint, Outcome, Samples
from parley_asr.engines.pocketsphinx import PocketsphinxSettings, PocketsphinxTranscriber
from parley_asr.listener import Listener, Parts
from parley_asr.silero import SileroModel
from parley_protocol.audio import Hearing, Mark
from parley_runtime.errors import EngineError

pytestmark = pytest.mark.unit

BASE = Base("default", "ponds")
TEXTS = ["The aerator of the northern pond runs at night.", "How is the northern pond? The northern pond is fine."]
AUDIO = "how is the northern pond"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PocketsphinxTranscriber]:
    folder = tmp_path_factory.mktemp("vocabularies")
    made = PocketsphinxTranscriber(PocketsphinxSettings(decoders=1, vocabularies=str(folder)))
    made.start()
    yield made
    made.close()


def decoded(engine: PocketsphinxTranscriber, audio: Samples, step: int, hint: Hint | None = None) -> Outcome:
    recognition = engine.open(hint or Hint())
    for start in range(0, audio.size, step):
        recognition.feed(audio[start : start + step])
    return recognition.finish()


def test_a_base_s_words_are_heard(engine: PocketsphinxTranscriber) -> None:
    audio = synthesised(AUDIO, around_s=0.2)
    assert not engine.knows(BASE, "v1")
    engine.prepare(BASE, "v1", TEXTS)
    assert engine.knows(BASE, "v1")
    without, with_base = decoded(engine, audio, 960), decoded(engine, audio, 960, Hint(base=BASE))
    wanted = set(AUDIO.split())
    assert len(wanted & set(with_base.text.split())) > len(wanted & set(without.text.split()))
    assert decoded(engine, audio, 960) == without  # and where no base is named nothing has changed


def test_where_all_decoders_are_at_work_the_text_is_the_same(engine: PocketsphinxTranscriber) -> None:
    audio = synthesised("good morning", around_s=0.2)
    alone = decoded(engine, audio, 1600)
    first, second = engine.open(Hint()), engine.open(Hint())
    for start in range(0, audio.size, 1600):
        first.feed(audio[start : start + 1600])
        second.feed(audio[start : start + 1600])
    assert second.partial().text == ""
    assert first.finish() == second.finish() == alone


def test_a_process_that_ends_fails_what_it_was_hearing_and_nothing_else(engine: PocketsphinxTranscriber) -> None:
    recognition = engine.open(Hint())
    process = engine._children[0]._process
    assert process is not None
    process.kill()
    with pytest.raises(EngineError):
        recognition.feed(np.zeros(1600, np.float32))
    recognition.close()
    assert decoded(engine, np.zeros(8000, np.float32), 1600).text == ""


def test_folders_outlive_the_process(engine: PocketsphinxTranscriber) -> None:
    settings = engine._settings
    other = PocketsphinxTranscriber(settings)
    assert Path(settings.vocabularies).exists()
    assert not other.knows(BASE, "v2")
    assert other.knows(BASE, "v1")
    other.close()


def test_another_worker_hears_the_same_with_the_real_parts(engine: PocketsphinxTranscriber) -> None:
    vad = SileroModel()
    said = [synthesised(text, around_s=0.5) for text in ("good morning", "how much water")]
    audio = pcm(np.concatenate((*said, np.zeros(8000, np.float32))))
    hearing = Hearing(by_silence=True)
    parts = Parts(vad.stream, lambda: engine.open(Hint()))
    undisturbed = heard(hear(Listener(hearing, 0, 0, parts), audio, mark=Mark.END))
    assert len([last for last in undisturbed if last.text]) >= 2
    killed = Listener(hearing, 0, 0, parts)
    before = heard(hear(killed, audio[: len(audio) // 3 * 2], step=777))
    other = Listener(hearing, killed.keep, len(before), parts)
    killed.close()
    after = heard(hear(other, audio[killed.keep :], step=6401, mark=Mark.END))
    assert before + after == undisturbed
