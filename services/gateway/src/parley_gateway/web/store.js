// The conversation, kept in localStorage so that a reload goes on where it was; and the small choices of a user.
//
// Each turn has its own key, written before the key that holds the session's position: a crash between the two
// leaves text that is newer than the position, and what the server then repeats is recognised by its `seq`.

export const MAX_TURNS = 50;
const MAX_CONVERSATIONS = 4;
const ROOT = "parley.talk.";
const LATEST = "parley.talks";
const OWN = "parley.talk";

function parse(text, fallback) {
  try {
    return JSON.parse(text) ?? fallback;
  } catch {
    return fallback;
  }
}

// Storage that may be forbidden or full: reads then find nothing, writes say so by returning false.
class Shelf {
  constructor(kind) {
    try {
      this.area = globalThis[kind];
    } catch {
      this.area = null;
    }
  }

  get(key) {
    try {
      return this.area?.getItem(key) ?? null;
    } catch {
      return null;
    }
  }

  set(key, value) {
    try {
      if (value === null) this.area?.removeItem(key);
      else this.area?.setItem(key, value);
      return true;
    } catch {
      return false;
    }
  }
}

const local = new Shelf("localStorage");
const tab = new Shelf("sessionStorage");

export const choices = {
  get: (name) => local.get(`parley.${name}`),
  set: (name, value) => local.set(`parley.${name}`, value),
};

// The token lives as long as the tab and is never written to disk by this page.
export const token = {
  get: () => tab.get("parley.token"),
  set: (value) => tab.set("parley.token", value || null),
};

export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Conversation {
  constructor(id) {
    this.id = id;
    const head = parse(local.get(ROOT + id), {});
    this.session = head.session ?? null;
    this.position = head.position ?? null;
    const known = Array.isArray(head.turns) ? head.turns : [];
    this.turns = known.map((turn) => parse(local.get(this.#key(turn)), null)).filter(Boolean);
    this.dirty = new Set();
    this.timer = null;
  }

  touch(turn) {
    if (turn) this.dirty.add(turn);
    this.timer ??= setTimeout(() => this.save(), 250);
  }

  add(turn) {
    this.turns.push(turn);
    while (this.turns.length > MAX_TURNS) this.#forget(this.turns.shift());
    this.touch(turn);
    this.save();
  }

  remove(turn) {
    this.turns = this.turns.filter((each) => each !== turn);
    this.#forget(turn);
    this.save();
  }

  save() {
    clearTimeout(this.timer);
    this.timer = null;
    for (const turn of this.dirty) {
      if (this.turns.includes(turn)) this.#write(this.#key(turn.id), turn);
    }
    this.dirty.clear();
    const turns = this.turns.map((turn) => turn.id);
    this.#write(ROOT + this.id, { session: this.session, position: this.position, turns });
  }

  // Where storage is full the oldest turns give way; the page itself still shows them.
  #write(key, value) {
    const text = JSON.stringify(value);
    for (let oldest = 0; !local.set(key, text) && oldest < this.turns.length; oldest += 1) {
      this.#forget(this.turns[oldest]);
    }
  }

  #forget(turn) {
    local.set(this.#key(turn.id), null);
    this.dirty.delete(turn);
  }

  #key(turn) {
    return `${ROOT}${this.id}.${turn}`;
  }
}

function remove(id) {
  const head = parse(local.get(ROOT + id), {});
  for (const turn of Array.isArray(head.turns) ? head.turns : []) local.set(`${ROOT}${id}.${turn}`, null);
  local.set(ROOT + id, null);
}

// Two tabs must not write one conversation: a lock, held while the tab lives, says whose it is. Browsers without
// locks (plain http on another host) take it unasked.
function take(id) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    const hold = (lock) => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise(() => {});
    };
    navigator.locks.request(ROOT + id, { ifAvailable: true }, hold).catch(() => resolve(true));
  });
}

export async function openConversation({ fresh = false } = {}) {
  const latest = parse(local.get(LATEST), []);
  const list = Array.isArray(latest) ? latest.filter((id) => typeof id === "string") : [];
  const wanted = fresh ? [] : [tab.get(OWN), list[0]].filter(Boolean);
  for (const id of new Set(wanted)) {
    if (await take(id)) return own(id, list);
  }
  const id = randomId();
  await take(id);
  return own(id, list);
}

function own(id, list) {
  const ordered = [id, ...list.filter((other) => other !== id)];
  for (const old of ordered.splice(MAX_CONVERSATIONS)) remove(old);
  local.set(LATEST, JSON.stringify(ordered));
  tab.set(OWN, id);
  return new Conversation(id);
}
