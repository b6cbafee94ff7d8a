"""The pure modules of the page, run where they will run: in the browser."""

import asyncio
import json

import pytest
import pytest_asyncio

from .pages import Look, Pages, Watch

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def run(switch, browser):
    """`await run("connection", "m => m.backoff(0, 1)")`: calls the function with the module.

    All tests share one page, an asset and not the chat itself: the modules tested here keep no state.
    """
    watch, pages = Watch(), Pages(browser)
    page = await pages.take(f"{switch.url}/assets/icon.svg", watch, Look(), own=True)

    async def call(module: str, function: str):
        return await page.evaluate(f"import('/assets/{module}.js').then({function})")

    yield call
    await pages.give_back()
    watch.check()


async def test_backoff_doubles_from_200_ms_to_10_s_and_is_spread(run):
    assert await run("connection", "m => [0, 1, 2, 5, 6, 40].map(n => m.backoff(n, 1))") == [
        200,
        400,
        800,
        6400,
        10000,
        10000,
    ]
    assert await run("connection", "m => [0, 6].map(n => m.backoff(n, 0))") == [100, 5000]


STEPS = """m => {
  const cursor = {session: "s", position: "p", pending: ["t"], token: "k"};
  const welcome = {type: "welcome", session: "s", resumed: true, gap: false, heartbeat_s: 4};
  let state = m.initial();
  const log = [];
  for (const event of EVENTS) {
    const next = m.step(state, event);
    state = next.state;
    log.push([state.phase, next.effects.map((e) => e.do + (e.name ? ":" + e.name : "") + (e.ms ? "=" + e.ms : ""))]);
  }
  return log;
}"""


def steps(*events: str) -> str:
    return STEPS.replace("EVENTS", f"[{', '.join(events)}]")


OPEN = ('{type: "start"}', '{type: "opened", cursor}', '{type: "frame", frame: welcome}')


async def test_hello_comes_first_and_ready_only_after_welcome(run):
    log = await run("connection", steps(*OPEN))
    assert [phase for phase, _ in log] == ["connecting", "greeting", "open"]
    assert log[1][1] == ["send", "timer:welcome=10000"]
    assert log[2][1] == ["clear", "timer:beat=2000", "timer:stable=3000", "timer:silence=10000", "deliver", "ready"]


async def test_hello_carries_the_cursor_but_no_position_without_its_session(run):
    script = """m => [
      {session: "s", position: "p", pending: ["t"], token: "k"},
      {session: null, position: "p", pending: []},
    ].map((cursor) => m.step({...m.initial(), phase: "connecting"}, {type: "opened", cursor}).effects[0].frame)"""
    full = {"type": "hello", "session": "s", "position": "p", "pending": ["t"], "token": "k"}
    assert await run("connection", script) == [full, {"type": "hello"}]


@pytest.mark.parametrize(
    ("code", "phase"),
    [(1006, "waiting"), (1001, "waiting"), (4000, "waiting"), (4099, "waiting"), (4100, "stopped"), (4199, "stopped")],
)
async def test_the_range_of_the_close_code_decides(run, code, phase):
    log = await run("connection", steps(*OPEN, f'{{type: "closed", code: {code}, random: 1}}'))
    assert log[-1] == [phase, ["clear", "timer:retry=200"] if phase == "waiting" else ["clear"]]


async def test_a_drain_names_the_moment_whenever_the_close_comes(run):
    draining = '{type: "frame", frame: {type: "draining", reconnect_in_ms: 700}}'
    closed, due = '{type: "closed", code: 4001, random: 1}', '{type: "timer", name: "drain"}'
    early = await run("connection", steps(*OPEN, draining, closed, due))
    assert early[3:] == [
        ["open", ["timer:silence=10000", "timer:drain=700"]],
        ["waiting", ["clear"]],
        ["connecting", ["clear", "connect"]],
    ]
    late = await run("connection", steps(*OPEN, draining, due, closed))
    assert late[4:] == [["open", ["timer:leave=60000"]], ["waiting", ["clear", "timer:retry"]]]
    stuck = await run("connection", steps(*OPEN, draining, due, '{type: "timer", name: "leave"}'))
    assert stuck[-1] == ["open", ["close"]]


async def test_a_silent_or_mute_server_is_left(run):
    silent = await run("connection", steps(*OPEN, '{type: "timer", name: "silence"}'))
    assert silent[-1] == ["open", ["close"]]
    mute = await run("connection", steps(*OPEN[:2], '{type: "timer", name: "welcome"}'))
    assert mute[-1] == ["greeting", ["close"]]


async def test_events_of_a_turn_apply_once_and_in_order(run):
    script = """m => {
      const turn = m.create("t", "q", "default", 0);
      const delta = (seq, text) => m.apply(turn, {type: "answer.delta", turn: "t", seq, text}, 5);
      const verdicts = [delta(0, "a"), delta(0, "a"), delta(2, "c"), delta(1, "b"), delta(2, "c")];
      return [verdicts, turn.answer, m.measured(turn)];
    }"""
    verdicts, text, times = await run("turns", script)
    assert verdicts == ["applied", "duplicate", "gap", "applied", "applied"]
    assert (text, times) == ("abc", {"first": 5, "total": None})


