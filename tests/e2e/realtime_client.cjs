// The official JavaScript client, unchanged: asks one question and prints what came of it as JSON.
const OpenAI = require("openai").default;
const { OpenAIRealtimeWS } = require("openai/realtime/ws");

const [baseURL, question] = process.argv.slice(2);
const kinds = [];
let said = "";

const client = new OpenAI({ baseURL, apiKey: "none" });
const realtime = new OpenAIRealtimeWS({ model: "parley" }, client);

realtime.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
realtime.on("event", (event) => kinds.push(event.type));
realtime.on("session.created", () => {
  realtime.send({ type: "session.update", session: { type: "realtime", output_modalities: ["text"] } });
  realtime.send({
    type: "conversation.item.create",
    item: { type: "message", role: "user", content: [{ type: "input_text", text: question }] },
  });
  realtime.send({ type: "response.create" });
});
realtime.on("response.output_text.delta", (event) => {
  said += event.delta;
});
realtime.on("response.done", (event) => {
  console.log(JSON.stringify({ kinds, said, response: event.response }));
  realtime.close();
});
