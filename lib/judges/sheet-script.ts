// What runs in a sheet: marks are gathered, kept where the browser lets pages of files keep something, and saved as a file.
export const SHEET_STYLE = `
section.card { margin: 1.2rem 0; } section.card h2 { margin: 0 0 .4rem; } .asked { font-size: 1.1rem; font-weight: 600; white-space: pre-wrap; } .two { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.said { white-space: pre-wrap; overflow-wrap: anywhere; min-height: 3rem; padding: .6rem .8rem; border-left: 3px solid var(--c0); background: var(--paper); }
fieldset { border: 0; padding: .25rem 0; margin: 0; } legend { color: var(--soft); font-size: .85rem; padding: 0; } label { margin-right: 1rem; cursor: pointer; } .better { border-top: 1px solid var(--rule); margin-top: .6rem; padding-top: .6rem; }
.bar { position: sticky; top: 0; background: var(--paper); padding: .6rem 0; border-bottom: 1px solid var(--rule); z-index: 1; } section.done { border-color: var(--good); } audio { width: 100%; }
@media (max-width: 40rem) { .two { grid-template-columns: 1fr; } }
`;

export const SCRIPT = `
"use strict";
const sheet = document.body.dataset.sheet, place = "anymal-judge-" + sheet;
const judge = document.getElementById("judge"), count = document.getElementById("count");
const cards = [...document.querySelectorAll("section[data-pair]")];
const RUBRIC = ["recognition", "accuracy", "integrity"];
const marked = (name) => document.querySelector('input[name="' + name + '"]:checked')?.value;
function gathered() {
  const verdicts = {};
  for (const card of cards) {
    const name = card.dataset.name, better = marked(name + "-better");
    card.classList.toggle("done", better !== undefined);
    if (better === undefined) continue;
    const verdict = { better };
    for (const side of ["left", "right"]) {
      const points = {};
      for (const what of RUBRIC) { const value = marked(name + "-" + side + "-" + what); if (value !== undefined) points[what] = Number(value); }
      if (Object.keys(points).length) verdict[side] = points;
    }
    verdicts[card.dataset.pair] = verdict;
  }
  return { sheet, judge: judge.value.trim(), verdicts };
}
function tell() {
  const made = gathered();
  count.textContent = Object.keys(made.verdicts).length + " of " + cards.length + " judged";
  const marks = [...document.querySelectorAll("input:checked")].map((input) => [input.name, input.value]);
  try { localStorage.setItem(place, JSON.stringify({ judge: judge.value, marks })); } catch {}
}
try {
  const kept = JSON.parse(localStorage.getItem(place));
  judge.value = kept.judge;
  for (const [name, value] of kept.marks) { const input = document.querySelector('input[name="' + name + '"][value="' + value + '"]'); if (input) input.checked = true; }
} catch {}
document.addEventListener("input", tell);
document.addEventListener("keydown", (event) => {
  if (event.target === judge || event.ctrlKey || event.metaKey || event.altKey || !"123".includes(event.key)) return;
  const middle = innerHeight / 2;
  const card = cards.find((one) => one.getBoundingClientRect().bottom > middle);
  if (!card) return;
  card.querySelectorAll('input[name="' + card.dataset.name + '-better"]')[Number(event.key) - 1].checked = true;
  tell();
});
document.getElementById("save").addEventListener("click", () => {
  const made = gathered();
  if (!made.judge) { judge.focus(); count.textContent = "your name is needed, or any that tells judges apart"; return; }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(made, null, 2)], { type: "application/json" }));
  link.download = "verdicts-" + made.judge.replace(/[^A-Za-z0-9]+/g, "-") + ".json";
  link.click();
});
tell();
`;
