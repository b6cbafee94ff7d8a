"""The chat page in a real Chromium, against a scripted gateway."""

import pytest
from playwright.async_api import Page, expect

from parley_protocol import client as wire
from parley_protocol.events import Fault, Source, TurnStatus

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

ANSWER = (
    "After `accepted`, a turn ends in **exactly one** terminal event [1]. What is not known is said, never skipped:\n\n"
    "- the row in the store is the terminal [1]\n- every event is only news of it\n\n"
    "客户端带着会话与最后的位置回来，网关先读取存储中的记录 [2]。"
)


async def ask(page: Page, text: str) -> None:
    await page.locator("#question").fill(text)
    await page.keyboard.press("Enter")


def answer(page: Page):
    return page.locator(".turn").last.locator(".answer")


async def test_text_streams_in_and_the_turn_reports_its_times(gateway, open_page, shot):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await expect(page.locator("#link")).to_have_attribute("data-phase", "open")
    await ask(page, "What does accepted mean?")
    start, turn = await peer.turn()
    assert (start.text, start.kb) == ("What does accepted mean?", "default")
    await turn.accepted()
    await turn.status("routing")
    await expect(page.locator(".stages .now")).to_have_text("Routing")
    await turn.status("retrieving")
    await expect(page.locator(".stages .now")).to_have_text("Retrieving")
    await turn.retrieval()
    await expect(page.locator(".chip")).to_have_text("Passages found: 2")
    await turn.status("generating")
    half = len(ANSWER) // 3
    await turn.delta(ANSWER[:half])
    await expect(answer(page)).to_contain_text("exactly one terminal event")
    await expect(page.locator(".stages .now")).to_have_text("Generating")
    await shot(page, "streaming")
    await turn.delta(ANSWER[half:])
    await turn.done(ANSWER)
    await expect(page.locator(".turn")).to_have_attribute("data-state", "completed")
    await expect(answer(page).locator("strong")).to_have_text("exactly one")
    await expect(answer(page).locator("li")).to_have_count(2)
    await expect(page.locator(".stages li")).to_have_count(0)
    await expect(page.locator("[data-time=first]")).to_contain_text("ms")
    await expect(page.locator("[data-time=total]")).to_contain_text("total")
    await page.locator(".latency summary").click()
    await expect(page.locator(".times tr")).to_have_count(3)
    await expect(page.locator(".times tr").first).to_contain_text("waiting 0.6 ms · working 2.9 ms")
    assert (await peer.frame(wire.Ack)).position == f"{start.turn}:{turn.seq - 1}"
    await shot(page, "light")


async def test_a_citation_opens_its_passage_at_the_sentence(gateway, open_page, shot):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "What does accepted mean?")
    await (await peer.turn())[1].whole(ANSWER)
    await page.locator(".cite").nth(1).click()
    await expect(page.locator("#sources")).to_be_visible()
    await expect(page.locator("#sources li")).to_have_count(2)
    passage = page.locator("#sources details[open] .passage")
    await expect(passage).to_contain_text("Whatever single process is killed meanwhile")
    marked = "The row in the store is the terminal; every event is only news of it."
    await expect(passage.locator("mark")).to_have_text(marked)
    await expect(page.locator("#sources details[open] summary")).to_be_focused()
    await expect(page.locator("#question")).to_be_in_viewport()
    panel, box = await page.locator("#sources").bounding_box(), await page.locator("#composer").bounding_box()
    assert box["x"] + box["width"] <= panel["x"]
    await shot(page, "sources")
    await page.keyboard.press("Escape")
    await expect(page.locator("#sources")).to_be_hidden()
    await expect(page.locator(".cite").nth(1)).to_be_focused()
    await page.locator(".cite").nth(2).click()
    await expect(page.locator("#sources details[open] .name")).to_have_text("断线恢复")
    marked = ["客户端带着会话与最后的位置回来。", "网关先读取存储中的记录，再请求快照，然后继续推送新的事件。"]
    await expect(page.locator("#sources mark")).to_have_text(marked)


