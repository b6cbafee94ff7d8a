"""Speaking with the page and being answered aloud, in a real Chromium whose microphone hears a tone."""

import asyncio
import math
import struct

import numpy as np
import pytest
from playwright.async_api import Page, expect

from parley_protocol import client as wire

from .conftest import TONES_HZ
from .scripted import Peer, ScriptedTurn

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


def beep(rate: int, seconds: float) -> bytes:
    return b"".join(struct.pack("<h", round(9000 * math.sin(at * 0.06))) for at in range(int(rate * seconds)))


def pitch(pcm: bytes, rate: int) -> float:
    """The strongest frequency of it."""
    samples = np.frombuffer(pcm, dtype="<i2").astype(float)
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


async def told(peer: Peer, ms: int) -> None:
    """Until the page has said that so much was played."""
    async with asyncio.timeout(30):
        while (await peer.frame(wire.AudioPlayed)).ms != ms:
            pass


async def spoken_page(open_page, gateway, **look) -> tuple[Page, Peer]:
    """A page that is allowed the microphone, connected."""
    page = await open_page(gateway.url, own=True, **look)
    await page.context.grant_permissions(["microphone"])
    peer = await gateway.peer()
    await expect(page.locator("#link")).to_have_attribute("data-phase", "open")
    return page, peer


async def test_what_is_said_becomes_a_question_and_its_answer_is_heard(gateway, open_page, shot):
    page, peer = await spoken_page(open_page, gateway)
    await page.locator("#mic").click()
    start = await peer.frame(wire.AudioStart)
    rate = start.format.rate
    assert (start.hands_free, start.interrupt, start.kb, start.format.channels) == (False, True, "default", 1)
    assert start.speak == wire.Voice(rate=rate)
    await expect(page.locator("#voice")).to_be_visible()
    await expect(page.locator("#mic")).to_have_attribute("aria-pressed", "true")
    level = "() => parseFloat(getComputedStyle(document.querySelector('#level')).getPropertyValue('--level')) > 0.3"
    await page.wait_for_function(level)
    turn = ScriptedTurn(peer, start.turn)
    await peer.send(wire.SpeechStartedFrame(turn=start.turn, ms=90))
    await expect(page.locator("#caption")).to_have_text("Hearing you…")
    await peer.send(wire.TranscriptPartial(**turn._next(), text="what does"))
    await expect(page.locator("#caption")).to_have_text("what does")
    await expect(page.locator(".turn .words")).to_have_text("what does")
    await shot(page, "voice-listening")
    await page.locator("#mic").click()
    await peer.frame(wire.AudioStop)
    await expect(page.locator("#voice")).to_be_hidden()
    assert peer.largest <= 2 * rate * 0.04
    found = pitch(bytes(peer.heard), rate)
    assert min(abs(found - tone) for tone in TONES_HZ) < 50
    await peer.send(wire.TranscriptFinal(**turn._next(), text="What does done mean?"))
    await turn.accepted()
    await turn.delta("It is stored.")
    await turn.done("It is stored.")
    await expect(page.locator(".turn")).to_have_attribute("data-state", "completed")
    await expect(page.locator(".turn .words")).to_have_text("What does done mean?")
    await peer.audio(start.turn, 0, rate, beep(rate, 0.4))
    await expect(page.locator("#stop")).to_be_visible()
    await told(peer, 400)
    assert {frame.turn for frame in peer.frames(wire.AudioPlayed)} == {start.turn}
    await expect(page.locator("#stop")).to_be_hidden()
    assert peer.frames(wire.TurnStart) == []


async def test_a_typed_question_is_answered_aloud_where_that_is_wanted_and_stops(gateway, open_page):
    page, peer = await spoken_page(open_page, gateway)
    await page.locator("#aloud").click()
    await expect(page.locator("#aloud")).to_have_attribute("aria-pressed", "true")
    await page.locator("#question").fill("Why?")
    await page.keyboard.press("Enter")
    start, turn = await peer.turn()
    assert start.speak is not None
    rate = start.speak.rate
    await turn.whole("Because.")
    await peer.audio(start.turn, 0, rate, beep(rate, 8.0))
    await expect(page.locator("#stop")).to_be_visible()
    await page.keyboard.press("Escape")
    assert (await peer.frame(wire.TurnCancel)).turn == start.turn
    await expect(page.locator("#stop")).to_be_hidden()
    assert all(frame.ms < 7000 for frame in peer.frames(wire.AudioPlayed))
    await peer.audio(start.turn, 8 * rate, rate, beep(rate, 0.1))
    await told(peer, 8100)
    await page.locator("#aloud").click()
    await page.locator("#question").fill("And now?")
    await page.keyboard.press("Enter")
    assert (await peer.turn())[0].speak is None


