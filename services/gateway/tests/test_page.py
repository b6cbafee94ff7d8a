"""The chat page as HTTP: types, caching, security headers, and nothing from another host."""

import base64
import hashlib
import re
from importlib import resources
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from parley_gateway.api import page

pytestmark = pytest.mark.unit

STANDALONE = "websocket_test.html"
CLIENTS = Path(__file__).parents[3] / "tools" / "clients"


@pytest.fixture
async def http():
    transport = httpx.ASGITransport(app=Starlette(routes=page.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://page.test") as client:
        yield client


def web_files(*folders: str) -> dict[str, str]:
    folder = resources.files("parley_gateway").joinpath("web", *folders)
    return {entry.name: entry.read_text("utf-8") for entry in folder.iterdir() if entry.is_file()}


def all_files() -> dict[str, str]:
    return web_files() | {f"demo/{name}": text for name, text in web_files("demo").items()}


async def test_root_is_the_page(http):
    reply = await http.get("/")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "text/html; charset=utf-8"
    assert "<title>Parley</title>" in reply.text


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("app.js", "text/javascript; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ],
)
async def test_assets_have_their_types(http, name, content_type):
    reply = await http.get(f"/assets/{name}")
    assert (reply.status_code, reply.headers["content-type"]) == (200, content_type)


async def test_security_headers_on_every_answer(http):
    paths = ("/", "/assets/app.js", "/favicon.ico", "/assets/absent.js", "/demo/", "/demo", f"/demo/{STANDALONE}")
    for path in paths:
        reply = await http.get(path)
        policy = reply.headers["content-security-policy"]
        assert policy.startswith("default-src 'self'; connect-src 'self' ws: wss:;")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert reply.headers["x-content-type-options"] == "nosniff"


async def test_a_held_copy_is_confirmed_without_a_body(http):
    first = await http.get("/assets/style.css")
    again = await http.get("/assets/style.css", headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert again.headers["cache-control"] == "no-cache"


async def test_a_stale_copy_is_replaced(http):
    reply = await http.get("/", headers={"If-None-Match": '"0123"'})
    assert reply.status_code == 200
    assert reply.content


async def test_each_file_has_its_own_etag(http):
    tags = {name: (await http.get(f"/assets/{name}")).headers["etag"] for name in web_files()}
    assert len(set(tags.values())) == len(tags) > 5


@pytest.mark.parametrize("name", ["absent.js", "..%2Fapi%2Fpage.py", "%2e%2e%2fconfig.py", ""])
async def test_nothing_else_is_served(http, name):
    reply = await http.get(f"/assets/{name}")
    assert reply.status_code == 404


async def test_other_methods_are_refused(http):
    assert (await http.post("/")).status_code == 405
    head = await http.head("/")
    assert (head.status_code, head.content) == (200, b"")


def test_the_pages_have_no_inline_script_or_style():
    pages = {name: text for name, text in all_files().items() if name.endswith(".html")}
    assert len(pages) == 8
    del pages[f"demo/{STANDALONE}"]
    for name, html in pages.items():
        assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", html) == [], name
        assert re.findall(r"<style\b|\sstyle=|\son\w+=", html) == [], name


async def test_the_page_of_one_file_may_run_its_own_script_and_no_other(http):
    reply = await http.get(f"/demo/{STANDALONE}")
    before, _, rest = reply.text.partition("<script>")
    script = rest.partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"; script-src 'self' 'sha256-{digest}'" in reply.headers["content-security-policy"]
    assert "script" not in before
    assert re.findall(r"\ssrc=|\shref=|\son\w+=", reply.text) == []


async def test_the_page_of_one_file_is_the_one_among_the_test_clients(http):
    assert (await http.get(f"/demo/{STANDALONE}")).content == (CLIENTS / STANDALONE).read_bytes()


async def test_demo_has_its_index_behind_any_prefix(http):
    reply = await http.get("/demo")
    assert (reply.status_code, reply.headers["location"]) == (308, "demo/")
    listed = (await http.get("/demo/")).text
    assert listed == web_files("demo")["index.html"]


@pytest.mark.parametrize("name", ["data", "contact", "review", "asr", "tutor"])
async def test_each_dialect_has_a_page(http, name):
    reply = await http.get(f"/demo/{name}.html")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    wanted = re.findall(r"(?:src|href)=\"([^\"#]+)\"", reply.text)
    assert f"{name}.js" in wanted
    assert [each for each in wanted if (await http.get(f"/demo/{each}")).status_code != 200] == []


def test_the_page_names_no_other_host():
    allowed = {"http://www.w3.org/2000/svg"}  # the SVG namespace is a name, nothing is fetched from it
    for name, text in all_files().items():
        assert set(re.findall(r"(?:https?:)?//[a-z0-9-]+(?:\.[a-z0-9-]+)+[^\s\"'`)]*", text)) <= allowed, name


def test_every_import_and_link_names_a_file_of_the_page():
    files = web_files()
    for name, text in files.items():
        wanted = re.findall(r"from \"\./([^\"]+)\"", text) + re.findall(r"(?:src|href)=\"assets/([^\"]+)\"", text)
        assert [each for each in wanted if each not in files] == [], name
    demo = web_files("demo")
    for name, text in demo.items():
        own, shared = (re.findall(rf"from \"{folder}/([^\"]+)\"", text) for folder in (r"\.", r"\.\./assets"))
        assert [each for each in own if each not in demo] + [each for each in shared if each not in files] == [], name


def test_every_module_is_asked_for_at_once():
    files = web_files()
    preloaded = re.findall(r"<link rel=\"modulepreload\" href=\"assets/([^\"]+)\">", files["index.html"])
    # What runs on the audio thread is loaded when somebody wants sound.
    modules = {name for name in files if name.endswith(".js")} - {"theme.js", "app.js", "voice-worklet.js"}
    assert sorted(preloaded) == sorted(modules)


def test_model_text_never_becomes_markup():
    forbidden = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
    assert [name for name, text in all_files().items() if forbidden.search(text)] == []


def test_modules_stay_small():
    assert {name: n for name, text in all_files().items() if (n := text.count("\n")) >= 400} == {}
