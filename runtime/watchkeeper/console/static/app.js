// What scripts add to pages that read and decide without them: the log as it comes, the state line,
// a ticking clock, the map, and the truth about a lost connection. Nothing here decides anything.

const $ = id => document.getElementById(id);
const page = document.body.dataset.page;
const KEEP_LINES = 200;
const SILENT_MS = 45_000;             // the server says something at least every 15 s
const BACKOFF_MS = [1_000, 2_000, 5_000, 10_000];

/* ---- how long is left: the server decides what has expired, this only keeps the text true ---- */

const began = new WeakMap();
const inWords = s => {
  if (s <= 0) return "time is up";
  const two = n => String(n).padStart(2, "0"), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  return (h ? `${h}:${two(m)}` : `${m}`) + `:${two(s % 60)} left`;
};
const inTitle = s => s >= 3600 ? `${Math.floor(s / 3600)} h` : s >= 120 ? `${Math.floor(s / 60)} min` : `${s} s`;
function tick() {
  for (const el of document.querySelectorAll("[data-left]")) {
    if (!began.has(el)) began.set(el, performance.now());
    const gone = Math.floor((performance.now() - began.get(el)) / 1000);
    const left = Math.max(0, el.dataset.left - gone), text = inWords(left);
    if (el.textContent !== text) el.textContent = text;
    if (page === "ask") document.title = document.title.replace(/^.*? left: /, left ? `${inTitle(left)} left: ` : "No time left: ");
  }
}
tick();
setInterval(tick, 1000);

/* ---- offline: said at once, and a tap is refused and named, never kept for later ---- */

let offlineSince = 0;
const clock = ms => new Date(ms).toISOString().slice(11, 19) + " UTC";

function setOffline(off) {
  const box = $("offline");
  if (!box) return;
  if (off && !offlineSince) {
    offlineSince = Date.now();
    $("offline-since").textContent = ` since ${clock(offlineSince)}`;
    box.hidden = false;
    document.body.classList.add("off");
  } else if (!off && offlineSince) {
    offlineSince = 0;
    box.hidden = true;
    $("offline-tap").textContent = "";
    document.body.classList.remove("off");
  }
}

document.addEventListener("submit", event => {
  const form = event.target, button = event.submitter;
  if (offlineSince || !navigator.onLine) {
    event.preventDefault();
    setOffline(true);
    const what = (button && button.textContent.trim()) || form.dataset.does || "What you tapped";
    $("offline-tap").textContent = ` ${what} was not sent. Send it again when connected; it is never sent for you.`;
    $("offline").scrollIntoView({ block: "nearest" });
    return;
  }
  if (form.dataset.sent) { event.preventDefault(); return; }   // a second tap is the same answer
  form.dataset.sent = "1";
}, true);
addEventListener("pageshow", () => document.querySelectorAll("form").forEach(f => delete f.dataset.sent));
addEventListener("offline", () => setOffline(true));
addEventListener("online", () => connect());

/* ---- the stream: lines as they come, and the state line ---- */

let source = null, tries = 0, heard = 0, retry = 0;
// The last line seen, not the journal's head: a line may be written while a page is drawn.
let newest = $("lines") ? Number($("lines").firstElementChild?.dataset.seq || 0) : Number(document.body.dataset.newest || 0);

function takeLine(event) {
  newest = Math.max(newest, Number(event.lastEventId) || 0);
  const list = $("lines");
  if (!list) return;
  const box = document.createElement("template");
  box.innerHTML = event.data;                 // rendered and escaped by our own server
  const li = box.content.querySelector("li");
  if (!li || $(li.id)) return;
  li.classList.add("new");
  const seq = Number(li.dataset.seq), after = [...list.children].find(el => Number(el.dataset.seq) < seq);
  list.insertBefore(li, after || null);
  while (list.children.length > KEEP_LINES) list.lastElementChild.remove();
  $("nolines")?.remove();
}

