// Where a contract's text is marked. Pure. Offsets are code points, as the server counts them.

const ORDER = ["high", "unknown", "medium", "low"];

export function worst(findings) {
  return ORDER.find((risk) => findings.some((finding) => finding.risk === risk)) ?? "low";
}

// The text in pieces, in order and without gap or overlap: {text, findings}, findings empty for what lies between.
export function pieces(text, findings) {
  const characters = [...text];
  const places = new Map();
  for (const finding of findings) {
    const key = `${finding.start}:${finding.end}`;
    places.set(key, [...(places.get(key) ?? []), finding]);
  }
  const found = [];
  let from = 0;
  for (const there of [...places.values()].sort(([one], [other]) => one.start - other.start || one.end - other.end)) {
    const start = Math.max(from, there[0].start);
    const end = Math.min(characters.length, there[0].end);
    if (end <= start) continue;
    if (start > from) found.push({ text: characters.slice(from, start).join(""), findings: [] });
    found.push({ text: characters.slice(start, end).join(""), findings: there });
    from = end;
  }
  if (from < characters.length) found.push({ text: characters.slice(from).join(""), findings: [] });
  return found;
}
