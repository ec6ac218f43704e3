"""The report's style sheet. Its digest stands in the page's policy, so that no other style is ever applied."""

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1c2430; --faint: #5d6878; --line: #d8dee6; --field: #f5f7fa;
  --own: #2563ab; --other: #b0722a; --good: #1a7f4b; --bad: #b3261e; --open: #8a6100; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181f; --ink: #e4e9f0; --faint: #9aa6b6; --line: #323b48;
  --field: #1c222b; --own: #74aef2; --other: #dfa55e; --good: #5cc98c; --bad: #ff8a80; --open: #e6bf57; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 4rem; max-width: 66rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", "Noto Sans", sans-serif; }
h1 { font-size: 1.45rem; margin: 0; line-height: 1.25; }
h2 { font-size: 1.1rem; margin: 2.4rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line); }
h3 { font-size: .95rem; margin: 1.2rem 0 .3rem; }
p { margin: .3rem 0; }
code, pre { font: 13px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
code { overflow-wrap: anywhere; }
.faint, .note { color: var(--faint); }
.verdict { border: 1px solid var(--line); border-left: .5rem solid var(--tone); border-radius: .5rem;
  padding: 1.1rem 1.3rem; background: var(--field); }
.verdict .word { color: var(--tone); font-weight: 700; letter-spacing: .03em; }
.PASSED, .HELD, .passed { --tone: var(--good); }
.FAILED, .failed { --tone: var(--bad); }
.INCONCLUSIVE, .without-result, .aside { --tone: var(--open); }
.facts { display: flex; flex-wrap: wrap; gap: .2rem 1.6rem; margin-top: .7rem; color: var(--faint); }
.facts b { color: var(--ink); font-weight: 600; }
ul.why { margin: .8rem 0 0; padding-left: 1.2rem; }
.badge { display: inline-block; border: 1px solid var(--tone); color: var(--tone); border-radius: 1rem;
  padding: 0 .55rem; font-size: .78rem; font-weight: 600; white-space: nowrap; }
.gate { display: grid; grid-template-columns: minmax(0, 1fr) 340px; gap: .2rem 1.5rem; padding: .8rem 0;
  border-bottom: 1px solid var(--line); }
.gate:last-of-type { border-bottom: 0; }
.gate .name { font-weight: 600; margin-right: .6rem; }
.gate p { font-size: .93rem; }
@media (max-width: 46rem) { .gate { grid-template-columns: 1fr; } .sides { grid-template-columns: 1fr !important; } }
svg { display: block; max-width: 100%; height: auto; }
svg .axis { stroke: var(--line); stroke-width: 2; }
svg .zero { stroke: var(--faint); stroke-width: 1; }
svg .limit { stroke: var(--bad); stroke-width: 2; stroke-dasharray: 3 2; }
svg .interval { fill: var(--own); opacity: .35; }
svg .own { fill: var(--own); }
svg .other { fill: var(--other); }
svg .pinned { fill: none; stroke: var(--other); stroke-width: 2; }
svg .mark { fill: var(--faint); font: 10px system-ui, sans-serif; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; color: var(--faint); font-size: .85rem; align-items: center; }
.legend svg { display: inline-block; vertical-align: -2px; margin-right: .3rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 1rem 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th { text-align: left; font-weight: 600; color: var(--faint); font-size: .82rem; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
table.cases { table-layout: fixed; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .45rem 0; background: var(--paper); }
details > summary { cursor: pointer; padding: .45rem .8rem; }
details > summary:hover { background: var(--field); }
details[open] > summary { border-bottom: 1px solid var(--line); }
details > .inside { padding: .5rem .9rem .8rem; }
details.group { background: var(--field); }
details.group > summary { font-weight: 600; }
.right { float: right; color: var(--faint); font-weight: 400; font-size: .85rem; }
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; }
.sides > div { min-width: 0; }
.side-own h3 { color: var(--own); } .side-pinned h3 { color: var(--other); }
.said { margin: .35rem 0; padding: .35rem .6rem; border-left: 3px solid var(--line); background: var(--field);
  white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; font: 13px/1.45 ui-monospace, "DejaVu Sans Mono", monospace; }
.said b { color: var(--faint); font-weight: 600; }
.said.assistant { border-left-color: var(--own); }
.said.wrong { border-left-color: var(--bad); background: none; font: inherit; font-size: .92rem; }
.odd { background: var(--bad); color: var(--paper); border-radius: 3px; font-size: .75em; padding: 0 3px; }
@media print { details > .inside { display: block; } body { max-width: none; } }
"""
