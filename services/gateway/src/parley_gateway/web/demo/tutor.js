// D2: begin a session at the engine, then talk over the address that it gave.

import { byId } from "../assets/dom.js";
import { ask, bubble, Line, phase, reason, say, setUp, Wire } from "./common.js";

setUp();
phase("idle");
const wire = new Wire();
const said = byId("said");
let line = null;
let session = null;

function refused(text) {
  byId("refused").hidden = !text;
  byId("refused").textContent = text;
}

async function begin() {
  refused("");
  byId("start").disabled = true;
  const student = byId("student-id").value.trim();
  const wanted = { tutor_id: Number(byId("tutor-id").value), student_id: /^\d{1,15}$/.test(student) ? Number(student) : student, kb_id: byId("kb-id").value.trim() || null };
  const answer = await ask("/v1/sessions", { method: "POST", json: wanted });
  byId("start").disabled = false;
  if (!answer.ok) return refused(await reason(answer));
  const told = await answer.json();
  session = told.session_id;
  said.replaceChildren();
  byId("session").textContent = session;
  byId("room").hidden = byId("end").hidden = false;
  byId("start").hidden = true;
  line = new Line(() => told.engine_url, { wire, frame: hears, closed: over });
  byId("text").focus();
  return null;
}

function hears(frame) {
  if (frame.type === "text") bubble(said, "assistant", frame.content, { label: say("Tutor", "导师"), markdown: true });
  else if (frame.type === "error") bubble(said, "notice bad", frame.content);
  said.setAttribute("aria-busy", "false");
}

function over(code) {
  if (said.getAttribute("aria-busy") === "true") bubble(said, "notice bad", say("The connection was lost; ask again.", "连接已断开，请重新提问。"));
  said.setAttribute("aria-busy", "false");
  if (code === 1001 || code === 1006) return;
  bubble(said, "notice", say("The session is over.", "会话已结束。"));
  byId("end").hidden = true;
  byId("start").hidden = false;
}

async function end() {
  const answer = await ask(`/v1/sessions/${session}`, { method: "DELETE" });
  if (!answer.ok) refused(await reason(answer));
}

byId("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  begin();
});
byId("end").addEventListener("click", end);
byId("talk").addEventListener("submit", (event) => {
  event.preventDefault();
  const content = byId("text").value.trim();
  if (!content) return;
  byId("text").value = "";
  bubble(said, "mine", content);
  said.setAttribute("aria-busy", "true");
  line.send({ type: "text", content });
});
