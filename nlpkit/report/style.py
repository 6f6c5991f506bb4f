"""How the page looks: light and dark, wide and narrow."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --panel: #f6f7f9; --ink: #1b1f24; --quiet: #5b6470; --rule: #d9dee5;
  --accent: #2f6fb3; --second: #b0591e; --mark: #fff0b8;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --panel: #1c2026; --ink: #e4e7eb; --quiet: #9aa4b0; --rule: #333a44;
    --accent: #6aa9ea; --second: #e0965c; --mark: #57470f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word;
}
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 0 0 .25rem; }
h3 { font-size: 1rem; margin: 0 0 .5rem; }
p { margin: .25rem 0 .75rem; }
a { color: var(--accent); }
code { font-size: .85em; }
.quiet { color: var(--quiet); font-size: .9rem; }
section { border-top: 1px solid var(--rule); margin-top: 2rem; padding-top: 1rem; }
.panels {
  display: grid; gap: 1rem; align-items: start;
  grid-template-columns: repeat(auto-fit, minmax(min(24rem, 100%), 1fr));
}
.panel { background: var(--panel); border-radius: 8px; padding: .75rem 1rem; min-width: 0; }
.panel.wide { grid-column: 1 / -1; }
.scroll { overflow-x: auto; }
table {
  border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; width: 100%;
}
th { text-align: left; font-weight: 600; color: var(--quiet); }
th, td {
  padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--rule); vertical-align: middle;
}
tr:last-child > td, tr:last-child > th { border-bottom: 0; }
.n { text-align: right; white-space: nowrap; }
.name { white-space: nowrap; }
.draw { min-width: 3rem; width: 30%; }
.heat td { text-align: right; padding: .25rem .5rem;
  background: color-mix(in srgb, var(--accent) calc(var(--share, 0) * 65%), transparent); }
.heat td.right { outline: 1px solid var(--quiet); outline-offset: -1px; }
.heat thead th { text-align: right; padding-left: .5rem; }
svg { display: block; }
.bar { width: 100%; height: .6rem; }
.whisker { width: 100%; min-width: 7rem; max-width: 12rem; height: auto; }
.chart { width: 100%; max-width: 28rem; height: auto; }
.chart text { fill: var(--quiet); font-size: 11px; }
.track { fill: var(--rule); }
.fill { fill: var(--accent); }
.axis, .grid { stroke: var(--rule); fill: none; }
.range { stroke: var(--accent); stroke-width: 3; opacity: .55; }
.dot { fill: var(--accent); }
.diagonal { stroke: var(--quiet); stroke-dasharray: 4 3; fill: none; }
.first { stroke: var(--accent); stroke-width: 2; fill: none; }
.second { stroke: var(--second); stroke-width: 2; fill: none; }
@media (max-width: 40rem) {
  .panel { padding: .6rem .7rem; }
  table { font-size: .8rem; }
  th, td { padding-right: .4rem; }
  .whisker { min-width: 4rem; }
}
details > summary { cursor: pointer; }
.errors { list-style: none; margin: .5rem 0 0; padding: 0; }
.errors li { border-bottom: 1px solid var(--rule); padding: .5rem 0; }
.errors li:last-child { border-bottom: 0; }
.errors p { margin: .15rem 0; }
.text { unicode-bidi: plaintext; white-space: pre-line; }
mark { background: var(--mark); color: inherit; }
dt { font-weight: 600; }
dd { margin: 0 0 .5rem; color: var(--quiet); }
"""