let knownWords = null, asks = null, waits = "", stale = false;
function takeState(event) {
  const told = JSON.parse(event.data), state = $("state"), count = $("count"), waiting = told.waiting;
  if (state) state.innerHTML = told.html;
  if (count) { count.hidden = !waiting; count.firstElementChild.textContent = waiting; }
  if (page !== "ask") document.title = (waiting ? `(${waiting}) ` : "") + document.title.replace(/^\(\d+\) /, "");
  ({ asks, waits, stale } = told);
  const words = state?.querySelector(".halt")?.textContent || "";
  const other = knownWords !== null && words !== knownWords;
  knownWords = words;
  mind();
  if (other || outdated()) drawAnew();
}

/** What is written on a question is what its reader signs: one that changed since cannot be approved
    here any more. The server refuses it in any case. */
function mind() {
  if (!asks) return;
  for (const box of document.querySelectorAll("[data-sig]")) {
    const sent = box.dataset.sent || box.querySelector("form[data-sent]");
    const again = !stale && box.querySelector("[data-stale]");   // drawn while readings were stale
    box.classList.toggle("changed", !sent && Boolean((asks[box.dataset.ask] ?? "") !== box.dataset.sig || again));
    if (page === "ask") $("changed").hidden = !box.classList.contains("changed");
  }
  for (const b of document.querySelectorAll("button[value=approve]")) {
    const why = b.closest(".changed") ? "This changed. Read it again." : stale ? "Approve is off: readings are stale" : "";
    if (why && (!b.disabled || "was" in b.dataset)) {
      b.dataset.was ??= b.textContent; b.disabled = true; b.textContent = why;
    } else if (!why && "was" in b.dataset) {
      b.disabled = false; b.textContent = b.dataset.was; delete b.dataset.was;
    }
  }
}

/* ---- parts of an open page are drawn anew by the server, and put in where nobody is at work ---- */

const LIVE = { "x-watchkeeper-live": "1" };   // asked by the page, not by a person: keeps nobody signed in
const ANEW_MS = 10_000, QUIET_MS = 5_000;
const looking = () => document.visibilityState === "visible" && !offlineSince;
let touched = -QUIET_MS, pressing = false, drawing = false;
for (const kind of ["pointerdown", "pointermove", "keydown", "input", "wheel", "touchmove"])
  addEventListener(kind, () => { touched = performance.now(); }, { capture: true, passive: true });
addEventListener("pointerdown", () => { pressing = true; }, true);
for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, () => { pressing = false; }, true);

const outdated = () => Boolean($("waits") && asks && ($("waits").dataset.waits !== waits || $("waits").querySelector(".changed")));

/** Somebody wrote, chose, marked or sent something in there that a new drawing would lose. */
function atWork(part) {
  const chosen = document.getSelection();
  return [...part.querySelectorAll("input:not([type=hidden]),textarea")].some(i => i.type === "radio" ? i.checked !== i.defaultChecked : i.value !== i.defaultValue)
    || Boolean(part.querySelector("form[data-sent]")) || (!chosen.isCollapsed && chosen.containsNode(part, true));
}

/** A question never changes under a finger, a pointer or the keyboard: then it is only said. */
const reached = part => performance.now() - touched < QUIET_MS || part.matches(":hover") || part.contains(document.activeElement);

const same = el => ["id", "href", "name", "value"].map(a => el.getAttribute(a)).concat(el.tagName, el.form?.getAttribute("action")).join("\n");
function swap(old, part) {
  const focus = old.contains(document.activeElement) ? document.activeElement : null;
  const scrolled = [...old.querySelectorAll(".scroll")].map(el => el.scrollLeft);
  if (old.tagName === "DETAILS") part.open = old.open;
  old.replaceWith(part);
  part.querySelectorAll(".scroll").forEach((el, i) => { el.scrollLeft = scrolled[i] || 0; });
  if (focus) [...part.querySelectorAll("a,button,input,summary,[tabindex]")].find(el => same(el) === same(focus))?.focus({ preventScroll: true });
}

