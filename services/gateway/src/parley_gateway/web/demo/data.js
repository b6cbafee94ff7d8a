// D0: one question at a time; the reply with a chart for each metric in `data_used`.

import { byId, h, langOf } from "../assets/dom.js";
import { render } from "../assets/markdown.js";
import { token } from "../assets/store.js";
import { Chart } from "./chart.js";
import { Line, say, setUp, socketAddress, tags, Wire } from "./common.js";

const SAMPLES = ["查询最近的水温数据", "过去24小时溶解氧的平均值", "What was the highest water temperature last week?", "pH trend over the last 3 days", "What is a fence?"];
const NAMES = { temp: ["Water temperature", "水温"], do: ["Dissolved oxygen", "溶解氧"], ph: ["pH", "pH"], turbidity: ["Turbidity", "浊度"], air_temp: ["Air temperature", "气温"], humidity: ["Humidity", "湿度"], level: ["Water level", "水位"] };

let charts = [];

// Numbers keep the digits that they came with (23.50, not 23.5), where the browser can tell them.
function parse(text) {
  return JSON.parse(text, (key, value, context) => (key === "value" && typeof value === "number" ? (context?.source ?? String(value)) : value));
}

function shown(reply) {
  byId("reply").hidden = false;
  const root = byId("answer");
  root.lang = langOf(reply.response ?? "");
  root.classList.toggle("refused", reply.status !== "success");
  render(root, String(reply.response ?? ""), () => null, "");
  tags(byId("facts"), [reply.intent, reply.route_decision?.decision, reply.session_id && `session ${reply.session_id.slice(0, 8)}`]);
  for (const chart of charts) chart.dispose();
  const entries = (reply.data_used ?? []).filter((entry) => entry.readings?.length);
  charts = entries.map((entry) => new Chart(entry, say(...(NAMES[entry.metric] ?? [entry.metric, entry.metric]))));
  byId("charts").replaceChildren(...charts.map((chart) => chart.root));
  byId("reply").setAttribute("aria-busy", "false");
}

// A reply is not sent again to another socket.
function lost() {
  if (byId("reply").getAttribute("aria-busy") !== "true") return;
  shown({ status: "error", response: say("The connection was lost; ask again.", "连接已断开，请重新提问。") });
}

setUp();
const wire = new Wire(() => line.open());
const line = new Line(() => socketAddress("/", { token: token.get() }), { frame: shown, closed: lost, wire, parse });

function send(message) {
  if (!message.trim()) return;
  byId("reply").hidden = false;
  byId("reply").setAttribute("aria-busy", "true");
  byId("question").textContent = message;
  byId("question").lang = langOf(message);
  line.send({ message, context: {} });
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  send(byId("message").value);
});
byId("samples").replaceChildren(
  ...SAMPLES.map((text) =>
    h("button", { type: "button", class: "plain", lang: langOf(text), onclick: () => ((byId("message").value = text), send(text)) }, text),
  ),
);
