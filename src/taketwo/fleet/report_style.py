"""The style sheet of a report, for light and dark, from 375 px on."""

STYLE = """
:root{color-scheme:light dark;--ground:#f7f6f3;--card:#fff;--ink:#23262b;--quiet:#666b74;--line:#e4e2dc;
--accent:#2463a8;--band:#2463a840;--success:#2f8f5b;--failure:#c4453b;--timeout:#d29a34;--fault:#7d4fa3;--stopped:#98a0aa;
--discarded:#b9bfc6;--unjudged:#4f8fb8;--time0:#2463a8;--time1:#d29a34;--time2:#2f8f5b;--time3:#7d4fa3;--time4:#c4453b;
--time5:#98a0aa}
@media(prefers-color-scheme:dark){:root{--ground:#16181b;--card:#1e2125;--ink:#e6e4df;--quiet:#9aa0a9;--line:#30343a;
--accent:#6fa8e8;--band:#6fa8e84d;--success:#4fb37c;--failure:#e8776c;--timeout:#d9a94c;--fault:#b08ad4;--stopped:#79818c;
--discarded:#5c636d;--unjudged:#74b0d6;--time0:#6fa8e8;--time1:#d9a94c;--time2:#4fb37c;--time3:#b08ad4;--time4:#e8776c;
--time5:#79818c}}
*{box-sizing:border-box}
body{margin:0;background:var(--ground);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
main{max-width:1100px;margin:0 auto;padding:48px 24px 64px}
h1{font-size:34px;line-height:1.15;margin:0 0 12px;letter-spacing:-.02em}
h2{font-size:20px;margin:0 0 10px}
section{margin:44px 0 0}
.over{margin:0 0 4px;color:var(--quiet);font-size:14px}
.quiet,footer{color:var(--quiet);font-size:14px}
p.quiet{margin:0 0 12px}
.verdict{display:flex;flex-wrap:wrap;gap:4px 18px;align-items:center;margin:0 0 24px;line-height:1.4}
.verdict b{font-size:52px;font-weight:650;letter-spacing:-.03em;line-height:1.1}
dl{display:flex;flex-wrap:wrap;gap:12px 32px;margin:0}
dt{color:var(--quiet);font-size:13px}
dd{margin:0}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 18px}
.line{display:grid;grid-template-columns:minmax(120px,26%) 1fr 250px;gap:4px 18px;align-items:center;padding:5px 0;
font-size:14px}
.line.total{border-top:1px solid var(--line);margin-top:6px;padding-top:11px;font-weight:600}
.line.total .value{font-weight:400}
.value{display:flex;flex-wrap:wrap;gap:0 10px}
.value span{white-space:nowrap}
.value .quiet{font-size:13px}
.scale{padding:0}
.axis{display:flex;justify-content:space-between;color:var(--quiet);font-size:12px}
.scale .axis span{width:0;display:flex;justify-content:center;white-space:nowrap}
svg{display:block;width:100%;overflow:visible}
.row{height:26px}
.bar{height:16px;border-radius:4px;overflow:hidden;background:var(--line)}
.grid{stroke:var(--line);stroke-width:1}
.interval{fill:var(--band)}
.rate{fill:var(--accent);stroke:var(--card);stroke-width:1.5}
rect.success,i.success{fill:var(--success);background:var(--success)}
rect.failure,i.failure{fill:var(--failure);background:var(--failure)}
rect.timeout,i.timeout{fill:var(--timeout);background:var(--timeout)}
rect.fault,i.fault{fill:var(--fault);background:var(--fault)}
rect.stopped,i.stopped{fill:var(--stopped);background:var(--stopped)}
rect.discarded,i.discarded{fill:var(--discarded);background:var(--discarded)}
rect.unjudged,i.unjudged{fill:var(--unjudged);background:var(--unjudged)}
.time0{fill:var(--time0);background:var(--time0)}.time1{fill:var(--time1);background:var(--time1)}
.time2{fill:var(--time2);background:var(--time2)}.time3{fill:var(--time3);background:var(--time3)}
.time4{fill:var(--time4);background:var(--time4)}.time5{fill:var(--time5);background:var(--time5)}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:0 0 10px;font-size:14px}
i{display:inline-block;width:11px;height:11px;border-radius:3px;margin-right:7px}
.histogram{position:relative;padding-top:20px}
.histogram svg{border-bottom:1px solid var(--quiet)}
.most{position:absolute;top:-4px;left:0;font-size:12px;color:var(--quiet)}
.unit{margin:0;text-align:center;font-size:12px;color:var(--quiet)}
.histogram .axis{margin-top:4px}
.wide{margin-bottom:12px}.wide .bar{height:22px}
table{width:100%;border-collapse:separate;border-spacing:0;font-size:14px;background:var(--card);
border:1px solid var(--line);border-radius:10px;overflow:hidden}
th,td{text-align:left;vertical-align:top;padding:8px 12px;border-top:1px solid var(--line)}
thead th{border-top:0;color:var(--quiet);font-weight:400;font-size:13px;white-space:nowrap}
tbody th{font-weight:600}
.number{text-align:right;white-space:nowrap}
.reasons .number{width:80px}.reasons td:nth-child(2){width:110px}
.chip{white-space:nowrap;font-weight:600;font-size:13px}
.chip::before{content:"";display:inline-block;width:9px;height:9px;border-radius:50%;margin-right:6px;
background:currentColor}
.chip.success{color:var(--success)}.chip.failure{color:var(--failure)}.chip.fault{color:var(--fault)}
.chip.timeout{color:color-mix(in srgb,var(--timeout) 78%,var(--ink))}
.chip.stopped,.chip.discarded{color:var(--quiet)}.chip.unjudged{color:var(--unjudged)}
a{color:var(--accent);text-underline-offset:2px;margin-right:8px;overflow-wrap:normal}
a:focus-visible,summary:focus-visible{outline:2px solid var(--accent);outline-offset:2px;border-radius:4px}
details{background:var(--card);border:1px solid var(--line);border-radius:10px}
details+details{margin-top:8px}
summary{padding:11px 16px;cursor:pointer;font-size:14px}
summary b{color:var(--quiet);font-weight:400;margin-left:6px}
details .episodes{border:0;border-radius:0;border-top:1px solid var(--line);background:none}
details>p.quiet{padding:8px 16px}
pre{margin:0;padding:0 16px 16px;font-size:13px;line-height:1.45;white-space:pre-wrap}
code{font-size:13px}
footer{margin-top:48px}
@media(min-width:721px){.episodes th:first-child{padding-left:16px}
.episodes th:nth-child(1),.episodes td:nth-child(2),.episodes td:nth-child(3),.episodes td:nth-child(4),
.episodes td:nth-child(5){white-space:nowrap;width:1%}
.episodes td:nth-child(7){width:24%}}
@media(max-width:720px){main{padding:28px 16px 48px}h1{font-size:26px}.verdict b{font-size:42px}
.card{padding:12px 14px}
.line{grid-template-columns:1fr;padding:9px 0;gap:4px}.line.total{padding-top:14px}.scale{padding:0}
.line .name{font-weight:600}
.scale>span{display:none}.scale .axis span:first-child{justify-content:start}
.scale .axis span:last-child{justify-content:end}
th,td{padding:7px 9px}
.timings td:last-child,.timings th:last-child{display:none}
.episodes thead{display:none}
.episodes tr{display:flex;flex-wrap:wrap;gap:2px 12px;padding:10px 16px;border-top:1px solid var(--line)}
.episodes th,.episodes td,.episodes tbody tr:first-child th,.episodes tbody tr:first-child td{padding:0;border:0}
.episodes td:empty{display:none}
.episodes td:nth-child(6),.episodes td:nth-child(7){flex-basis:100%}
.episodes td[data-label]::before{content:attr(data-label) " ";color:var(--quiet)}}
@media print{section{break-inside:avoid-page}}
"""
