// Finds, in a passage, the sentence that a cited claim rests on. Pure.

const SKIPPED = /[\s*_`#|>~\\-]/u;
const SENTENCE_END = /[.!?。！？；\n]/u;
const MAX_CLAIM = 400;
const MAX_PASSAGE = 8_000;

// The text without spaces and Markdown marks, with the place of each kept character in the original.
function squeeze(text) {
  const kept = [];
  const places = [];
  for (let at = 0; at < text.length; at += 1) {
    if (SKIPPED.test(text[at])) continue;
    kept.push(text[at].toLowerCase());
    places.push(at);
  }
  return { kept, places };
}

// The longest run of characters that both have, as [start in passage, length]; dynamic programming over one row.
function longestCommonRun(passage, claim) {
  let best = [0, 0];
  let above = new Uint16Array(claim.length + 1);
  for (let p = 1; p <= passage.length; p += 1) {
    const row = new Uint16Array(claim.length + 1);
    for (let c = 1; c <= claim.length; c += 1) {
      if (passage[p - 1] !== claim[c - 1]) continue;
      row[c] = above[c - 1] + 1;
      if (row[c] > best[1]) best = [p - row[c], row[c]];
    }
    above = row;
  }
  return best;
}

function isSentenceEnd(text, at) {
  if (!SENTENCE_END.test(text[at])) return false;
  // A point inside a number or a name (3.10, amqp.py) ends nothing.
  return text[at] !== "." || at + 1 >= text.length || /\s/.test(text[at + 1]);
}

// -> [start, end] of the supporting sentence(s) in the passage, or null where the wording does not overlap enough:
// 6 characters where they are Chinese, else 14, and a third of a short claim.
export function support(passageText, claimText) {
  const passage = squeeze(passageText.slice(0, MAX_PASSAGE));
  const claim = squeeze(claimText.slice(-MAX_CLAIM));
  const [start, length] = longestCommonRun(passage.kept, claim.kept);
  const han = /\p{Script=Han}/u.test(passage.kept.slice(start, start + length).join(""));
  if (length < Math.min(han ? 6 : 14, Math.max(3, claim.kept.length)) || length * 6 < claim.kept.length) return null;
  let from = passage.places[start];
  let to = passage.places[start + length - 1];
  while (from > 0 && !isSentenceEnd(passageText, from - 1)) from -= 1;
  while (to < passageText.length && !isSentenceEnd(passageText, to)) to += 1;
  while (from < to && /\s/.test(passageText[from])) from += 1;
  const end = Math.min(passageText.length, passageText[to] === "\n" ? to : to + 1);
  return [from, end];
}

// What a citation mark speaks for: the words before it in its block, back to the mark before that.
export function claimBefore(mark) {
  const block = mark.closest("p, li, td, th, h3, h4, h5, h6") ?? mark.parentElement;
  const marks = [...block.querySelectorAll(".cite")];
  const range = document.createRange();
  for (let number = marks.indexOf(mark) - 1; number >= -1; number -= 1) {
    if (number >= 0) range.setStartAfter(marks[number]);
    else range.setStart(block, 0);
    range.setEndBefore(mark);
    const text = range.toString().replace(/^[\s\d.,;:，。；、]+/u, "");
    if (text.length > 3) return text;
  }
  return "";
}
