"""How the page of a run looks: one style sheet, light and dark as the reader's system is."""

STYLE = """
:root { --ground: #ffffff; --card: #f6f7f9; --ink: #1c2430; --muted: #667085; --line: #dfe3e9;
  --method: #2459d6; --baseline: #98a2b3; --good: #067647; --bad: #b42318; color-scheme: light; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161c; --card: #1b212a; --ink: #e6e9ee;
  --muted: #98a2b3; --line: #303844; --method: #7aa2ff; --baseline: #7b8494; --good: #47cd89;
  --bad: #f97066; color-scheme: dark; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1200px; padding: 32px 24px 64px; background: var(--ground);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { margin: 0 0 4px; font-size: 28px; line-height: 1.2; }
h2 { margin: 48px 0 12px; font-size: 20px; }
h3 { margin: 24px 0 8px; font-size: 15px; }
p { margin: 0 0 12px; max-width: 75ch; }
a { color: var(--method); }
.lead, .note, figcaption small { color: var(--muted); }
.numbers { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr));
  margin: 24px 0; }
.numbers div { background: var(--card); border-radius: 10px; padding: 14px 16px; }
.numbers dt { color: var(--muted); font-size: 13px; }
.numbers dd { margin: 2px 0 0; font-size: 26px; font-weight: 600; line-height: 1.2;
  font-variant-numeric: tabular-nums; }
.numbers dd small { display: block; margin-top: 2px; font-size: 13px; font-weight: 400;
  color: var(--muted); }
.charts { display: grid; gap: 16px; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr));
}
.chart { margin: 0; padding: 14px 14px 8px; background: var(--card); border-radius: 10px; }
.chart figcaption { font-weight: 600; font-size: 14px; margin-bottom: 4px; }
.chart svg { display: block; width: 100%; height: auto; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 16px; margin: 0 0 4px; font-size: 13px;
  color: var(--muted); }
.legend i { display: inline-block; width: 14px; height: 4px; border-radius: 2px;
  margin-right: 6px; vertical-align: middle; }
.legend i.method { background: var(--method); } .legend i.baseline { background: var(--baseline); }
svg text { font: 11px system-ui, "Segoe UI", Roboto, sans-serif; fill: var(--muted);
  font-variant-numeric: tabular-nums; }
svg text.name { font-size: 12px; fill: var(--ink); }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .line { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg .line.method { stroke: var(--method); } svg .line.baseline { stroke: var(--baseline); }
svg .dot.method, svg .bar.method { fill: var(--method); }
svg .dot.baseline, svg .bar.baseline { fill: var(--baseline); }
.tables { display: flex; flex-wrap: wrap; gap: 0 56px; }
.tables section { max-width: 100%; } .tables h3 { max-width: 62ch; }
.tables .note { margin-top: 8px; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { color: var(--muted); font-weight: 500; }
th:first-child, td:first-child { text-align: left; }
tr.sum td { font-weight: 600; border-bottom: 0; }
.examples { display: grid; gap: 20px 24px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); }
.example { margin: 0; }
.example div { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; }
.example img { display: block; width: 100%; border-radius: 4px; }
.example figcaption { margin-top: 6px; font-size: 13px; overflow-wrap: anywhere; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; }
.swatch { display: inline-block; width: 16px; height: 11px; border: 2px solid;
  margin: 0 6px 0 0; vertical-align: baseline; }
.options { columns: 3 300px; column-gap: 32px; margin: 12px 0 0; font-size: 13px; }
.options div { display: flex; justify-content: space-between; gap: 12px; break-inside: avoid;
  border-bottom: 1px solid var(--line); padding: 3px 0; }
.options dt { color: var(--muted); } .options dd { margin: 0; text-align: right;
  overflow-wrap: anywhere; }
"""