/** asked: a person wants to see what waits now, whatever they were doing. */
async function drawAnew(asked = false) {
  if ((page !== "watch" && page !== "fleet") || drawing || !looking()) return;
  drawing = true;
  try {
    const answer = await fetch(`${location.pathname}?parts=1`, { headers: LIVE });
    if (!answer.ok) return;
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of fresh.querySelectorAll("[data-part]")) {
      const old = $(part.id);
      if (!old || pressing || atWork(old)) continue;
      if (part.id !== "waits" || asked || (outdated() && !reached(old))) swap(old, document.adoptNode(part));
    }
    tick();
    mind();
  } catch { /* the stream notices a lost connection and says so */ } finally { drawing = false; }
  news();
}

function news() {
  const bar = $("news"), link = bar?.querySelector("a");
  if (!bar) return;
  bar.hidden = !outdated();
  if (bar.hidden) return;
  const shown = [...document.querySelectorAll("#waits [data-sig]")], ids = new Set(shown.map(el => el.dataset.ask)), all = Object.keys(asks);
  const more = all.length <= 60 ? all.filter(id => !ids.has(id)).length : 0;
  const n = Math.max(1, more, shown.filter(el => el.classList.contains("changed")).length);
  link.textContent = n === 1 ? "1 question changed. Show it" : `${n} questions changed. Show them`;
}
document.addEventListener("click", event => {
  if (event.target.closest("#news a")) { event.preventDefault(); drawAnew(true); }
});
setInterval(drawAnew, ANEW_MS);
document.addEventListener("visibilitychange", () => drawAnew());

function connect() {
  if (!$("state")) return;
  clearTimeout(retry);
  source?.close();
  // The browser reconnects by itself and sends Last-Event-ID; a new EventSource has forgotten it,
  // so the last seen line also rides in the address.
  source = new EventSource(`/events?after=${newest}`);
  heard = Date.now();
  source.onopen = () => { tries = 0; heard = Date.now(); if (navigator.onLine) setOffline(false); };
  source.onerror = () => {
    setOffline(true);
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(connect, BACKOFF_MS[Math.min(tries++, BACKOFF_MS.length - 1)]);
  };
  const note = take => event => { heard = Date.now(); setOffline(!navigator.onLine); take(event); };
  source.addEventListener("line", note(takeLine));
  source.addEventListener("state", note(takeState));
  source.addEventListener("end", () => { source.close(); location.reload(); });   // signed out: the page says so
}
addEventListener("pagehide", () => { source?.close(); clearTimeout(retry); });
addEventListener("pageshow", event => { if (event.persisted) connect(); });
setInterval(() => { if (source && Date.now() - heard > SILENT_MS) { setOffline(true); connect(); } }, 5_000);
connect();

/* ---- the dial moves when it is turned ---- */

$("dial")?.addEventListener("change", event => {
  if (event.target.name === "level") $("dial").requestSubmit();
});

/* ---- the fleet map: every GPU a square, every node a row, every rack a block; in a large fleet
        every node one square, in order of racks ---- */

const canvas = $("fleet-map");
// The characters of /api/v1/fleet; a digit is the load of a GPU that is well, in tens of percent.
const NODE = { h: "healthy", s: "suspect", f: "failed", d: "dead", r: "draining", c: "cordoned", k: "checking", q: "silent", u: "unknown" };
const GPU = { f: "failed", s: "suspect", c: "cordoned", x: "hidden", q: "silent" };
const WORST = ["failed", "suspect", "silent", "cordoned", "hidden", "ok"];
const loadWords = d => d === null ? "load unknown" : d < 1 ? "under 10 % busy" : d > 8 ? "90 % busy or more" : `${d}0 to ${d + 1}0 % busy`;
const digit = c => c >= "0" && c <= "9" ? Number(c) : null;

