// D1: a visitor's socket, and beside it the owner's. The visitor's comes back after 5 s, for ever.

import { byId, h } from "../assets/dom.js";
import { token } from "../assets/store.js";
import { ask, bubble, Line, now, reason, say, setUp, socketAddress, Wire } from "./common.js";

const AGAIN_MS = 5_000;
const PAGE = 1_000;
const MOST_OLDER = 200;
const WHO = { visitor: ["Visitor", "访客"], assistant: ["Assistant", "助手"], owner: ["Owner", "主人"] };

setUp();
const wire = new Wire(() => visitor.open());
const log = byId("visitor-log");

const visitor = new Line(() => socketAddress("/contact", { token: token.get() }), {
  wire,
  againMs: AGAIN_MS,
  frame(frame) {
    if (frame.type === "connection_established") byId("client").textContent = frame.client_id.slice(0, 8);
    else if (frame.type === "chat_message") {
      const sender = frame.sender ?? "assistant";
      bubble(log, sender, frame.message, { label: say(...WHO[sender]), markdown: sender === "assistant" });
    } else if (frame.type === "error") bubble(log, "notice bad", frame.message);
    else if (frame.type === "contact_request_received") bubble(log, "notice good", frame.message);
  },
});

function saying(form, box, send) {
  byId(form).addEventListener("submit", (event) => {
    event.preventDefault();
    const text = byId(box).value.trim();
    if (text) send(text);
    byId(box).value = "";
  });
}

saying("visitor-form", "visitor-text", (message) => {
  bubble(log, "mine", message);
  visitor.send({ type: "chat_message", message, timestamp: now() });
});

byId("request").addEventListener("click", () => {
  const message = byId("visitor-text").value.trim() || say("Please contact me.", "请联系我。");
  byId("visitor-text").value = "";
  bubble(log, "mine", message);
  visitor.send({ type: "contact_request", message, timestamp: now(), userAgent: navigator.userAgent });
});

// The owner's side.

const board = byId("owner-log");
const known = new Set();
let owner = null;
let secret = "";
let last = 0;
let held = null; // frames that come while the inbox is read

function hears(frame) {
  if (frame.type === "connection_established") return joined();
  if (frame.type === "error") return owner.joined ? bubble(board, "notice bad", frame.message) : refused(frame.message);
  if (!frame.sender || frame.client_id === undefined) return null;
  return held ? held.push(frame) : put(frame);
}

function put(frame, when = "") {
  if (known.has(frame.id)) return;
  known.add(frame.id);
  last = Math.max(last, frame.id);
  const client = frame.client_id ? frame.client_id.slice(0, 8) : say("to everybody", "致所有人");
  const kind = frame.type === "contact_request" ? say(" asks to be contacted", " 请求联系") : "";
  const label = `${say(...WHO[frame.sender])} ${client}${kind}${when}`;
  if (frame.sender === "visitor") choose(frame.client_id, client);
  bubble(board, frame.sender === "owner" ? "mine" : frame.sender, frame.message, { label, markdown: frame.sender === "assistant" });
}

// What was kept before he came, or while his socket was away: the last of it. Pages are told oldest first.
async function older(first) {
  let kept = [];
  for (let after = last, more = true; more; ) {
    const answer = await ask(`/v1/contact/messages?after=${after}&limit=${PAGE}`, { bearer: secret });
    if (!answer.ok) {
      bubble(board, "notice bad", await reason(answer));
      break;
    }
    const { messages, next } = await answer.json();
    kept = [...kept, ...messages].slice(-MOST_OLDER);
    more = messages.length === PAGE;
    after = next;
  }
  for (const { kind, ...message } of kept) put({ type: kind, ...message }, ` · ${moment(message.timestamp)}`);
  if (first && kept.length) bubble(board, "notice", say("Written before you came.", "以上是您加入之前的消息。"));
}

function moment(time) {
  return new Date(time).toLocaleString(undefined, { dateStyle: "short", timeStyle: "short" });
}

function choose(id, shown) {
  const list = byId("owner-to");
  const there = [...list.options].find((option) => option.value === id);
  if (!there) list.append(h("option", { value: id }, shown));
  if (document.activeElement !== byId("owner-text") && document.activeElement !== list) list.value = id;
}

async function joined() {
  const first = !owner.joined;
  owner.joined = true;
  byId("owner-join").hidden = true;
  board.hidden = byId("owner-form").hidden = false;
  held ??= [];
  await older(first);
  for (const frame of held?.splice(0) ?? []) put(frame);
  held = null;
  if (!board.children.length) bubble(board, "notice", say("What visitors write from now on is shown here.", "此后访客的消息会显示在这里。"));
}

function refused(message) {
  byId("owner-refused").hidden = false;
  byId("owner-refused").textContent = message;
}

function state(name) {
  byId("owner-state").textContent = { open: say("online", "在线"), waiting: say("reconnecting", "正在重新连接"), connecting: "…", stopped: say("offline", "离线") }[name];
}

byId("owner-join").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("owner-refused").hidden = true;
  secret = byId("owner-token").value.trim();
  // A refused upgrade has no reason that a page may read; this answer has.
  const answer = await ask("/v1/contact/messages?limit=1", { bearer: secret });
  if (!answer.ok) return refused(await reason(answer));
  byId("owner-token").value = "";
  owner?.close();
  owner = new Line(() => socketAddress("/contact", { role: "owner", token: secret }), { wire, frame: hears, shown: state, againMs: AGAIN_MS });
  return null;
});

saying("owner-form", "owner-text", (message) => {
  if (byId("owner-to").value) owner.send({ type: "owner_reply", client_id: byId("owner-to").value, message });
  else bubble(board, "notice", say("No visitor has written yet.", "还没有访客的消息。"));
});

byId("broadcast").addEventListener("click", async () => {
  const box = byId("owner-text");
  const message = box.value.trim();
  if (!message) return box.focus();
  box.value = "";
  const answer = await ask("/v1/contact/broadcast", { method: "POST", json: { message }, bearer: secret });
  if (!answer.ok) return bubble(board, "notice bad", await reason(answer));
  const { reached } = await answer.json();
  return bubble(board, "notice good", say(`Open pages reached: ${reached}`, `已送达 ${reached} 个打开的页面。`));
});
