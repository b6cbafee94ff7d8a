// Elements built as nodes: text given to these helpers can never become markup.

// h("p", {class: "note", onclick: act}, "text", node, null): attributes by name, listeners by on..., no nulls.
export function h(tag, props, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

// Line icons on a 20 x 20 grid; decoration only, so hidden from screen readers.
export const ICONS = {
  copy: "M7 7V4.5A1.5 1.5 0 0 1 8.5 3h7A1.5 1.5 0 0 1 17 4.5v7a1.5 1.5 0 0 1-1.5 1.5H13 M4.5 7h7A1.5 1.5 0 0 1 13 8.5v7a1.5 1.5 0 0 1-1.5 1.5h-7A1.5 1.5 0 0 1 3 15.5v-7A1.5 1.5 0 0 1 4.5 7z",
  done: "M4 10.5 8.2 15 16 5.5",
  speak: "M3.5 8v4h2.8L10 15V5L6.3 8z M12.8 7.6a3.4 3.4 0 0 1 0 4.8M15 5.4a6.5 6.5 0 0 1 0 9.2",
  retry: "M16 10a6 6 0 1 1-2-4.5L16 7.3M16 3.5v3.8h-3.8",
  warn: "M10 6.5v4.2M10 13.6v.1M10 2.8 18 16.8H2z",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

// Fonts, line breaks and quotation marks differ; one Chinese character is enough to want the Chinese ones.
export function langOf(text) {
  return /\p{Script=Han}/u.test(text) ? "zh-CN" : "en";
}

export function byId(id) {
  return document.getElementById(id);
}
