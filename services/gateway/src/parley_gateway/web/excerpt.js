// A passage drawn as light text: Markdown's marks are hidden and code, emphasis and list items shown as such, while
// every character keeps its place in the source, so that ranges found in the source can be marked.

import { h } from "./dom.js";

// Every repetition is bounded, so no text makes this slow.
const MARKUP = new RegExp(
  [
    /^[ \t]{0,3}(?<fence>```|~~~)[^\n]{0,80}\n(?<block>(?:(?![ \t]{0,3}(?:```|~~~))[^\n]{0,2000}\n?){0,500})(?:[ \t]{0,3}(?:```|~~~)[^\n]{0,80}\n?)?/,
    /^[ \t]{0,3}#{1,6}[ \t]{1,4}(?<heading>[^\n]{1,1000})/,
    /^(?<quote>[ \t]{0,3}>[ \t]?)/,
    /^(?<indent>[ \t]{0,12})(?<bullet>[-*+][ \t]{1,4})(?=\S)/,
    /`(?<code>[^`\n]{1,500})`/,
    /\*\*(?=\S)(?<bold>[^*\n]{1,1000})\*\*/,
    /(?<![\w*])\*(?=[^\s*])(?<italic>[^*\n]{1,1000})\*(?![\w*])/,
    /\[(?<label>[^[\]\n]{1,500})\]\([^()\s]{0,1000}\)/,
  ]
    .map((part) => part.source)
    .join("|"),
  "gmu",
);
const TAGS = { block: "code", heading: "strong", code: "code", bold: "strong", italic: "em", label: null };
const MAX_DEPTH = 4;

// -> [{from, to, text, tags}]: what is drawn for each piece of the source, in order and without holes; pure.
// A piece whose text is not as long as its place is drawn whole or not at all.
export function pieces(source, from = 0, to = source.length, tags = []) {
  const found = [];
  const add = (start, end, text, own = tags) => end > start && found.push({ from: start, to: end, text, tags: own });
  const part = source.slice(from, to);
  let last = from;
  for (const match of tags.length < MAX_DEPTH ? part.matchAll(MARKUP) : []) {
    const start = from + match.index;
    const end = start + match[0].length;
    add(last, start, source.slice(last, start));
    found.push(...piece(source, match, start, end, tags));
    last = end;
  }
  add(last, to, source.slice(last, to));
  return found;
}

function piece(source, match, start, end, tags) {
  const { quote, bullet, indent } = match.groups;
  if (quote !== undefined) return [{ from: start, to: end, text: "", tags }];
  if (bullet !== undefined) return [{ from: start, to: end, text: `${indent}• `, tags }];
  const name = Object.keys(TAGS).find((each) => match.groups[each] !== undefined);
  const body = match.groups[name];
  const inner = start + match[0].indexOf(body, name === "block" ? match[0].indexOf("\n") : 0);
  const within = TAGS[name] ? [...tags, TAGS[name]] : tags;
  const plain = TAGS[name] === "code";
  const drawn = plain ? [{ from: inner, to: inner + body.length, text: body, tags: within }] : pieces(source, inner, inner + body.length, within);
  const hidden = (from, to) => (to > from ? [{ from, to, text: "", tags }] : []);
  return [...hidden(start, inner), ...drawn.filter((each) => each.to > each.from), ...hidden(inner + body.length, end)];
}

// The nodes of the passage, with a <mark> around each of the ranges [[from, to], ...], which must be in order.
export function excerpt(source, ranges) {
  const all = pieces(source);
  const nodes = [];
  let last = 0;
  for (const [from, to] of ranges) {
    nodes.push(...draw(all, last, from), h("mark", null, draw(all, from, to)));
    last = to;
  }
  return [...nodes, ...draw(all, last, source.length)];
}

function draw(all, from, to) {
  const nodes = [];
  for (const piece of all) {
    const whole = piece.text.length !== piece.to - piece.from;
    // A piece that is drawn whole belongs to where it begins.
    const within = whole ? piece.from >= from && piece.from < to : piece.to > from && piece.from < to;
    if (!within) continue;
    const text = whole ? piece.text : piece.text.slice(Math.max(0, from - piece.from), to - piece.from);
    if (text) nodes.push(piece.tags.reduceRight((node, tag) => h(tag, null, node), text));
  }
  return nodes;
}
