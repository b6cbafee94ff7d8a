"""How the chat page looks and is worked: themes, phone width, keyboard, languages, and the state of the connection."""

import re

import pytest
from playwright.async_api import Page, expect

from parley_protocol import client as wire

from .scripted import LIMITS

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]

LONG = (
    "See https://example.org/" + "very-long-path/" * 20 + " and `" + "unbroken_identifier_" * 12 + "` [1].\n\n"
    "| Setting | Default | Bounds |\n|---|---|---|\n| `PARLEY_MAX_MESSAGE` | 256 KiB | one message of a client |\n\n"
    "```python\nawait client.ask('a line of code that is much longer than any phone is wide', kb='default')\n```"
)


async def overflow(page: Page) -> int:
    return await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


async def brightness(page: Page, selector: str, what: str) -> float:
    """Of a colour as drawn, from 0 (black) to 255, whatever notation the browser reports it in."""
    script = """([selector, what]) => {
      const canvas = new OffscreenCanvas(1, 1).getContext("2d");
      canvas.fillStyle = getComputedStyle(document.querySelector(selector))[what];
      canvas.fillRect(0, 0, 1, 1);
      const [r, g, b] = canvas.getImageData(0, 0, 1, 1).data;
      return (r + g + b) / 3;
    }"""
    return await page.evaluate(script, [selector, what])


async def converse(page: Page, peer, question: str, answer: str) -> None:
    await page.locator("#question").fill(question)
    await page.keyboard.press("Enter")
    await (await peer.turn())[1].whole(answer)
    await expect(page.locator(".turn").last).to_have_attribute("data-state", "completed")


async def test_dark_by_system_light_by_choice_and_kept(gateway, open_page, shot):
    page = await open_page(gateway.url, dark=True)
    peer = await gateway.peer()
    assert await brightness(page, "body", "backgroundColor") < 60
    assert await brightness(page, "body", "color") > 190
    await converse(
        page,
        peer,
        "断线之后会怎样？",
        "客户端带着会话与最后的位置回来 [2]，`position` 不变。\n\n- 先读记录\n- 再请求快照",
    )
    await page.locator(".cite").first.click()
    await shot(page, "dark")
    await page.keyboard.press("Escape")
    await page.locator("#theme").click()
    assert await brightness(page, "body", "backgroundColor") > 200
    await page.reload()
    assert await brightness(page, "body", "backgroundColor") > 200


@pytest.mark.parametrize("dark", [False, True])
async def test_text_has_the_contrast_people_need(gateway, open_page, dark):
    page = await open_page(gateway.url, dark=dark)
    await gateway.peer()
    script = """() => {
      const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      const light = (name) => {
        canvas.fillStyle = getComputedStyle(probe(name)).color;
        canvas.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((v) => v / 255)
          .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const probe = (name) => {
        const element = document.createElement("i");
        element.style.color = `var(--${name})`;
        document.body.append(element);
        return element;
      };
      const pairs = [["ink", "paper"], ["muted", "paper"], ["muted", "surface"], ["accent", "paper"],
        ["accent", "soft"], ["on-accent", "accent"], ["warn", "warn-soft"], ["mark-ink", "mark"], ["ink", "code"]];
      return pairs.map(([a, b]) => {
        const [low, high] = [light(a), light(b)].sort((x, y) => x - y);
        return [`${a} on ${b}`, (high + 0.05) / (low + 0.05)];
      });
    }"""
    ratios = dict(await page.evaluate(script))
    assert {pair: ratio for pair, ratio in ratios.items() if ratio < 4.5} == {}


@pytest.mark.parametrize("width", [360, 768, 1280])
async def test_nothing_is_wider_than_the_screen(gateway, open_page, shot, width):
    page = await open_page(gateway.url, width=width, height=740, touch=width < 500)
    peer = await gateway.peer()
    assert await overflow(page) == 0
    await shot(page, f"empty-{width}")
    await converse(page, peer, "https://example.org/" + "x" * 300, LONG)
    assert await overflow(page) == 0
    await page.locator(".latency summary").click()
    await shot(page, f"wide-content-{width}")
    await page.locator(".cite").click()
    await expect(page.locator("#sources")).to_be_visible()
    assert await overflow(page) == 0
    await shot(page, f"sources-{width}")
    inner = await page.locator("#scroll").evaluate("scroll => scroll.scrollWidth - scroll.clientWidth")
    assert inner == 0


