"""How the report looks: light, dark and on paper."""

CSS = """
:root { color-scheme: light dark; --ink: #1f2328; --muted: #6a737d; --line: #d8dee4; --page: #ffffff;
  --panel: #f6f8fa; --warn: #7a4a00; --warn-page: #fff4de; --real: #1f6ac0; --fake: #b94a17; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --muted: #97a1ac; --line: #3a424c; --page: #0f1318;
  --panel: #171c23; --warn: #ffd48a; --warn-page: #3a2a08; --real: #79b5f5; --fake: #f5966b; } }
@media print { :root { color-scheme: light; --ink: #000; --muted: #555; --line: #ccc; --page: #fff;
  --panel: #fff; --warn: #5a3600; --warn-page: #fff; --real: #1f6ac0; --fake: #b94a17; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 24px 48px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 40px 0 6px; border-bottom: 1px solid var(--line); padding-bottom: 4px; }
h3 { font-size: 16px; margin: 22px 0 4px; overflow-wrap: anywhere; }
p { margin: 6px 0 10px; max-width: 80ch; }
.lead, .note, figcaption { color: var(--muted); }
.note, figcaption { font-size: 13.5px; }
.warning { background: var(--warn-page); color: var(--warn); border: 1px solid currentColor; border-radius: 6px;
  padding: 8px 12px; margin: 12px 0; max-width: none; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 10px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 12px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: 13.5px; }
td.number, th.number { text-align: right; white-space: nowrap; padding-left: 12px; }
td .range, td.why { color: var(--muted); font-size: 13.5px; }
td.why { white-space: normal; }
td .range { display: inline-block; min-width: 8.6em; text-align: right; }
.stacked td .range { display: block; min-width: 0; }
.stacked td.why { max-width: 9em; }
tr.first td { font-weight: 600; }
tr.first td .range, tr.first td.why { font-weight: 400; }
.name { overflow-wrap: anywhere; }
td.name { min-width: 9em; max-width: 22em; }
.plots { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 22px; }
.wide { grid-column: 1 / -1; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: 12px; break-inside: avoid; }
figure svg { width: 100%; height: auto; display: block; }
figure h3 { margin: 0 0 6px; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 12px; padding: 0; margin: 0;
  list-style: none; }
.sheet li { border: 1px solid var(--line); border-radius: 6px; padding: 8px; font-size: 13px; break-inside: avoid; }
.sheet img, .sheet .none { width: 100%; height: auto; aspect-ratio: 1; border-radius: 4px;
  display: block; margin-bottom: 6px; }
.sheet .none { background: var(--panel); border: 1px dashed var(--line); display: grid; place-items: center;
  color: var(--muted); text-align: center; padding: 8px; }
.sheet .name { font-weight: 600; display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 3;
  overflow: hidden; }
.real { color: var(--real); font-weight: 600; }
.fake { color: var(--fake); font-weight: 600; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: 13px; }
footer { font-size: 13.5px; }
footer td, footer th { border: 0; padding: 1px 16px 1px 0; overflow-wrap: anywhere; }
@media screen and (max-width: 760px) { .plots { grid-template-columns: 1fr; } }
@media print { main { max-width: none; padding: 0; } body { font-size: 12px; } h2 { break-after: avoid; }
  .scroll { overflow: visible; } }
"""
