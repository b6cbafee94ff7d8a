// D4: what a recogniser would send, typed or played; statuses as they come, answers as they stream.

import { byId, h, langOf } from "../assets/dom.js";
import { token } from "../assets/store.js";
import { bubble, Line, say, setUp, socketAddress, Wire } from "./common.js";

const SETTLE_MS = 150;
const WORD_MS = 160;
const SCRIPT = ["嗯，好的。", "What is a fence?", "We shipped it on Tuesday.", "断线之后，客户端怎样继续接收同一个回答？"];
const STAGES = { listening: ["Listening", "在听"], analyzing: ["Analyzing", "分析"], querying_rag: ["Looking it up", "检索"], idle: ["Idle", "空闲"], paused: ["Paused", "已暂停"] };

setUp();
const wire = new Wire(() => line.open());
const heard = byId("heard");
let session = null;
let answer = null;
let timer = null;
let script = null;

function hears(frame) {
  if (frame.type === "ack" && frame.received_type === "connect") session ??= frame.session_id;
  else if (frame.type === "status") stage(frame.stage);
  else if (frame.type === "answer") piece(frame);
  else if (frame.type === "error") bubble(heard, "notice bad", `${frame.code}: ${frame.message}`);
}

function piece(frame) {
  if (frame.stream_index === 0 || answer === null) answer = bubble(heard, "assistant", "", { label: say("Answer", "回答"), markdown: true });
  if (frame.restarted) answer.set("");
  answer.add(frame.content);
  if (!frame.final) return;
  answer.item.dataset.final = "true";
  if (!answer.text) answer.item.remove();
  answer = null;
}

function stage(name) {
  byId("stages").dataset.now = name;
  const items = Object.entries(STAGES).map(([each, words]) => h("li", { "data-stage": each, "aria-current": each === name ? "step" : null }, say(...words)));
  byId("stages").replaceChildren(...items);
}

function chunk(text, final) {
  clearTimeout(timer);
  byId("interim").textContent = final ? "" : text;
  byId("interim").lang = langOf(text);
  if (final) bubble(heard, "mine", text);
  line.send({ type: "asr_chunk", text, is_final: final, session_id: session });
}

// Interim texts as a recogniser makes them, each the whole so far; then the final one.
export function hypotheses(text) {
  const units = /\p{Script=Han}/u.test(text) ? text.match(/.{1,4}/gu) : text.split(/(?<= )/);
  return units.map((_, at) => units.slice(0, at + 1).join("").trim());
}

function play(texts) {
  const steps = texts.flatMap((text) => [...hypotheses(text).map((part) => [part, false]), [text, true]]);
  const next = () => {
    const step = steps.shift();
    if (!step) return halt();
    chunk(...step);
    script = setTimeout(next, WORD_MS);
    return null;
  };
  next();
  byId("play").textContent = say("Stop the script", "停止脚本");
}

function halt() {
  clearTimeout(script);
  script = null;
  byId("interim").textContent = "";
  byId("play").textContent = say("Play a script", "播放脚本");
}

const line = new Line(() => socketAddress("/ws/realtime-asr", { token: token.get() }), { wire, frame: hears });
stage("idle");

byId("words").addEventListener("input", () => {
  clearTimeout(timer);
  const text = byId("words").value.trim();
  if (text) timer = setTimeout(() => chunk(text, false), SETTLE_MS);
});
byId("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("words").value.trim();
  byId("words").value = "";
  if (text) chunk(text, true);
});
for (const action of ["pause", "resume", "stop"]) byId(action).addEventListener("click", () => line.send({ type: "control", action }));
byId("play").addEventListener("click", () => (script === null ? play(SCRIPT) : halt()));
