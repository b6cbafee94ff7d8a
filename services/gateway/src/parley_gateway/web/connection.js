// The connection as a pure state machine: step(state, event) -> {state, effects}. No socket, no clock, no timer.
//
// Guarantees, given a driver that performs the effects in order:
// - the first frame on each socket is `hello`, with the cursor the driver read at that moment;
// - `ready` is emitted once per socket, after `welcome`, so nothing is sent before the server knows the session;
// - after a close in 4100-4199 it stays stopped until the user acts; after any other close it tries again, after
//   0.2 s doubling to 10 s, each spread by a factor of 0.5 to 1 so that many pages do not return together;
// - a socket that stays silent for 2.5 heartbeats is closed and replaced.

export const FIRST_DELAY_MS = 200;
export const LAST_DELAY_MS = 10_000;
const WELCOME_MS = 10_000;
const STABLE_MS = 3_000;
const DEFAULT_BEAT_MS = 15_000;
// A draining server that has still not closed after this is left.
const LEAVE_MS = 60_000;

// Close codes a browser may send; 4000 asks the server to keep the session for the resume.
const CLOSE_RESUME = 4000;

export const NO_TOKEN = 4101;

export function initial() {
  return {
    phase: "idle", // idle | connecting | greeting | open | waiting | stopped
    attempt: 0,
    retryMs: 0,
    drainMs: null, // set while the server drains: when to come back
    degraded: false,
    code: null, // the last close code
    beatMs: DEFAULT_BEAT_MS,
  };
}

export function mayResume(code) {
  return !(code >= 4100 && code <= 4199);
}

export function backoff(attempt, random) {
  const whole = Math.min(LAST_DELAY_MS, FIRST_DELAY_MS * 2 ** Math.min(attempt, 16));
  return Math.round(whole * (0.5 + random / 2));
}

// Whether turns may be sent now; while the server drains they wait for the next socket.
export function accepting(state) {
  return state.phase === "open" && state.drainMs === null;
}

export function step(state, event) {
  const handler = HANDLERS[event.type];
  return handler ? handler(state, event) : stay(state);
}

const HANDLERS = {
  start: (state) => (state.phase === "idle" || state.phase === "stopped" ? connect(state) : stay(state)),
  // The network came back, the page became visible, or the user asked: do not wait out the delay.
  wake: (state) => (state.phase === "waiting" ? connect({ ...state, attempt: 0 }) : probe(state)),
  opened: (state, { cursor }) => {
    if (state.phase !== "connecting") return stay(state);
    const timer = { do: "timer", name: "welcome", ms: WELCOME_MS };
    return { state: { ...state, phase: "greeting" }, effects: [{ do: "send", frame: hello(cursor) }, timer] };
  },
  frame: (state, { frame }) => receive(state, frame),
  closed: (state, { code, random }) => closed(state, code, random),
  timer: (state, { name }) => expired(state, name),
  // The page saw a hole in a turn's numbers: only a new socket, from the last position, can fill it.
  resync: (state) => (state.phase === "open" ? drop(state) : stay(state)),
};

function stay(state) {
  return { state, effects: [] };
}

function hello({ session, position, pending, token }) {
  const frame = { type: "hello" };
  if (session) frame.session = session;
  if (session && position) frame.position = position;
  if (pending?.length) frame.pending = pending;
  if (token) frame.token = token;
  return frame;
}

function connect(state) {
  const next = { ...state, phase: "connecting", drainMs: null, degraded: false };
  return { state: next, effects: [{ do: "clear" }, { do: "connect" }] };
}

function drop(state) {
  return { state, effects: [{ do: "close", code: CLOSE_RESUME }] };
}

function probe(state) {
  if (state.phase !== "open") return stay(state);
  return { state, effects: [{ do: "send", frame: { type: "ping" } }, silence(state)] };
}

function silence(state) {
  return { do: "timer", name: "silence", ms: Math.round(state.beatMs * 2.5) };
}

function receive(state, frame) {
  if (state.phase === "greeting") return greet(state, frame);
  if (state.phase !== "open") return stay(state);
  const alive = silence(state);
  if (frame.type === "pong") return { state, effects: [alive] };
  if (frame.type === "degraded") return { state: { ...state, degraded: true }, effects: [alive] };
  if (frame.type === "restored") return { state: { ...state, degraded: false }, effects: [alive] };
  if (frame.type === "draining") {
    const ms = Math.max(0, Number(frame.reconnect_in_ms) || 0);
    return { state: { ...state, drainMs: ms }, effects: [alive, { do: "timer", name: "drain", ms }] };
  }
  return { state, effects: [alive, { do: "deliver", frame }] };
}

function greet(state, frame) {
  // An `error` may come before the close that explains it; it is for the user to see.
  if (frame.type !== "welcome") return { state, effects: [{ do: "deliver", frame }] };
  const beatMs = clamp((Number(frame.heartbeat_s) || 0) * 1000 || DEFAULT_BEAT_MS, 500, 120_000);
  const next = { ...state, phase: "open", beatMs, code: null };
  const effects = [
    { do: "clear" },
    { do: "timer", name: "beat", ms: beatMs / 2 },
    { do: "timer", name: "stable", ms: STABLE_MS },
    silence(next),
    { do: "deliver", frame },
    { do: "ready" },
  ];
  return { state: next, effects };
}

function closed(state, code, random) {
  if (state.phase === "idle" || state.phase === "stopped") return stay(state);
  if (!mayResume(code)) {
    const next = { ...state, phase: "stopped", code, attempt: 0, drainMs: null, degraded: false };
    return { state: next, effects: [{ do: "clear" }] };
  }
  const planned = state.drainMs !== null;
  const retryMs = planned ? state.drainMs : backoff(state.attempt, random);
  const attempt = planned ? 0 : state.attempt + 1;
  const next = { ...state, phase: "waiting", code, attempt, retryMs, drainMs: null, degraded: false };
  // A draining server named the moment to return; that timer runs on, whenever the close comes.
  if (planned && retryMs > 0) return { state: next, effects: [{ do: "clear", keep: "drain" }] };
  return { state: next, effects: [{ do: "clear" }, { do: "timer", name: "retry", ms: retryMs }] };
}

function expired(state, name) {
  if ((name === "retry" || name === "drain") && state.phase === "waiting") return connect(state);
  if (name === "welcome" && state.phase === "greeting") return drop(state);
  if (state.phase !== "open") return stay(state);
  if (name === "silence" || name === "leave") return drop(state);
  // The server closes when the turn that runs has ended; until then its answer goes on here.
  if (name === "drain") return { state: { ...state, drainMs: 0 }, effects: [{ do: "timer", name: "leave", ms: LEAVE_MS }] };
  if (name === "stable") return stay({ ...state, attempt: 0 });
  if (name === "beat") {
    const again = { do: "timer", name: "beat", ms: state.beatMs / 2 };
    return { state, effects: [{ do: "send", frame: { type: "ping" } }, again] };
  }
  return stay(state);
}

function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