async def test_nothing_changes_an_ended_turn(run):
    script = """m => {
      const turn = m.create("t", "q", "default", 0);
      m.apply(turn, {type: "turn.done", seq: 0, status: "cancelled", text: "kept"}, 9);
      m.apply(turn, {type: "answer.delta", seq: 1, text: " more"}, 10);
      m.fail(turn, {code: "failed", message: "late"}, 11);
      return [turn.state, turn.answer, turn.error, turn.doneAt];
    }"""
    assert await run("turns", script) == ["cancelled", "kept", None, 9]


async def test_after_a_gap_a_turn_told_from_its_start_replaces_what_was_there(run):
    script = """m => [0, 4].map((from) => {
      const turn = m.create("t", "q", "default", 0);
      m.apply(turn, {type: "answer.delta", seq: 0, text: "one "}, 1);
      turn.seq = null;
      m.apply(turn, {type: "answer.delta", seq: from, text: "two "}, 2);
      m.apply(turn, {type: "answer.delta", seq: from + 1, text: "three"}, 3);
      return turn.answer;
    })"""
    assert await run("turns", script) == ["two three", "one two three"]


async def test_any_event_shows_that_a_refused_turn_runs(run):
    script = """m => {
      const turn = {...m.create("t", "q", "default", 0), state: "sent"};
      m.fail(turn, {code: "unavailable", message: "away", retryable: true}, 1);
      const refused = turn.state;
      m.apply(turn, {type: "turn.status", seq: 0, stage: "routing"}, 2);
      return [refused, turn.state, turn.error];
    }"""
    assert await run("turns", script) == ["refused", "accepted", None]


async def test_a_forgotten_turn_is_lost_only_if_it_was_accepted(run):
    script = """m => ["sent", "accepted"].map((state) => {
      const turn = {...m.create("t", "q", "default", 0), state};
      m.fail(turn, {code: "unknown_turn", message: ""}, 1);
      return turn.state;
    })"""
    assert await run("turns", script) == ["sent", "failed"]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("one\ntwo\n\nthree", ["text", "text"]),
        ("# Head\ntext", ["heading", "text"]),
        ("- a\n- b\n\n1. c", ["list"]),
        ("```py\nx = 1\n\ny = 2", ["code"]),
        ("text\n```\ncode\n```\nafter", ["text", "code", "text"]),
        ("> quoted\n> more\nplain", ["quote", "text"]),
        ("| a | b |\n|---|---|\n| 1 | 2 |\n\nend", ["table", "text"]),
        ("***\n1.5 is no list", ["rule", "text"]),
    ],
)
async def test_blocks(run, text, kinds):
    assert await run("markdown", f"m => m.blocks({text!r}).map(b => b.kind)") == kinds


@pytest.mark.parametrize(
    ("href", "kept"),
    [
        ("https://example.org/a", True),
        ("http://example.org", True),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)", False),
        ("data:text/html,x", False),
        ("//example.org", False),
        ("/local", False),
        ("java\tscript:alert(1)", False),
    ],
)
async def test_only_web_addresses_become_links(run, href, kept):
    assert (await run("markdown", f"m => m.safeHref({href!r})") is not None) is kept