async def test_sources_that_the_answer_cites_come_first_and_stand_out(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "Which of the two?")
    _, turn = await peer.turn()
    await turn.accepted()
    await turn.retrieval()
    await expect(page.locator(".chip")).to_have_text(["Passages found: 2"])
    text = "网关先读取存储中的记录 [2]。窗口默认十分钟 [2]。"
    await turn.delta(text)
    await turn.done(text)
    await expect(page.locator(".chip .badge")).to_have_text(["2"])
    await expect(page.locator(".chip.quiet")).to_have_text("1 more")
    await page.locator(".chip").first.click()
    await expect(page.locator("#sources li .badge")).to_have_text(["2", "1"])
    await expect(page.locator("#sources li.quiet .badge")).to_have_text(["1"])
    marked = ["网关先读取存储中的记录，再请求快照，然后继续推送新的事件。", "窗口默认十分钟。"]
    await expect(page.locator("#sources mark")).to_have_text(marked)
    await page.locator(".chip.quiet").click()
    await expect(page.locator("#sources details[open] .badge")).to_have_text("1")
    await ask(page, "And if it cites none?")
    await (await peer.turn())[1].whole("No mark at all.")
    await expect(page.locator(".turn").last.locator(".chip:not(.quiet)")).to_have_count(2)


async def test_a_number_without_a_source_stays_text(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "Is 7 cited?")
    await (await peer.turn())[1].whole("Known [2], unknown [7], both [1, 2].")
    await expect(answer(page)).to_have_text("Known 2, unknown [7], both 12.")
    await expect(page.locator(".cite")).to_have_count(3)


async def test_escape_cancels_and_the_delivered_text_stays(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "A long story")
    start, turn = await peer.turn()
    await turn.accepted()
    await turn.delta("Once upon a time")
    await expect(answer(page)).to_have_text("Once upon a time")
    await page.keyboard.press("Escape")
    assert (await peer.frame(wire.TurnCancel)).turn == start.turn
    await expect(page.locator(".stages .now")).to_have_text("Stopping…")
    await turn.done("Once upon a time", TurnStatus.CANCELLED)
    await expect(page.locator(".turn")).to_have_attribute("data-state", "cancelled")
    await expect(answer(page)).to_have_text("Once upon a time")
    await expect(page.locator("#stop")).to_be_hidden()


async def test_the_stop_button_cancels(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "A long story")
    start, _ = await peer.turn()
    await page.locator("#stop").click()
    assert (await peer.frame(wire.TurnCancel)).turn == start.turn
    await expect(page.locator("#question")).to_be_focused()


async def test_a_dropped_socket_resumes_without_doubled_text(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "Resume, please")
    start, turn = await peer.turn()
    await turn.accepted()
    await turn.status("generating")
    await turn.delta("one ")
    await turn.delta("two ")
    await expect(answer(page)).to_have_text("one two")
    await peer.close(1012)
    again = await gateway.peer()
    assert again.hello.session == "s-1"
    assert again.hello.position == f"{start.turn}:2"
    assert again.hello.pending == (start.turn,)
    back = type(turn)(again, start.turn, seq=1)
    await back.delta("one ")  # numbers 1 and 2 again: repeats, to be dropped
    await back.delta("two ")
    await back.delta("three")
    await back.done("one two three")
    await expect(page.locator(".turn")).to_have_attribute("data-state", "completed")
    await expect(answer(page)).to_have_text("one two three")
    assert again.frames(wire.TurnStart) == []


async def test_an_unaccepted_turn_is_sent_again_under_its_id(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "Was it heard?")
    start, _ = await peer.turn()
    await peer.close(4001)
    again = await gateway.peer()
    assert again.hello.pending == (start.turn,)
    second, turn = await again.turn()
    assert (second.turn, second.text) == (start.turn, "Was it heard?")
    await turn.whole("Yes.")
    await expect(page.locator(".turn")).to_have_count(1)
    await expect(answer(page)).to_have_text("Yes.")


async def test_a_hole_in_the_numbers_is_filled_by_resuming(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "Mind the gap")
    start, turn = await peer.turn()
    await turn.accepted()
    await turn.delta("one ")
    turn.seq += 1
    await turn.delta("three ")
    again = await gateway.peer()
    assert again.hello.position == f"{start.turn}:0"
    back = type(turn)(again, start.turn, seq=1)
    await back.delta("two ")
    await back.delta("three ")
    await back.done("one two three ")
    await expect(page.locator(".turn")).to_have_attribute("data-state", "completed")
    await expect(answer(page)).to_have_text("one two three")


