// One turn as data, and how each event of the server changes it. Pure: no page, no clock.
//
// Guarantee: an event is applied at most once and in the order of `seq`. A lower number is a duplicate; a higher
// one is a hole, which the caller fills by resuming from the last position.

export const ENDED = new Set(["completed", "cancelled", "failed", "expired", "refused"]);

export function create(id, text, kb, now) {
  return {
    id,
    text,
    kb,
    spoken: false, // said, not typed: its text is what is heard, and the server alone can ask it
    speak: null, // how its answer is read aloud, where it is
    state: "unsent", // unsent | sent | accepted | completed | cancelled | failed | expired | refused
    stage: null,
    stages: [], // every stage seen, in order
    answer: "",
    attempt: 1,
    sources: [],
    intent: null,
    route: null,
    seq: 0, // the number expected next; null: whatever comes (the server told of a gap)
    cancelling: false,
    error: null, // {code, message, retryable, retryAt}
    sentAt: now, // epoch milliseconds, as this browser measured them
    firstAt: null,
    doneAt: null,
    latency: null,
    usage: null,
  };
}

export function ended(turn) {
  return ENDED.has(turn.state);
}

// -> "applied" | "duplicate" | "gap"
export function apply(turn, frame, now) {
  // That it runs is the last word, even after a refusal of another submission of the same turn.
  if (turn.state === "refused") revive(turn);
  if (ended(turn)) return "duplicate";
  if (Number.isInteger(frame.seq)) {
    if (turn.seq !== null && frame.seq < turn.seq) return "duplicate";
    if (turn.seq !== null && frame.seq > turn.seq) return "gap";
    if (turn.seq === null && frame.seq === 0) restart(turn);
    turn.seq = frame.seq + 1;
  }
  // What is heard is told while it is being said.
  if (!frame.type.startsWith("transcript.")) accept(turn);
  EVENTS[frame.type]?.(turn, frame, now);
  return "applied";
}

function revive(turn) {
  turn.state = "accepted";
  turn.error = null;
  turn.doneAt = null;
}

// After a gap the server may tell a turn from its start; what came before it is said again.
function restart(turn) {
  turn.answer = "";
  turn.sources = [];
}

function accept(turn) {
  if (turn.state === "unsent" || turn.state === "sent") turn.state = "accepted";
}

const EVENTS = {
  "turn.status": (turn, frame) => enter(turn, String(frame.stage ?? "")),
  "transcript.partial": hear,
  "transcript.final": (turn, frame, now) => {
    hear(turn, frame);
    // An answer's time counts from the question being known, not from when the user began to speak.
    if (turn.spoken && turn.sentAt !== null) turn.sentAt = now;
  },
  retrieval: (turn, frame) => {
    turn.intent = frame.intent ?? null;
    turn.route = frame.route ?? null;
    turn.sources = sourcesOf(frame.sources);
  },
  "answer.delta": (turn, frame, now) => {
    if (!frame.text) return;
    turn.firstAt ??= now;
    turn.answer += frame.text;
  },
  "turn.restarted": (turn, frame) => {
    turn.attempt = Number(frame.attempt) || turn.attempt + 1;
    turn.answer = "";
  },
  "turn.done": (turn, frame, now) => finish(turn, frame, now),
};

function hear(turn, frame) {
  if (turn.spoken) turn.text = String(frame.text ?? "");
}

function enter(turn, stage) {
  turn.stage = stage;
  if (stage && !turn.stages.includes(stage)) turn.stages.push(stage);
}

function finish(turn, frame, now) {
  turn.state = ENDED.has(frame.status) ? frame.status : "completed";
  // The record is the answer: where the deltas differ, the record stands.
  if (typeof frame.text === "string") turn.answer = frame.text;
  if (turn.answer) turn.firstAt ??= now;
  if (Array.isArray(frame.sources) && frame.sources.length) turn.sources = sourcesOf(frame.sources);
  turn.latency = frame.latency ?? null;
  turn.usage = frame.usage ?? null;
  if (frame.fault) turn.error = errorOf(frame.fault, now);
  turn.doneAt = now;
  turn.stage = null;
  turn.cancelling = false;
}

// Codes by which the server says that it holds nothing of the turn.
const FORGOTTEN = new Set(["unknown_turn", "gap"]);

// `error` with a turn: before acceptance it refuses the turn; afterwards it only explains, for `turn.done` follows.
export function fail(turn, frame, now) {
  if (ended(turn)) return;
  if (FORGOTTEN.has(frame.code)) {
    // A turn that was only sent is sent again after each `welcome`; one that was accepted is lost.
    if (turn.state === "accepted") lose(turn, now);
    return;
  }
  turn.error = errorOf(frame, now);
  if (turn.state === "accepted") return;
  turn.state = "refused";
  turn.doneAt = now;
  turn.cancelling = false;
}

function errorOf({ code, message, retryable, retry_after_ms: wait }, now) {
  const retryAt = wait > 0 ? now + wait : null;
  return { code: String(code ?? ""), message: String(message ?? ""), retryable: retryable === true, retryAt };
}

// The server no longer knows this session, so it will never tell how the turn ended.
export function lose(turn, now) {
  if (ended(turn)) return;
  turn.state = "failed";
  turn.error = { code: "session_lost", message: "", retryable: true, retryAt: null };
  turn.doneAt = now;
}

// The user took it back before it was ever sent.
export function withdraw(turn, now) {
  turn.state = "cancelled";
  turn.doneAt = now;
}

function sourcesOf(list) {
  if (!Array.isArray(list)) return [];
  return list.map((source) => ({
    id: String(source.id ?? ""),
    document: String(source.document ?? ""),
    title: String(source.title ?? ""),
    text: String(source.text ?? ""),
    score: Number.isFinite(source.score) ? source.score : null,
    start: Number.isInteger(source.start) ? source.start : null,
    end: Number.isInteger(source.end) ? source.end : null,
  }));
}

// How long the turn took as this browser saw it, in milliseconds; null where it was not measured.
export function measured(turn) {
  const since = (at) => (at === null || turn.sentAt === null ? null : Math.max(0, at - turn.sentAt));
  return { first: since(turn.firstAt), total: since(turn.doneAt) };
}

// The server's latency record: milliseconds since the gateway took the turn in, and each stage as {stage, wait, work}.
export function latencyOf(latency) {
  if (latency === null || typeof latency !== "object") return null;
  const number = (value) => (Number.isFinite(value) ? Math.max(0, value) : null);
  const stages = (Array.isArray(latency.stages) ? latency.stages : [])
    .filter((hop) => Array.isArray(hop) && typeof hop[0] === "string")
    .map(([stage, wait, work]) => ({ stage, wait: number(wait) ?? 0, work: number(work) ?? 0 }));
  const [accepted, first, total] = ["accepted_ms", "first_token_ms", "total_ms"].map((key) => number(latency[key]));
  return { accepted, first, total, stages };
}