HOSTILE = {
    "bold": "**" * 20_000,
    "open bold": "**a " * 10_000,
    "ticks": "`" * 40_000,
    "brackets": "[" * 40_000,
    "italic": "*a" * 20_000,
    "links": "[a](" * 10_000,
    "marks": "- " * 20_000,
    "fence": "```" + "a" * 40_000 + "`",
    "table": "a|b\n" + "-|" * 20_000 + "x",
    "heading": "# a" + " " * 40_000 + "x",
    "quotes": "> " * 20_000,
    "address": "https://a" + "." * 40_000,
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_markdown_takes_no_time(run, name):
    script = f"""m => {{
      const root = document.createElementNS("http://www.w3.org/1999/xhtml", "div");
      const from = performance.now();
      m.render(root, {HOSTILE[name]!r}, () => null);
      return [root.children.length > 0, performance.now() - from];
    }}"""
    drawn, took = await asyncio.wait_for(run("markdown", script), 30)
    assert drawn
    assert took < 1_000


DRAW = """m => {
  const box = document.createElementNS("http://www.w3.org/1999/xhtml", "div");
  box.append(...m.excerpt(SOURCE, RANGES));
  return box.innerHTML.replaceAll(' xmlns="http://www.w3.org/1999/xhtml"', "");
}"""


def drawn(source: str, ranges: list[list[int]]) -> str:
    return DRAW.replace("SOURCE", json.dumps(source)).replace("RANGES", json.dumps(ranges))


@pytest.mark.parametrize(
    ("source", "html"),
    [
        ("plain 1 * 2 * 3 snake_case_name", "plain 1 * 2 * 3 snake_case_name"),
        ("# Head\ntext", "<strong>Head</strong>\ntext"),
        ("a `code *x*` b", "a <code>code *x*</code> b"),
        ("**bold `c`** and *em*", "<strong>bold </strong><strong><code>c</code></strong> and <em>em</em>"),
        ("- one\n  - two\n1. three", "• one\n  • two\n1. three"),
        ("> quoted", "quoted"),
        ("see [the page](docs/a.md).", "see the page."),
        ("a\n```sh\n- x `y`\n```\nb", "a\n<code>- x `y`\n</code>b"),
        ("open `tick and **star", "open `tick and **star"),
    ],
)
async def test_a_passage_hides_its_markup(run, source, html):
    assert await run("excerpt", drawn(source, [])) == html


async def test_marks_stay_on_their_words_when_markup_is_hidden(run):
    source = "# Top\n\n- The `row` is **final**. Next."
    start, end = source.index("The"), source.index(" Next")
    marked = "<mark>The <code>row</code> is <strong>final</strong>.</mark>"
    assert await run("excerpt", drawn(source, [[start, end]])) == f"<strong>Top</strong>\n\n• {marked} Next."
    half = source.index("inal")
    split = "<mark>The <code>row</code> is <strong>f</strong></mark><strong>inal</strong>. Next."
    assert await run("excerpt", drawn(source, [[start, half]])) == f"<strong>Top</strong>\n\n• {split}"


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_passages_take_no_time(run, name):
    script = f"""m => {{
      const from = performance.now();
      const found = m.pieces({HOSTILE[name]!r});
      return [found.at(-1).to, performance.now() - from];
    }}"""
    covered, took = await asyncio.wait_for(run("excerpt", script), 30)
    assert covered == len(HOSTILE[name])
    assert took < 1_000


@pytest.mark.parametrize(
    ("passage", "claim", "marked"),
    [
        (
            "One thing. The row is the terminal of a turn. End.",
            "so the **row** is the terminal of a turn",
            ["The row is the terminal of a turn."],
        ),
        ("先读记录。网关请求快照并继续推送。其他。", "网关请求快照并继续推送", ["网关请求快照并继续推送。"]),
        (
            "RabbitMQ 3.10 and 4.0 are supported. Others are not.",
            "RabbitMQ 3.10 and 4.0 are supported",
            ["RabbitMQ 3.10 and 4.0 are supported."],
        ),
        ("Nothing of that kind is said.", "An unrelated claim about weather", []),
    ],
)
async def test_the_supporting_sentence_is_found(run, passage, claim, marked):
    script = f"m => m.support({passage!r}, {claim!r}).map(([a, b]) => {passage!r}.slice(a, b))"
    assert await run("passages", script) == marked


@pytest.mark.parametrize(
    ("low", "high", "marks"),
    [
        (19.9, 23.2, [19, 20, 21, 22, 23, 24]),
        (7.1, 7.6, [7, 7.2, 7.4, 7.6]),
        (-3, 3, [-4, -2, 0, 2, 4]),
        (980, 1040, [980, 1000, 1020, 1040]),
    ],
)
async def test_a_chart_has_round_levels_that_cover_its_readings(run, low, high, marks):
    assert await run("../demo/chart", f"m => m.ticks({low}, {high}, 4)") == marks


async def test_a_single_reading_has_a_place_in_a_chart(run):
    assert await run("../demo/chart", "m => [[20], [0], [-4, -4]].map((each) => m.range(each))") == [
        [19, 21],
        [-1, 1],
        [-4.2, -3.8],
    ]


async def test_readings_are_drawn_by_sensor_from_old_to_new(run):
    script = """m => {
      const reading = (sensor, hour, value) => ({sensor, value, timestamp: `2026-01-01T0${hour}:00:00+00:00`});
      const lines = m.series([reading("a", 3, "2.50"), reading("b", 2, "7"), reading("a", 1, "2.40")]);
      return [...lines].map(([sensor, points]) => [sensor, points.map((point) => point.shown)]);
    }"""
    assert await run("../demo/chart", script) == [["a", ["2.40", "2.50"]], ["b", ["7"]]]


@pytest.mark.parametrize(
    ("text", "places", "parts"),
    [
        ("abcdef", [[1, 3]], [["a", 0], ["bc", 1], ["def", 0]]),
        ("abcdef", [[4, 6], [0, 2]], [["ab", 1], ["cd", 0], ["ef", 1]]),
        ("abcdef", [[1, 3], [1, 3]], [["a", 0], ["bc", 2], ["def", 0]]),
        ("abcdef", [[0, 4], [2, 6]], [["abcd", 1], ["ef", 1]]),
        ("🙂🙂条款", [[2, 4]], [["🙂🙂", 0], ["条款", 1]]),
        ("abc", [[2, 90]], [["ab", 0], ["c", 1]]),
        ("abc", [], [["abc", 0]]),
    ],
)
async def test_findings_are_marked_where_they_stand(run, text, places, parts):
    script = f"""m => m.pieces({json.dumps(text)}, {json.dumps(places)}.map(([start, end]) => ({{start, end}})))
      .map((piece) => [piece.text, piece.findings.length])"""
    assert await run("../demo/passages", script) == parts
