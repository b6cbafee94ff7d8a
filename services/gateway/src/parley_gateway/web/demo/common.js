// What the pages of the dialects share: words in two languages, the socket with its frames shown, bubbles of a talk.

import { byId, h, langOf } from "../assets/dom.js";
import { render } from "../assets/markdown.js";
import { choices, token } from "../assets/store.js";

const MOST_FRAMES = 200;
const MOST_SHOWN = 2_000;
const AGAIN_MS = 3_000;

export const PAGES = [
  { name: "data", path: "/", words: ["Data assistant", "数据助手"], about: ["Questions about measured data, with a chart of the readings used.", "询问测量数据，并画出所用的读数。"] },
  { name: "contact", path: "/contact", words: ["Contact chat", "联系聊天"], about: ["A visitor, the assistant, and the owner who may step in.", "访客、助手，以及可以加入的主人。"] },
  { name: "tutor", path: "/ws/ws/{session_id}", words: ["Tutor session", "辅导会话"], about: ["A session with a memory and a knowledge base of its own.", "有记忆和自己知识库的会话。"] },
  { name: "review", path: "/ws/review/{task_id}", words: ["Contract review", "合同审查"], about: ["Progress, and risky clauses marked in the text with the rule cited.", "审查进度，以及在原文中标出的风险条款和所依据的规则。"] },
  { name: "asr", path: "/ws/realtime-asr", words: ["Realtime speech text", "实时语音文本"], about: ["Interim and final texts in, questions answered as a stream.", "输入中间和最终文本，流式回答其中的问题。"] },
];

export const chinese = /^zh\b/i.test(navigator.language ?? "");

export function say(english, han) {
  return chinese ? han : english;
}

// The page's static words, its links and its theme. Returns the element that frames are shown in.
export function setUp() {
  document.documentElement.lang = chinese ? "zh-CN" : "en";
  if (chinese) for (const element of document.querySelectorAll("[data-zh]")) element.textContent = element.dataset.zh;
  const here = document.body.dataset.page;
  byId("nav").replaceChildren(...PAGES.map(({ name, words }) => h("a", { href: `${name}.html`, "aria-current": name === here ? "page" : null }, say(...words))));
  byId("nav").querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const now = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    root.dataset.theme = now === "dark" ? "light" : "dark";
    choices.set("theme", root.dataset.theme);
  });
}

// Where the gateway is: this page lies one folder below it, whatever a proxy puts before.
export function address(path, params = {}) {
  const url = new URL(`..${path}`, location.href);
  for (const [name, value] of Object.entries(params)) if (value) url.searchParams.set(name, value);
  return url;
}

export function socketAddress(path, params = {}) {
  const url = address(path, params);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

// Where the gateway cannot be reached the answer says so: there always is one.
export async function ask(path, { method = "GET", json, body, bearer = token.get() } = {}) {
  const headers = {};
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  const away = { detail: say("The gateway cannot be reached; try again.", "无法连接网关，请重试。") };
  const request = { method, headers, body: json === undefined ? body : JSON.stringify(json) };
  return fetch(address(path), request).catch(() => new Response(JSON.stringify(away), { status: 503 }));
}

// What an answer that refuses says, in whichever shape.
export async function reason(answer) {
  const told = await answer.json().catch(() => ({}));
  return String(told.detail ?? told.error?.message ?? told.message ?? `HTTP ${answer.status}`);
}

export function phase(name, text) {
  const link = byId("link");
  link.dataset.phase = name;
  const words = { open: say("Connected", "已连接"), connecting: say("Connecting", "正在连接"), waiting: say("Reconnecting", "正在重新连接"), stopped: say("Closed", "已关闭"), idle: say("Not connected", "未连接") };
  byId("link-text").textContent = text ?? words[name];
}

// The frames of a page as they went over the wire, and the token that its sockets carry.
export class Wire {
  constructor(changed) {
    this.list = h("ol", { class: "frames" });
    const box = h("input", { id: "page-token", type: "password", autocomplete: "off", spellcheck: "false", placeholder: say("only where one is demanded", "仅在需要时") });
    box.value = token.get() ?? "";
    box.addEventListener("change", () => {
      token.set(box.value.trim());
      changed?.();
    });
    const label = h("label", { class: "field" }, h("span", null, say("Token", "令牌")), box);
    this.root = h("details", { class: "wire" }, h("summary", null, say("Frames and token", "消息与令牌")), label, this.list);
    document.querySelector("main").append(this.root);
  }

  add(way, text) {
    const shown = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text;
    this.list.prepend(h("li", { class: way, lang: langOf(shown) }, shown));
    if (this.list.children.length > MOST_FRAMES) this.list.lastChild.remove();
  }
}

// A socket that comes back by itself, unless it was closed here or refused (1008). `url` is asked for each time.
export class Line {
  constructor(url, { frame, opened, closed, wire, againMs = AGAIN_MS, shown = phase, parse = JSON.parse }) {
    Object.assign(this, { url, frame, opened, closed, wire, againMs, shown, parse });
    this.waiting = [];
    this.open();
  }

  open() {
    clearTimeout(this.timer);
    this.over = false;
    this.shown("connecting");
    const before = this.socket;
    const socket = new WebSocket(this.url());
    this.socket = socket;
    before?.close();
    socket.onopen = () => {
      this.shown("open");
      this.opened?.();
      for (const text of this.waiting.splice(0)) this.#write(text);
    };
    socket.onmessage = ({ data }) => {
      this.wire?.add("in", data);
      this.frame(this.parse(data));
    };
    socket.onclose = ({ code }) => this.socket === socket && this.#closed(code);
  }

  // Sent at once, or when the socket is open.
  send(frame) {
    const text = JSON.stringify(frame);
    if (this.ready) this.#write(text);
    else this.waiting.push(text);
  }

  get ready() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  close() {
    this.over = true;
    clearTimeout(this.timer);
    this.socket.close();
  }

  #write(text) {
    this.wire?.add("out", text);
    this.socket.send(text);
  }

  #closed(code) {
    const over = this.over || code === 1008 || code === 1000;
    this.shown(over ? "stopped" : "waiting");
    this.closed?.(code);
    if (!over) this.timer = setTimeout(() => this.open(), this.againMs);
  }
}

// One thing said in a talk. The text of an assistant is drawn as Markdown; all others as they are.
export function bubble(list, who, text, { label = "", markdown = false } = {}) {
  const words = h("div", { class: markdown ? "words answer" : "words", lang: langOf(text) });
  const item = h("li", { class: who }, label ? h("span", { class: "who" }, label) : null, words);
  const said = { item, words, text: "", add: (more) => said.set(said.text + more), set: (whole) => show(said, whole, markdown, list) };
  list.append(item);
  said.set(text);
  return said;
}

function show(said, whole, markdown, list) {
  said.text = whole;
  if (markdown) render(said.words, whole, () => null, "");
  else said.words.textContent = whole;
  list.scrollTop = list.scrollHeight;
}

export function tags(root, texts) {
  root.replaceChildren(...texts.filter(Boolean).map((text) => h("span", { class: "tag" }, text)));
}

export const now = () => new Date().toISOString();