class FleetMap {
  constructor(canvas, out) {
    this.canvas = canvas; this.out = out; this.racks = []; this.cells = []; this.at = 0;
    this.byNode = canvas.dataset.by === "node";
    canvas.addEventListener("keydown", e => this.key(e));
    canvas.addEventListener("pointerdown", e => this.point(e));
    canvas.addEventListener("focus", () => this.say());
    canvas.addEventListener("blur", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme:light)").addEventListener("change", () => this.draw());
  }

  /** What /api/v1/fleet gives; the map keeps its places: by rack, then name. */
  take({ racks, what }) {
    const here = this.cells[this.at], { compare } = new Intl.Collator("en", { numeric: true });
    const worst = Object.keys(what)[0];
    this.racks = racks.map(({ r, n, s, g }) => ({
      name: r, nodes: n.map((name, i) => ({ n: name, r, s: NODE[s[i]] || "unknown", w: what[name] || "", g: g[i] })).sort((a, b) => compare(a.n, b.n)),
    })).sort((a, b) => compare(a.name || "~", b.name || "~"));
    this.cells = [];
    this.racks.forEach((rack, r) => rack.nodes.forEach((node, row) => {
      if (this.byNode) this.cells.push({ r, g: -1, node, ...this.whole(node) });
      else [...(node.g || " ")].forEach((c, g) => this.cells.push({ r, row, g, node, state: c === " " ? "none" : this.word(node, c), load: digit(c) }));
    }));
    const same = c => here ? c.node.n === here.node.n && c.g === here.g : c.node.n === worst && c.state !== "ok";
    this.at = Math.max(0, this.cells.findIndex(same));
    canvas.hidden = !this.cells.length;
    this.draw();
  }

  /** What is said of one GPU stays with that GPU; what is said of the node covers the rest. */
  word(node, c) {
    if (GPU[c]) return GPU[c];
    if (node.s === "dead" || node.s === "silent" || node.s === "unknown") return "silent";
    if (node.s === "draining" || node.s === "cordoned" || node.s === "checking") return "cordoned";
    return "ok";
  }

  /** A node as one mark: the worst that is said of it or of a GPU of it, and the mean load. */
  whole(node) {
    const said = new Set([...node.g].map(c => this.word(node, c))), loads = [...node.g].map(digit).filter(d => d !== null);
    if (node.s === "failed" || node.s === "dead") said.add("failed");
    if (node.s === "suspect") said.add("suspect");
    if (!node.g) said.add(this.word(node, "."));
    const load = loads.length ? Math.floor(loads.reduce((a, b) => a + b, 0) / loads.length) : null;
    return { state: WORST.find(word => said.has(word)), load };
  }

  layout(width) {
    if (this.byNode) {
      const high = width * .6, step = Math.min(22, Math.max(4, Math.floor(Math.sqrt(width * high / this.cells.length))));
      const cols = Math.floor(width / step), cell = step - 1;
      this.cells.forEach((c, i) => { c.row = Math.floor(i / cols); c.col = i % cols; });
      return { cols: 1, gap: 0, label: 0, rack: width, step, cell, rowStep: step, ch: cell, across: cols, height: Math.max(high, Math.ceil(this.cells.length / cols) * step) };
    }
    const wide = Math.max(1, ...this.cells.map(c => c.g + 1)), tall = Math.max(1, ...this.racks.map(r => r.nodes.length));
    const count = this.racks.length, gap = 10, label = 18;
    const cols = count <= 4 ? count : Math.min(count, Math.max(4, Math.min(8, Math.ceil(Math.sqrt(count * 2)))));
    const rack = Math.min(220, (width - gap * (cols - 1)) / cols), step = Math.min(22, rack / wide), cell = step - Math.max(1, step * .12);
    const rowStep = Math.max(5.6, Math.min(step, 22)), ch = Math.min(cell, rowStep - 1);
    const rows = Math.ceil(count / cols), block = label + rowStep * tall + 6;
    return { cols, gap, label, rack: Math.min(rack, Math.max(step * wide, 52)), step, cell, rowStep, ch, block, height: Math.max(40, rows * block) };
  }

