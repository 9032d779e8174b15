// How a report looks: one column on a telephone, as many as there is room for elsewhere, dark where the reader's machine is.
export const STYLE = `
:root { color-scheme: light dark; --paper: #fff; --ink: #1c1e21; --soft: #62676e; --rule: #e3e5e8; --card: #f7f8f9; --c0: #2563c9; --c1: #c2570c; --c2: #15803d; --c3: #9333a8; --c4: #7a6a00; --good: #15803d; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #15171a; --ink: #e8eaed; --soft: #9aa0a8; --rule: #2e3238; --card: #1d2024; --c0: #7eb0ff; --c1: #ffa05c; --c2: #6fd08c; --c3: #d890ea; --c4: #d8c650; --good: #6fd08c; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 84rem; padding: 1.5rem clamp(.9rem, 3vw, 2.5rem) 3rem; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; } h2 { margin: 2.2rem 0 .8rem; font-size: 1.15rem; } h3 { margin: 0; font-size: .95rem; font-weight: 600; }
p { margin: .3rem 0; } .soft { color: var(--soft); } code { font-size: .9em; overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: .3rem 2rem; margin: 1rem 0 0; padding: 0; list-style: none; } .facts b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums; } .facts span { color: var(--soft); font-size: .85rem; }
.grid-of { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 23rem), 1fr)); gap: 1rem; }
.card { border: 1px solid var(--rule); border-radius: 10px; background: var(--card); padding: .8rem .9rem; min-width: 0; }
.head { display: flex; justify-content: space-between; gap: 1rem; } .head span { color: var(--soft); font-variant-numeric: tabular-nums; }
svg { display: block; width: 100%; height: auto; } svg text { fill: var(--soft); font: 11px system-ui, sans-serif; } .grid { stroke: var(--rule); } .line { fill: none; stroke-width: 1.7; stroke-linejoin: round; vector-effect: non-scaling-stroke; } .faint { opacity: .35; stroke-width: 1; }
.line.c0 { stroke: var(--c0); } .line.c1 { stroke: var(--c1); } .line.c2 { stroke: var(--c2); } .line.c3 { stroke: var(--c3); } .line.c4 { stroke: var(--c4); } .dot.c0 { fill: var(--c0); } .dot.c1 { fill: var(--c1); } .dot.c2 { fill: var(--c2); } .dot.c3 { fill: var(--c3); } .dot.c4 { fill: var(--c4); } .area { fill: var(--c0); }
.key { display: flex; flex-wrap: wrap; gap: 0 .9rem; margin: .2rem 0 0; font-size: .85rem; } .key .c0 { color: var(--c0); } .key .c1 { color: var(--c1); } .key .c2 { color: var(--c2); } .key .c3 { color: var(--c3); } .key .c4 { color: var(--c4); }
.spark { height: 64px; margin-top: .3rem; } .strip { display: flex; gap: 3px; } .strip img { flex: 0 1 auto; min-width: 0; object-fit: contain; border-radius: 4px; } .strip img:only-child { min-width: 9rem; } img.mel { display: block; width: 100%; height: 90px; border-radius: 4px; }
figure { margin: .5rem 0; } figcaption { color: var(--soft); font-size: .8rem; overflow-wrap: anywhere; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .15rem .8rem; margin: .5rem 0 0; } dt { color: var(--soft); white-space: nowrap; } dd { margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; } dd.right { color: var(--good); } dd.wrong { color: var(--bad); }
.scroll { overflow-x: auto; margin-top: 1rem; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; } th, td { padding: .25rem .9rem .25rem 0; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; } th { font-weight: 600; } tr.best td { font-weight: 700; }
`;