async def test_touch_targets_are_large_enough(gateway, open_page):
    page = await open_page(gateway.url, width=360, height=740, touch=True)
    peer = await gateway.peer()
    script = """all => all.filter(e => e.checkVisibility())
      .map(e => [e.id || e.className || e.tagName, e.getBoundingClientRect()])
      .filter(([, r]) => r.width < 40 || r.height < 40).map(([name, r]) => `${name} ${r.width}x${r.height}`)"""
    targets = ":is(button, summary, select, input, textarea):not(.cite)"
    assert await page.locator(targets).evaluate_all(script) == []
    await converse(page, peer, "Targets?", "Large enough [1].")
    assert await page.locator(targets).evaluate_all(script) == []
    height = await page.locator(".cite").evaluate("mark => parseFloat(getComputedStyle(mark, '::after').height)")
    assert height >= 40


async def test_the_keyboard_alone_is_enough(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    box = page.locator("#question")
    await expect(box).to_be_focused()
    await page.keyboard.type("line one")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("line two")
    await page.keyboard.press("Enter")
    start, turn = await peer.turn()
    assert start.text == "line one\nline two"
    await turn.whole("Fine [1].")
    await expect(page.locator(".turn")).to_have_attribute("data-state", "completed")
    await expect(box).to_have_value("")
    await page.keyboard.press("ArrowUp")
    await expect(box).to_have_value("line one\nline two")
    await page.keyboard.press("ArrowDown")
    await expect(box).to_have_value("")
    await page.keyboard.press("Shift+Tab")
    for _ in range(8):
        if await page.evaluate("document.activeElement.classList.contains('cite')"):
            break
        await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await expect(page.locator("#sources")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator(".cite")).to_be_focused()


async def test_enter_belongs_to_the_input_method_while_it_composes(gateway, open_page):
    page = await open_page(gateway.url, own=True)
    peer = await gateway.peer()
    cdp = await page.context.new_cdp_session(page)
    await cdp.send("Input.imeSetComposition", {"text": "nihao", "selectionStart": 5, "selectionEnd": 5})
    enter = {"type": "rawKeyDown", "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 229}
    await cdp.send("Input.dispatchKeyEvent", enter)
    await cdp.send("Input.insertText", {"text": "你好"})
    await expect(page.locator("#question")).to_have_value("你好")
    assert peer.frames(wire.TurnStart) == []
    await page.keyboard.press("Enter")
    assert (await peer.turn())[0].text == "你好"


async def test_chinese_browsers_get_chinese_words(gateway, open_page, shot):
    page = await open_page(gateway.url, locale="zh-CN")
    peer = await gateway.peer()
    await expect(page.locator("#empty h2")).to_have_text("想了解什么？")
    await expect(page.locator("#link-text")).to_have_text("已连接")
    await expect(page.locator("html")).to_have_attribute("lang", "zh-CN")
    await shot(page, "empty-zh")
    await page.locator(".sample").last.click()
    start, turn = await peer.turn()
    assert start.text == "断线之后，客户端怎样继续接收同一个回答？"
    await turn.accepted()
    await turn.status("retrieving")
    await expect(page.locator(".stages .now")).to_have_text("检索")


async def test_screen_readers_hear_whole_sentences_once(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await page.locator("#question").fill("Speak")
    await page.keyboard.press("Enter")
    _, turn = await peer.turn()
    await turn.accepted()
    await turn.delta("First sentence. Second ")
    await expect(page.locator("#spoken p")).to_have_text(["First sentence."])
    await turn.delta("one [1].")
    await turn.done("First sentence. Second one [1].")
    await expect(page.locator("#spoken p")).to_have_text(["First sentence.", "Second one ."])


async def test_a_refused_token_is_asked_for_and_never_in_an_address(gateway, open_page, shot):
    gateway.refuse_with = 4101
    page = await open_page(gateway.url, own=True)
    asked = []
    page.on("websocket", lambda ws: asked.append(ws.url))
    assert (await gateway.refused()).hello.token is None
    await expect(page.locator("#token")).to_be_visible()
    await expect(page.locator("#token-input")).to_be_focused()
    await expect(page.locator("#banner")).to_contain_text("needs a valid token")
    await page.keyboard.type("wrong")
    await page.keyboard.press("Enter")
    assert (await gateway.refused()).hello.token == "wrong"
    await expect(page.locator("#token-refused")).to_be_visible()
    await shot(page, "token")
    await page.keyboard.type("right")
    await page.keyboard.press("Enter")
    assert (await gateway.peer()).hello.token == "right"
    await expect(page.locator("#link")).to_have_attribute("data-phase", "open")
    await expect(page.locator("#banner")).to_be_hidden()
    assert [url for url in [*asked, page.url] if "right" in url or "wrong" in url] == []
    assert await page.evaluate("JSON.stringify(localStorage).includes('right')") is False


async def test_a_final_close_stays_closed_until_the_user_acts(gateway, open_page):
    gateway.refuse_with = 4129
    page = await open_page(gateway.url)
    await gateway.refused()
    await expect(page.locator("#banner")).to_contain_text("Too many requests")
    await expect(page.locator("#link")).to_have_attribute("data-phase", "stopped")
    await page.get_by_role("button", name="Reconnect").click()
    await gateway.peer()
    await expect(page.locator("#link")).to_have_attribute("data-phase", "open")


async def test_questions_wait_while_the_server_drains(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await peer.send(wire.Draining(reconnect_in_ms=400))
    await expect(page.locator("#link-text")).to_contain_text("Server restarting")
    await page.locator("#question").fill("Now?")
    await page.keyboard.press("Enter")
    await expect(page.locator(".stages .now")).to_have_text("Waiting to be sent")
    await peer.close(4001)
    again = await gateway.peer()
    assert (again.hello.session, again.hello.pending) == ("s-1", ())
    assert (await again.turn())[0].text == "Now?"
    assert peer.frames(wire.TurnStart) == []


async def test_an_answer_ends_on_the_socket_of_a_draining_server(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await page.locator("#question").fill("In time?")
    await page.keyboard.press("Enter")
    _, turn = await peer.turn()
    await turn.accepted()
    await peer.send(wire.Draining(reconnect_in_ms=1))
    await expect(page.locator("#link-text")).to_contain_text("Server restarting")
    await turn.delta("Yes.")
    await turn.done("Yes.")
    await expect(page.locator(".turn")).to_have_attribute("data-state", "completed")
    assert not peer.gone.is_set()
    await peer.close(4001)
    assert (await gateway.peer()).hello.session == "s-1"


async def test_a_question_that_a_draining_server_refuses_goes_to_the_next(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await page.locator("#question").fill("Too late?")
    await page.keyboard.press("Enter")
    start, _ = await peer.turn()
    await peer.send(wire.Draining(reconnect_in_ms=100))
    error = {"code": "overloaded", "message": "This gateway is going away.", "retryable": True, "turn": start.turn}
    await peer.send(wire.ErrorFrame(**error))
    await expect(page.locator(".stages .now")).to_have_text("Waiting to be sent")
    await peer.close(4001)
    second, turn = await (await gateway.peer()).turn()
    assert second.turn == start.turn
    await turn.whole("Not at all.")
    await expect(page.locator(".turn")).to_have_attribute("data-state", "completed")


async def test_no_more_questions_are_sent_than_the_server_queues(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    for number in range(10):
        await page.locator("#question").fill(f"Question {number}")
        await page.keyboard.press("Enter")
    started = [await peer.turn() for _ in range(LIMITS.queued_turns)]
    await expect(page.locator(".stages .now").last).to_have_text("Waiting to be sent")
    await started[0][1].whole("One.")
    assert (await peer.turn())[0].text == "Question 8"
    assert len(peer.frames(wire.TurnStart)) == LIMITS.queued_turns + 1
    await peer.close(4001)
    again = await gateway.peer()
    assert again.hello.pending == tuple(start.turn for start in peer.frames(wire.TurnStart)[1:])


async def test_a_gap_is_said_only_where_something_is_missing(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await converse(page, peer, "Old", "Answered.")
    await peer.close(4001)
    peer = await gateway.peer(gap=True)
    await page.locator("#question").fill("New")
    await page.keyboard.press("Enter")
    _, turn = await peer.turn()
    await turn.accepted()
    await turn.delta("one ")
    await expect(page.locator(".answer").last).to_have_text("one")
    await expect(page.locator(".toast")).to_have_count(0)
    await peer.close(4001)
    again = await gateway.peer(gap=True)
    await expect(page.locator(".toast")).to_contain_text("no longer held by the server")
    await type(turn)(again, turn.turn).whole("one two")
    await expect(page.locator(".answer").last).to_have_text("one two")


async def test_a_degraded_broker_is_said_until_it_is_back(gateway, open_page, shot):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await peer.send(wire.Degraded(reason="broker"))
    await expect(page.locator("#banner")).to_contain_text("broker is away")
    await shot(page, "degraded")
    await peer.send(wire.Restored())
    await expect(page.locator("#banner")).to_be_hidden()
    await expect(page.locator("#link-text")).to_have_text("Connected")


async def test_without_a_list_the_knowledge_base_is_a_field(gateway, open_page, watch):
    watch.allow("404")
    gateway.kb_status = 404
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    field = page.locator("input#kb")
    await expect(field).to_have_value("default")
    await field.fill("manuals")
    await page.locator("#question").fill("Which?")
    await page.locator("#question").press("Enter")
    assert (await peer.turn())[0].kb == "manuals"


async def test_the_chosen_knowledge_base_is_asked(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await page.locator("select#kb").select_option("test")
    await page.locator("#question").fill("Which?")
    await page.locator("#question").press("Enter")
    assert (await peer.turn())[0].kb == "test"
    await page.reload()
    await gateway.peer()
    await expect(page.locator("select#kb")).to_have_value("test")


async def test_a_new_conversation_has_a_session_of_its_own(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await converse(page, peer, "Old", "Old answer.")
    await page.get_by_role("button", name="New conversation").click()
    await peer.gone.wait()
    fresh = await gateway.peer(session="s-2")
    assert (fresh.hello.session, fresh.hello.position) == (None, None)
    await expect(page.locator(".turn")).to_have_count(0)
    await expect(page.locator("#empty")).to_be_visible()
    await expect(page.locator("#question")).to_be_focused()


async def test_two_tabs_keep_two_conversations(gateway, open_page):
    page = await open_page(gateway.url, own=True)
    first = await gateway.peer()
    await converse(page, first, "In the first tab", "Yes.")
    other = await page.context.new_page()
    await other.goto(gateway.url)
    second = await gateway.peer(session="s-2")
    assert second.hello.session is None
    await expect(other.locator(".turn")).to_have_count(0)


async def test_an_answer_can_be_copied(gateway, open_page):
    page = await open_page(gateway.url, own=True)
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    peer = await gateway.peer()
    await converse(page, peer, "Copy", "**Bold** words [1].")
    await page.get_by_role("button", name="Copy answer").click()
    await expect(page.locator(".copy path")).to_have_attribute("d", re.compile("^M4 10.5"))
    assert await page.evaluate("navigator.clipboard.readText()") == "**Bold** words [1]."


async def test_a_reader_who_scrolled_up_is_left_there(gateway, open_page):
    page = await open_page(gateway.url, height=500)
    peer = await gateway.peer()
    await page.locator("#question").fill("Long")
    await page.keyboard.press("Enter")
    _, turn = await peer.turn()
    await turn.accepted()
    await turn.delta("\n\n".join(f"Paragraph {n}." for n in range(40)))
    await expect(page.locator(".answer").get_by_text("Paragraph 39.")).to_be_in_viewport()
    await page.locator("#scroll").evaluate("scroll => { scroll.scrollTop = 0 }")
    await expect(page.locator("#latest")).to_be_visible()
    await turn.delta("\n\nThe very end.")
    await expect(page.locator(".answer")).to_contain_text("The very end.")
    assert await page.locator("#scroll").evaluate("scroll => scroll.scrollTop") == 0
    await page.get_by_role("button", name="Latest").click()
    await expect(page.locator(".answer").get_by_text("The very end.")).to_be_in_viewport()
    await expect(page.locator("#latest")).to_be_hidden()


async def test_a_question_over_the_limit_is_kept_and_said(gateway, open_page):
    page = await open_page(gateway.url)
    peer = await gateway.peer()
    await expect(page.locator("#link")).to_have_attribute("data-phase", "open")
    await page.locator("#question").fill("长" * 4_001)
    await page.keyboard.press("Enter")
    await expect(page.locator(".toast")).to_have_text("The question is too long: 4001 of at most 4000 characters.")
    await expect(page.locator("#question")).to_have_value("长" * 4_001)
    assert peer.frames(wire.TurnStart) == []