  draw() {
    const { canvas } = this, w = canvas.clientWidth;
    if (!w || !this.cells.length) return;
    const css = getComputedStyle(document.documentElement), v = n => css.getPropertyValue(n).trim(), L = this.L = this.layout(w);
    const ratio = devicePixelRatio || 1, c = canvas.getContext("2d");
    canvas.style.aspectRatio = "auto"; canvas.style.height = `${L.height}px`;
    canvas.width = w * ratio; canvas.height = L.height * ratio; c.scale(ratio, ratio);
    c.font = `10px ${v("--sans")}`; c.fillStyle = v("--ink-3");
    const place = r => this.byNode ? [0, 0] : [(r % L.cols) * (L.rack + L.gap), Math.floor(r / L.cols) * L.block];
    if (!this.byNode) this.racks.forEach((rack, r) => { const [x, y] = place(r); c.fillText((rack.name || "no rack").slice(0, 14), x, y + 10); });
    const marks = [];
    for (const cell of this.cells) {
      const [x0, y0] = place(cell.r), x = x0 + (this.byNode ? cell.col : cell.g) * L.step, y = y0 + L.label + cell.row * L.rowStep;
      cell.x = x; cell.y = y;
      this.square(c, v, cell, x, y, L);
      if (cell.state === "failed" || cell.state === "suspect") marks.push([x + L.cell / 2, y + L.ch / 2, cell.state]);
      else if (cell.g === 0 && (cell.node.s === "failed" || cell.node.s === "dead" || cell.node.s === "suspect") && !cell.node.g.includes("f"))
        marks.push([x + L.cell / 2, y + L.ch / 2, cell.node.s === "suspect" ? "suspect" : "failed"]);
    }
    for (const [x, y, state] of marks) this.mark(c, v, x, y, state, this.byNode ? Math.min(1, Math.max(.5, L.step / 13)) : 1);
    const here = this.cells[this.at];
    if (document.activeElement === canvas && here) { c.strokeStyle = v("--ink"); c.lineWidth = 2; c.strokeRect(here.x - 4, here.y - 4, L.cell + 8, L.ch + 8); }
  }

  square(c, v, { state, load }, x, y, { cell, ch }) {
    if (state === "none") return;
    if (state === "cordoned" || state === "hidden") {
      c.strokeStyle = v("--gpu-off"); c.lineWidth = 1.2; c.beginPath(); c.moveTo(x, y + ch); c.lineTo(x + cell, y); c.stroke();
    } else if (state === "silent") {
      c.strokeStyle = v("--gpu-off"); c.lineWidth = 1; c.strokeRect(x + .5, y + .5, cell - 1, ch - 1);
    } else {
      c.fillStyle = v(`--gpu-${load === null || load < 1 ? 0 : load < 5 ? 1 : load < 8 ? 2 : 3}`); c.fillRect(x, y, cell, ch);
    }
  }

  mark(c, v, x0, y0, state, size) {           // larger than its cell, cut out of the ground
    const r = 6.5;
    c.save(); c.translate(x0, y0); c.scale(size, size);
    c.fillStyle = v("--bg");
    if (state === "failed") {
      c.fillRect(-r - 2, -r - 2, 2 * r + 4, 2 * r + 4);
      c.fillStyle = v("--gpu-bad"); c.fillRect(-r, -r, 2 * r, 2 * r);
      c.strokeStyle = v("--bg"); c.lineWidth = 2; c.beginPath();
      c.moveTo(-3.2, -3.2); c.lineTo(3.2, 3.2); c.moveTo(3.2, -3.2); c.lineTo(-3.2, 3.2); c.stroke();
    } else {
      c.beginPath(); c.arc(0, 0, r + 2, 0, 7); c.fill();
      c.strokeStyle = v("--gpu-sus"); c.lineWidth = 2; c.beginPath(); c.arc(0, 0, r - 1, 0, 7); c.stroke();
      c.fillStyle = v("--gpu-sus"); c.beginPath(); c.arc(0, 0, 1.8, 0, 7); c.fill();
    }
    c.restore();
  }

