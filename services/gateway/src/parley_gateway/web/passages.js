// Finds, in a passage, the sentences that a cited claim rests on.

const SKIPPED = /[\s*_`#|>~\\-]/u;
const SENTENCE_END = /[.!?。！？；\n]/u;
const MAX_CLAIM = 400;
const MAX_PASSAGE = 8_000;

// The characters of the text without spaces and Markdown marks, in lower case.
function squeeze(text) {
  return Array.from(text.toLowerCase()).filter((character) => !SKIPPED.test(character));
}

// The length of the longest run of characters that both have; dynamic programming over one row.
function longestCommonRun(one, other) {
  let best = 0;
  let above = new Uint16Array(other.length + 1);
  for (let i = 1; i <= one.length; i += 1) {
    const row = new Uint16Array(other.length + 1);
    for (let j = 1; j <= other.length; j += 1) {
      if (one[i - 1] !== other[j - 1]) continue;
      row[j] = above[j - 1] + 1;
      if (row[j] > best) best = row[j];
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

// [start, end] of each sentence, without the space around it.
function sentences(text) {
  const found = [];
  let from = 0;
  for (let at = 0; at <= text.length; at += 1) {
    if (at < text.length && !isSentenceEnd(text, at)) continue;
    const end = text[at] === "\n" ? at : Math.min(at + 1, text.length);
    const words = text.slice(from, end);
    if (words.trim()) found.push([from + words.length - words.trimStart().length, from + words.trimEnd().length]);
    from = end;
  }
  return found;
}

// How many characters in a row make a quotation rather than chance: Chinese says more with each.
function enough(characters) {
  return /\p{Script=Han}/u.test(characters.join("")) ? 6 : 14;
}

// -> [[start, end], ...] of the sentences of the passage that the claim repeats: half of the sentence in one run,
// or a run too long for chance. None where the wording differs too much to tell.
export function support(passageText, claimText) {
  const claim = squeeze(claimText.slice(-MAX_CLAIM));
  return sentences(passageText.slice(0, MAX_PASSAGE)).filter(([start, end]) => {
    const sentence = squeeze(passageText.slice(start, end));
    const run = longestCommonRun(sentence, claim);
    const least = enough(sentence);
    return run >= Math.max(3, Math.min(least, claim.length)) && (run * 2 >= sentence.length || run * 2 >= least * 3);
  });
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