async def test_answers_are_read_aloud_again_after_a_reload(gateway, open_page):
    page, peer = await spoken_page(open_page, gateway)
    await page.locator("#aloud").click()
    await page.reload()
    peer = await gateway.peer()
    await expect(page.locator("#aloud")).to_have_attribute("aria-pressed", "true")
    await page.locator("#question").press_sequentially("Why is it so?", delay=20)
    await page.keyboard.press("Enter")
    assert (await peer.turn())[0].speak is not None


async def test_a_flush_is_silent_at_once_and_what_follows_is_heard(gateway, open_page):
    page, peer = await spoken_page(open_page, gateway)
    await page.locator("#aloud").click()
    await page.locator("#question").fill("Why?")
    await page.keyboard.press("Enter")
    start, turn = await peer.turn()
    assert start.speak is not None
    rate = start.speak.rate
    await turn.whole("Because.")
    await peer.audio(start.turn, 0, rate, beep(rate, 5.0))
    await peer.frame(wire.AudioPlayed)
    await peer.send(wire.AnswerFlush(turn=start.turn, ms=200))
    await peer.audio(start.turn, rate // 5, rate, beep(rate, 0.1))
    await told(peer, 300)
    await expect(page.locator("#stop")).to_be_hidden()


async def test_an_answer_goes_on_with_its_sentence_after_a_lost_connection(gateway, open_page):
    page, peer = await spoken_page(open_page, gateway)
    await page.locator("#aloud").click()
    await page.locator("#question").fill("Why?")
    await page.keyboard.press("Enter")
    start, turn = await peer.turn()
    assert start.speak is not None
    rate = start.speak.rate
    await turn.whole("Because. And so.")
    await peer.audio(start.turn, 0, rate, beep(rate, 0.1))
    await peer.audio(start.turn, rate // 10, rate, beep(rate, 5.0), sentence=1)
    async with asyncio.timeout(30):
        while (await peer.frame(wire.AudioPlayed)).ms <= 100:
            pass
    await peer.close(1012)
    again = await gateway.peer()
    assert await again.frame(wire.AnswerSpeak) == wire.AnswerSpeak(turn=start.turn, speak=start.speak, sentence=1)
    await again.audio(start.turn, 0, rate, beep(rate, 0.2), sentence=1)
    await told(again, 200)
    await again.close(1012)
    last = await gateway.peer()
    await page.locator("#question").fill("And now?")
    await page.keyboard.press("Enter")
    await last.turn()
    assert last.frames(wire.AnswerSpeak) == []  # it had been heard to its end


async def test_an_answer_is_read_aloud_by_its_button(gateway, open_page, shot):
    page, peer = await spoken_page(open_page, gateway)
    await page.locator("#question").fill("Why?")
    await page.keyboard.press("Enter")
    start, turn = await peer.turn()
    await turn.whole("Because.")
    await shot(page, "voice-read-aloud")
    button = page.get_by_role("button", name="Read aloud", exact=True)
    await button.click()
    asked = await peer.frame(wire.AnswerSpeak)
    assert (asked.turn, asked.sentence) == (start.turn, 0)
    await peer.audio(start.turn, 0, asked.speak.rate, beep(asked.speak.rate, 5.0))
    await peer.frame(wire.AudioPlayed)
    await button.click()
    assert (await peer.frame(wire.TurnCancel)).turn == start.turn
    assert (await peer.frame(wire.AnswerSpeak)).turn == start.turn


async def test_hands_free_makes_a_turn_of_each_utterance(gateway, open_page, shot):
    page, peer = await spoken_page(open_page, gateway, locale="zh-CN")
    await page.locator("#free").check()
    await page.locator("#mic").click()
    start = await peer.frame(wire.AudioStart)
    assert start.hands_free
    await expect(page.locator(".turn")).to_have_count(0)
    for number, text in enumerate(("第一个问题", "第二个问题")):
        turn = ScriptedTurn(peer, f"{start.turn}.{number}")
        await peer.send(wire.TranscriptPartial(**turn._next(), text=text[:2]))
        await expect(page.locator(".turn")).to_have_count(number + 1)
        await peer.send(wire.TranscriptFinal(**turn._next(), text=text))
        await turn.accepted()
        await turn.delta("好的。")
        await turn.done("好的。")
        await expect(page.locator(".turn").last.locator(".words")).to_have_text(text)
        await expect(page.locator(".turn").last).to_have_attribute("data-state", "completed")
    await expect(page.locator("#voice")).to_be_visible()
    await shot(page, "voice-hands-free")
    await page.locator("#mic").click()
    await peer.frame(wire.AudioStop)


async def test_nothing_heard_is_said_and_leaves_no_question(gateway, open_page):
    page, peer = await spoken_page(open_page, gateway)
    await page.locator("#mic").click()
    start = await peer.frame(wire.AudioStart)
    await expect(page.locator(".turn")).to_have_count(1)
    await page.locator("#mic").click()
    await peer.frame(wire.AudioStop)
    message = "no words were heard; say it again"
    await peer.send(wire.ErrorFrame(code="no_speech", message=message, retryable=True, turn=start.turn))
    await expect(page.locator(".toast")).to_have_text(message)
    await expect(page.locator(".turn")).to_have_count(0)
    await expect(page.locator("#empty")).to_be_visible()


async def test_a_socket_lost_in_mid_sentence_closes_the_microphone(gateway, open_page, watch):
    watch.allow("WebSocket")
    page, peer = await spoken_page(open_page, gateway)
    await page.locator("#mic").click()
    await peer.frame(wire.AudioStart)
    await peer.close(4001)
    await expect(page.locator("#mic")).to_have_attribute("aria-pressed", "false")
    await expect(page.locator("#voice")).to_be_hidden()
    again = await gateway.peer()
    assert again.hello.pending == ()
    await expect(page.locator(".turn")).to_have_count(0)


@pytest.mark.parametrize("free", [False, True])
async def test_what_cannot_be_heard_closes_the_microphone_and_the_reason_is_said(gateway, open_page, free):
    page, peer = await spoken_page(open_page, gateway)
    if free:
        await page.locator("#free").check()
    await page.locator("#mic").click()
    start = await peer.frame(wire.AudioStart)
    message = "every recogniser is busy; try again later"
    await peer.send(wire.ErrorFrame(code="overloaded", message=message, retryable=True, turn=start.turn))
    await expect(page.locator(".toast")).to_have_text(message)
    await expect(page.locator("#mic")).to_have_attribute("aria-pressed", "false")
    await expect(page.locator("#voice")).to_be_hidden()
    await expect(page.locator(".turn")).to_have_count(0)
    assert peer.frames(wire.AudioStop) == []


async def test_an_utterance_that_is_refused_leaves_hands_free_open(gateway, open_page):
    page, peer = await spoken_page(open_page, gateway)
    await page.locator("#free").check()
    await page.locator("#mic").click()
    start = await peer.frame(wire.AudioStart)
    message = "8 turns of this session wait already"
    await peer.send(wire.ErrorFrame(code="overloaded", message=message, retryable=True, turn=f"{start.turn}.0"))
    await expect(page.locator(".toast")).to_have_text(message)
    await expect(page.locator("#mic")).to_have_attribute("aria-pressed", "true")


async def test_a_microphone_that_is_unplugged_ends_what_is_said(gateway, open_page):
    page, peer = await spoken_page(open_page, gateway)
    await page.evaluate(
        """() => {
          const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
          navigator.mediaDevices.getUserMedia = async (wanted) => (window.opened = await open(wanted));
        }"""
    )
    await page.locator("#mic").click()
    await peer.frame(wire.AudioStart)
    await page.evaluate("() => window.opened.getTracks()[0].dispatchEvent(new Event('ended'))")
    await peer.frame(wire.AudioStop)
    await expect(page.locator("#mic")).to_have_attribute("aria-pressed", "false")
    await expect(page.locator(".toast")).to_be_visible()


async def test_without_a_microphone_typing_works_and_the_reason_is_said(gateway, open_page, shot):
    page = await open_page(gateway.url, own=True)
    peer = await gateway.peer()
    await page.locator("#mic").click()
    await expect(page.locator(".toast")).to_contain_text("did not allow the microphone")
    await expect(page.locator("#mic")).to_have_attribute("aria-pressed", "false")
    await expect(page.locator("#voice")).to_be_hidden()
    await shot(page, "voice-refused")
    await page.locator("#question").fill("Why?")
    await page.keyboard.press("Enter")
    await (await peer.turn())[1].whole("Because.")
    await expect(page.locator(".turn")).to_have_attribute("data-state", "completed")
    assert peer.frames(wire.AudioStart) == []


async def test_on_a_phone_everything_is_in_reach(gateway, open_page, shot):
    page, peer = await spoken_page(open_page, gateway, width=360, height=640)
    await page.locator("#mic").click()
    await peer.frame(wire.AudioStart)
    await expect(page.locator("#free")).to_be_in_viewport()
    for name in ("#mic", "#aloud", "#send"):
        box = await page.locator(name).bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    await shot(page, "voice-phone")
