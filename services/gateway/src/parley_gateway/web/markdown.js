// A small, safe part of Markdown as DOM nodes: paragraphs, headings, lists, quotes, tables, code, bold, italic,
// links (http and https only) and citation marks such as [1]. Everything else stays the text it is.
//
// render() keeps the nodes of blocks whose source did not change, so a streaming answer redraws its last block
// alone and a selection or focus in the rest survives.

import { h, langOf } from "./dom.js";

// Every repetition below is bounded or ends at its first wrong character, so no text makes them slow.
const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]{0,4}([\w+#.-]{0,40})[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(\S.*)$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const QUOTE = /^\s{0,3}>\s?(.*)$/;
const TABLE_LINE = /^(?=[^-]*-)(?=[^|]*\|)[\s:|-]+$/;
// Quotes and lists within each other beyond this are shown as the text they are.
const MAX_DEPTH = 8;

// -> [{kind, lines, ...}]; pure
export function blocks(text) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const found = [];
  let at = 0;
  while (at < lines.length) {
    if (!lines[at].trim()) {
      at += 1;
      continue;
    }
    const block = readFence(lines, at) ?? readSingle(lines, at) ?? readTable(lines, at) ?? readRun(lines, at);
    found.push(block);
    at += block.lines.length;
  }
  return found;
}

function readFence(lines, at) {
  const open = FENCE.exec(lines[at]);
  if (!open) return null;
  let end = at + 1;
  const closes = (line) => line.trim().startsWith(open[1]) && !line.trim().slice(open[1].length).replaceAll(open[1][0], "");
  while (end < lines.length && !closes(lines[end])) end += 1;
  const body = lines.slice(at + 1, end).join("\n");
  return { kind: "code", language: open[2], body, lines: lines.slice(at, end + 1) };
}

function readSingle(lines, at) {
  const heading = HEADING.exec(lines[at]);
  if (heading) return { kind: "heading", level: heading[1].length, body: heading[2].trimEnd(), lines: [lines[at]] };
  return RULE.test(lines[at]) ? { kind: "rule", lines: [lines[at]] } : null;
}

function readTable(lines, at) {
  if (!lines[at].includes("|") || !TABLE_LINE.test(lines[at + 1] ?? "")) return null;
  let end = at + 2;
  while (end < lines.length && lines[end].includes("|")) end += 1;
  return { kind: "table", lines: lines.slice(at, end) };
}

function readRun(lines, at) {
  const kind = ITEM.test(lines[at]) ? "list" : QUOTE.test(lines[at]) ? "quote" : "text";
  let end = at + 1;
  while (end < lines.length && continues(kind, lines, end)) end += 1;
  return { kind, lines: lines.slice(at, end) };
}

function continues(kind, lines, at) {
  const line = lines[at];
  if (kind === "list") {
    // A blank line ends a list unless another item or an indented line follows it.
    if (!line.trim()) return ITEM.test(lines[at + 1] ?? "") || /^\s{2,}\S/.test(lines[at + 1] ?? "");
    return ITEM.test(line) || !(FENCE.test(line) || HEADING.test(line));
  }
  if (!line.trim()) return false;
  if (kind === "quote") return QUOTE.test(line);
  return ![FENCE, HEADING, RULE, QUOTE, ITEM].some((start) => start.test(line));
}

export const INLINE = new RegExp(
  [
    /(?<!`)`(?<code>[^`]+)`(?!`)/,
    /(?<!`)``(?!`)(?<code2>(?:[^`]|`(?!`))+)``(?!`)/,
    /\*\*(?=\S)(?<bold>.{1,2000}?)(?<=\S)\*\*/,
    /(?<![\w*])\*(?=[^\s*])(?<italic>[^*]+)(?<=\S)\*(?![\w*])/,
    /(?:\[|【)(?<cite>\d{1,3}(?:\s*[,，、]\s*\d{1,3})*)(?:\]|】)(?!\()/,
    /\[(?<label>[^[\]]{1,500})\]\((?<href>[^()\s]{0,2000}(?:\([^()\s]{0,500}\)[^()\s]{0,500})?)\)/,
    /(?<auto>https?:\/\/[^\s<>"'`*|()[\]\u3000-\u303f\uff00-\uffef]{1,2000})/,
    /\\(?<plain>[\\`*_{}[\]()#+\-.!|>~])/,
  ]
    .map((part) => part.source)
    .join("|"),
  "gu",
);

export function safeHref(text) {
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

function link(href, children) {
  return h("a", { href, target: "_blank", rel: "noopener noreferrer nofollow" }, children);
}

// cite(number) -> node, or null where there is no such source
export function inline(text, cite) {
  const nodes = [];
  let last = 0;
  for (const match of text.matchAll(INLINE)) {
    const node = inlineNode(match, cite);
    if (node === null) continue;
    nodes.push(text.slice(last, match.index), ...node);
    last = match.index + match[0].length;
  }
  nodes.push(text.slice(last));
  return nodes.filter((node) => node !== "");
}

function inlineNode(match, cite) {
  const { code: single, code2, bold, italic, cite: marks, label, href, auto, plain } = match.groups;
  const code = single ?? code2;
  if (code !== undefined) return [h("code", null, code.replace(/^ (.+) $/, "$1"))];
  if (bold !== undefined) return [h("strong", null, inline(bold, cite))];
  if (italic !== undefined) return [h("em", null, inline(italic, cite))];
  if (plain !== undefined) return [plain];
  if (marks !== undefined) {
    const found = marks.split(/\s*[,，、]\s*/).map((number) => cite(Number(number)));
    return found.every(Boolean) ? found : null;
  }
  if (auto !== undefined) return autoLink(auto);
  const safe = safeHref(href);
  return safe && [link(safe, inline(label, () => null))];
}

function autoLink(text) {
  const bare = text.replace(/[.,;:!?]+$/, "");
  const safe = safeHref(bare);
  return safe && [link(safe, bare), text.slice(bare.length)];
}

function withBreaks(lines, cite) {
  return lines.flatMap((line, number) => {
    const nodes = inline(line.trim(), cite);
    return number ? [h("br"), ...nodes] : nodes;
  });
}

const BUILD = {
  code: (block) => {
    const code = h("code", null, block.body);
    return h("pre", { tabindex: "0", "data-language": block.language || null }, code);
  },
  heading: (block, cite) => h(`h${Math.min(6, block.level + 2)}`, null, inline(block.body, cite)),
  rule: () => h("hr"),
  text: (block, cite) => h("p", null, withBreaks(block.lines, cite)),
  list: (block, cite, depth) => list(block.lines, cite, depth),
  table: (block, cite) => table(block.lines, cite),
  quote: (block, cite, depth) => {
    const inner = block.lines.map((line) => QUOTE.exec(line)[1]).join("\n");
    return h("blockquote", null, blocks(inner).map((each) => build(each, cite, depth + 1)));
  },
};

function build(block, cite, depth = 0) {
  return BUILD[depth > MAX_DEPTH ? "text" : block.kind](block, cite, depth);
}

// The lines of one list; deeper lines belong to the item above them.
function list(lines, cite, depth) {
  const first = ITEM.exec(lines[0]);
  const indent = first[1].length;
  const ordered = /\d/.test(first[2]);
  const root = h(ordered ? "ol" : "ul", { start: ordered && Number.parseInt(first[2], 10) !== 1 ? Number.parseInt(first[2], 10) : null });
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= indent + 1) items.push({ own: [item[3]], deeper: [] });
    else if (!line.trim()) continue;
    else if (items.at(-1).deeper.length || item) items.at(-1).deeper.push(line);
    else items.at(-1).own.push(line);
  }
  for (const { own, deeper } of items) {
    const nested = blocks(deeper.join("\n")).map((block) => build(block, cite, depth + 1));
    root.append(h("li", null, withBreaks(own, cite), nested));
  }
  return root;
}

function table(lines, cite) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const row = (tag) => (line) => h("tr", null, cells(line).map((cell) => h(tag, null, inline(cell, cite))));
  const body = h("tbody", null, lines.slice(2).map(row("td")));
  return h("div", { class: "table", tabindex: "0" }, h("table", null, h("thead", null, row("th")(lines[0])), body));
}

const SOURCE = Symbol("source");

// Makes `container` show `text`. `version` names what else the nodes depend on (the sources of the citations).
export function render(container, text, cite, version = "") {
  const wanted = blocks(text);
  const present = [...container.children];
  wanted.forEach((block, number) => {
    const source = `${version}\n${block.kind}\n${block.lines.join("\n")}`;
    const old = present[number];
    if (old?.[SOURCE] === source) return;
    const node = build(block, cite);
    node.lang = langOf(source);
    node[SOURCE] = source;
    if (old) old.replaceWith(node);
    else container.append(node);
  });
  for (const extra of present.slice(wanted.length)) extra.remove();
}