async def test_restarted_replaces_the_text(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "Twice")
    _, turn = await peer.turn()
    await turn.accepted()
    await turn.delta("A first try that")
    await expect(answer(page)).to_have_text("A first try that")
    await turn.restarted(2)
    await turn.delta("The second")
    await expect(answer(page)).to_have_text("The second")
    await turn.delta(" one.")
    await turn.done("The second one.")
    await expect(answer(page)).to_have_text("The second one.")
    await page.locator(".latency summary").click()
    await expect(page.locator(".times")).to_contain_text("restarted, attempt 2")


async def test_a_reload_in_mid_answer_goes_on_where_it_was(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "An earlier one")
    await (await peer.turn())[1].whole("Kept [1].")
    await expect(page.locator(".turn")).to_have_attribute("data-state", "completed")
    await ask(page, "Reload in between")
    start, turn = await peer.turn()
    await turn.accepted()
    await turn.delta("before ")
    await expect(answer(page)).to_have_text("before")
    await page.reload()
    again = await gateway.peer()
    assert (again.hello.session, again.hello.position) == ("s-1", f"{start.turn}:0")
    assert again.hello.pending == (start.turn,)
    await expect(page.locator(".turn")).to_have_count(2)
    await expect(page.locator(".turn").first.locator(".cite")).to_have_count(1)
    back = type(turn)(again, start.turn, seq=1)
    await back.delta("after")
    await back.done("before after")
    await expect(answer(page)).to_have_text("before after")


async def test_a_lost_session_is_said(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "Who am I?")
    _, turn = await peer.turn()
    await turn.accepted()
    await turn.delta("You are")
    await expect(answer(page)).to_have_text("You are")
    await peer.close(1012)
    again = await gateway.peer(session="s-2")
    await expect(page.locator(".note.failed")).to_contain_text("no longer knows this session")
    await page.get_by_role("button", name="Ask again").click()
    start, _ = await again.turn()
    assert start.text == "Who am I?"


async def test_refusals_and_failures_name_the_cause(gateway, open_page, shot):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await ask(page, "Too many")
    start, _ = await peer.turn()
    error = {"code": "overloaded", "message": "The queue is full: try again in a moment."}
    await peer.send(wire.ErrorFrame(**error, retryable=True, retry_after_ms=60_000, turn=start.turn))
    await expect(page.locator(".note.refused")).to_contain_text("The queue is full")
    await expect(page.get_by_role("button", name="Ask again in")).to_be_disabled()
    await ask(page, "Another")
    _, turn = await peer.turn()
    await turn.accepted()
    fault = Fault(code="engine_failed", message="The engine gave no answer.", retryable=True)
    await turn.done("", TurnStatus.FAILED, fault=fault)
    await expect(page.locator(".note.failed")).to_contain_text("The engine gave no answer.")
    await expect(page.get_by_role("button", name="Ask again", exact=True)).to_be_enabled()
    await shot(page, "failures")


XSS = (
    '<img src=x onerror="window.hacked=1"> <script>window.hacked=1</script> '
    "[click](javascript:window.hacked=1) **<b onclick=x>bold</b>** `<i>code</i>` [ok](https://example.org/a?b=c)"
)
XSS_DRAWN = (
    '<img src=x onerror="window.hacked=1"> <script>window.hacked=1</script> click <b onclick=x>bold</b> <i>code</i> ok'
)


async def test_markup_in_any_text_stays_text(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    evil = Source(id="<b>", document="<img src=x>.md", title="<script>x</script>", score=1.0, text=XSS, start=0, end=9)
    await ask(page, XSS)
    await (await peer.turn())[1].whole(f"{XSS} [1]", sources=(evil,))
    await expect(page.locator(".question .words")).to_have_text(XSS)
    await expect(answer(page)).to_contain_text('<img src=x onerror="window.hacked=1">')
    await expect(answer(page)).to_contain_text("[click](javascript:window.hacked=1)")
    await page.locator(".cite").click()
    await expect(page.locator("#sources .passage")).to_have_text(XSS_DRAWN)
    assert await page.locator(":is(.turn, #sources) :is(img, script, i, b)").count() == 0
    links = await page.locator(".answer a").evaluate_all("all => all.map(a => [a.href, a.rel, a.target])")
    assert links == [["https://example.org/a?b=c", "noopener noreferrer nofollow", "_blank"]]
    assert await page.evaluate("window.hacked") is None