  say() {
    const here = this.cells[this.at];
    if (here) {
      const { node, g, state, load } = here, rack = node.r ? `, rack ${node.r}` : "", ill = [...node.g].filter(c => GPU[c]).length;
      const gpu = this.byNode ? `, ${node.g.length} GPUs` : state === "none" ? " no GPU" : ` GPU ${g}`;
      const now = state !== "ok" ? state : `${this.byNode ? "on average " : ""}${loadWords(load)}`;
      const some = this.byNode && ill ? `; ${ill} of its GPUs not well` : "";
      this.out.textContent = `${node.n}${gpu}${rack}: ${now}${some}${node.s === "healthy" ? "" : `; node ${node.s}${node.w ? `: ${node.w}` : ""}`}`;
    }
    this.draw();
  }

  key(event) {
    const here = this.cells[this.at], find = (r, row, g) => {
      const rack = this.cells.filter(c => c.r === r), line = rack.filter(c => c.row === row);
      const rows = line.length ? line : rack;
      return rows.length ? this.cells.indexOf(rows.find(c => c.g === g) || rows.at(-1)) : this.at;
    };
    if (!here) return;
    let to;
    const first = r => this.cells.findIndex(c => c.r === (r + this.racks.length) % this.racks.length), { across } = this.L;
    if (this.byNode && event.key === "ArrowDown") to = Math.min(this.at + across, this.cells.length - 1);
    else if (this.byNode && event.key === "ArrowUp") to = Math.max(this.at - across, 0);
    else if (this.byNode && event.key === "PageDown") to = first(here.r + 1);
    else if (this.byNode && event.key === "PageUp") to = first(here.r - 1);
    else switch (event.key) {
      case "ArrowRight": to = this.at + 1; break;
      case "ArrowLeft": to = this.at - 1; break;
      case "ArrowDown": to = here.row + 1 < this.racks[here.r].nodes.length ? find(here.r, here.row + 1, here.g) : find((here.r + 1) % this.racks.length, 0, here.g); break;
      case "ArrowUp": to = here.row ? find(here.r, here.row - 1, here.g) : find((here.r + this.racks.length - 1) % this.racks.length, this.racks.at(here.r - 1).nodes.length - 1, here.g); break;
      case "PageDown": to = find((here.r + 1) % this.racks.length, here.row, here.g); break;
      case "PageUp": to = find((here.r + this.racks.length - 1) % this.racks.length, here.row, here.g); break;
      case "Home": to = 0; break;
      case "End": to = this.cells.length - 1; break;
      case "Enter": location.href = `/nodes/${encodeURIComponent(here.node.n)}`; break;
      default: return;
    }
    event.preventDefault();
    if (to !== undefined) { this.at = (to + this.cells.length) % this.cells.length; this.say(); }
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    let best = Infinity;
    this.cells.forEach(({ x, y }, i) => { const d = (x + 3 - px) ** 2 + (y + 3 - py) ** 2; if (d < best) { best = d; this.at = i; } });
    this.say();
  }
}

if (canvas) {
  canvas.hidden = false;
  const map = new FleetMap(canvas, $("fleet-cursor"));
  const read = async () => {
    if (!looking()) return;
    try {
      const answer = await fetch("/api/v1/fleet", { headers: { accept: "application/json", ...LIVE } });
      if (answer.ok) map.take(await answer.json());
    } catch { /* the stream notices a lost connection and says so */ }
  };
  read();
  setInterval(read, map.byNode ? 10_000 : 5_000);
  document.addEventListener("visibilitychange", read);
}
