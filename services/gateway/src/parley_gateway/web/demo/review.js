// D3: hand a contract in, watch its progress, see the risky clauses where they stand.

import { byId, h, langOf } from "../assets/dom.js";
import { token } from "../assets/store.js";
import { ask, Line, phase, reason, say, setUp, socketAddress, tags, Wire } from "./common.js";
import { pieces, worst } from "./passages.js";

const BEAT_MS = 30_000;
const SAMPLE = `采购合同

甲方（买方）：北方水务有限公司
乙方（卖方）：南方水泵制造有限公司

第一条 标的
甲方向乙方采购工业水泵二十台，合同总价人民币贰拾万元。

第二条 付款方式
合同签订后三日内，甲方应一次性支付全部货款，乙方收到款项后安排生产。

第三条 价格调整
乙方有权根据原材料价格波动随时调整合同单价，甲方不得因此拒收。

第四条 责任限制
因货物质量问题造成的停工损失、利润损失等间接损失，乙方概不负责。

第五条 保密
双方对在履行本合同过程中知悉的商业秘密负有保密义务。

第六条 争议解决
协商不成的，提交乙方所在地人民法院诉讼解决。
`;
const RISKS = { high: ["high risk", "高风险"], medium: ["medium risk", "中风险"], low: ["low risk", "低风险"], unknown: ["not judged", "未能评估"] };

setUp();
phase("idle");
const wire = new Wire();
let line = null;
let beat = null;
let watched = null;

function watch(task) {
  watched = task;
  line?.close();
  clearInterval(beat);
  byId("state").hidden = false;
  byId("result").hidden = true;
  byId("refused").hidden = true;
  progress({ progress: 0, message: say("Waiting", "等待中") });
  line = new Line(() => socketAddress(`/ws/review/${task}`, { token: token.get() }), { wire, frame: (frame) => watched === task && heard(task, frame) });
  beat = setInterval(() => line.ready && line.send({ type: "heartbeat", timestamp: Date.now() }), BEAT_MS);
  history.replaceState(null, "", `?task=${task}`);
}

function heard(task, frame) {
  if (frame.type === "error") return failed(frame.message);
  if (frame.stage) progress(frame);
  return frame.stage === "complete" ? complete(task, frame.result) : null;
}

function progress(frame) {
  byId("progress").value = frame.progress;
  byId("percent").textContent = `${frame.progress} %`;
  byId("stage").textContent = frame.message;
  byId("stage").lang = langOf(frame.message);
}

function failed(message) {
  byId("refused").hidden = false;
  byId("refused").textContent = message;
}

async function complete(task, told) {
  const [text, whole] = await Promise.all([ask(`/v1/reviews/${task}/text`), told.truncated ? ask(`/v1/reviews/${task}`) : null]);
  if (!text.ok) return failed(await reason(text));
  const result = whole?.ok ? (await whole.json()).result : told;
  const words = await text.text();
  if (watched !== task) return null;
  draw(words, result);
  return null;
}

function draw(contract, result) {
  const counts = Object.keys(RISKS).filter((risk) => result.summary[risk]);
  tags(byId("summary"), [say(`${result.summary.clauses} clauses`, `${result.summary.clauses} 条`), ...counts.map((risk) => `${result.summary[risk]} ${say(...RISKS[risk])}`)]);
  byId("text").lang = langOf(contract);
  const parts = pieces(contract, result.findings);
  const marks = new Map();
  byId("text").replaceChildren(...parts.map((part) => (part.findings.length ? mark(part, marks) : part.text)));
  const cards = parts.flatMap((part) => part.findings).map((finding) => card(finding, marks.get(finding)));
  const none = h("li", { class: "none" }, say("No clause is against the rules of the playbook.", "没有发现违反审查规则的条款。"));
  byId("findings").replaceChildren(...(cards.length ? cards : [none]));
  byId("result").hidden = false;
}

function mark(part, marks) {
  const said = part.findings.map((finding) => finding.rule.title).join(", ");
  const show = () => focus(byId("findings").querySelector(`[data-number="${part.findings[0].number}"]`));
  const element = h("mark", { class: `risk ${worst(part.findings)}`, tabindex: "0", title: said, onclick: show, onkeydown: (event) => event.key === "Enter" && show() }, part.text);
  for (const finding of part.findings) marks.set(finding, element);
  return element;
}

function card(finding, place) {
  const { rule } = finding;
  const cited = h("p", { class: "cited" }, say("Rule: ", "规则："), h("strong", null, rule.title), rule.document ? h("code", null, rule.document) : null);
  return h(
    "li",
    { class: `finding ${finding.risk}`, "data-number": finding.number, lang: langOf(finding.reason) },
    h("button", { type: "button", class: "where", onclick: () => focus(place) }, h("span", { class: `level ${finding.risk}` }, say(...RISKS[finding.risk])), h("span", { class: "first" }, finding.clause.split("\n")[0])),
    h("p", null, finding.reason),
    cited,
  );
}

function focus(element) {
  if (!element) return;
  for (const lit of document.querySelectorAll(".lit")) lit.classList.remove("lit");
  element.classList.add("lit");
  element.scrollIntoView({ block: "center", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

// A text goes as JSON: a form would turn its line ends into those of a form, and offsets count them.
function contract() {
  const words = { role: byId("role").value, contract_type: "purchase" };
  const file = byId("file").files[0];
  if (!file) return { json: { ...words, text: byId("contract").value } };
  const form = new FormData();
  for (const [name, value] of Object.entries({ ...words, file })) form.set(name, value);
  return { body: form };
}

byId("contract").value = SAMPLE;
byId("file").addEventListener("change", () => {
  byId("file-name").textContent = byId("file").files[0]?.name ?? say("Choose a file (txt, md, pdf, docx)", "选择文件（txt、md、pdf、docx）");
});
// Words typed after a file was chosen are meant instead of it.
byId("contract").addEventListener("input", () => {
  byId("file").value = "";
  byId("file").dispatchEvent(new Event("change"));
});
byId("hand-in").addEventListener("submit", async (event) => {
  event.preventDefault();
  byId("refused").hidden = true;
  const answer = await ask("/v1/reviews", { method: "POST", ...contract() });
  if (!answer.ok) return failed(await reason(answer));
  watch((await answer.json()).task_id);
  return null;
});
byId("sample").addEventListener("click", () => watch(123));

const asked = new URLSearchParams(location.search).get("task");
if (/^\d+$/.test(asked ?? "")) watch(Number(asked));
