// What scripts add to pages that read and decide without them: the log as it comes, the state line,
// a ticking clock, the map, and the truth about a lost connection. Nothing here decides anything.

const $ = id => document.getElementById(id);
const page = document.body.dataset.page;
const KEEP_LINES = 200;
const SILENT_MS = 45_000;             // the server says something at least every 15 s
const BACKOFF_MS = [1_000, 2_000, 5_000, 10_000];

/* ---- how long is left: the server decides what has expired, this only keeps the text true ---- */

const began = performance.now();
const timers = [...document.querySelectorAll("[data-left]")];
const inWords = s => {
  if (s <= 0) return "time is up";
  const two = n => String(n).padStart(2, "0"), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  return (h ? `${h}:${two(m)}` : `${m}`) + `:${two(s % 60)} left`;
};
const inTitle = s => s >= 3600 ? `${Math.floor(s / 3600)} h` : s >= 120 ? `${Math.floor(s / 60)} min` : `${s} s`;
if (timers.length) {
  const tick = () => {
    const gone = Math.floor((performance.now() - began) / 1000);
    for (const el of timers) {
      const left = Math.max(0, el.dataset.left - gone), text = inWords(left);
      if (el.textContent !== text) el.textContent = text;
      if (page === "ask") document.title = document.title.replace(/^.*? left: /, left ? `${inTitle(left)} left: ` : "No time left: ");
    }
  };
  setInterval(tick, 1000);
}

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

let knownWaiting = null, knownWords = "";
function takeState(event) {
  const { html, waiting } = JSON.parse(event.data);
  const state = $("state");
  if (state) state.innerHTML = html;
  const count = $("count");
  if (count) { count.hidden = !waiting; count.firstElementChild.textContent = waiting; }
  if (page !== "ask") document.title = (waiting ? `(${waiting}) ` : "") + document.title.replace(/^\(\d+\) /, "");
  const words = state?.querySelector(".halt")?.textContent || "";
  if (knownWaiting !== null && (waiting !== knownWaiting || words !== knownWords)) changed();
  knownWaiting = waiting; knownWords = words;
  if (state?.querySelector(".late")) staleNow(); else freshNow();
}

/** What waits is no longer what the page shows: reload, unless someone is in the middle of something. */
function changed() {
  const busy = document.activeElement?.matches("input[type=text],textarea") && document.activeElement.value;
  if (page === "watch" && !busy && !offlineSince && document.visibilityState === "visible" && scrollY < 40) location.reload();
  else if ($("news")) $("news").hidden = false;
}

/** Approve goes off as soon as readings are stale; the server refuses it in any case. */
function staleNow() {
  for (const b of document.querySelectorAll("button[value=approve]:not([disabled])")) {
    b.dataset.was = b.textContent; b.disabled = true; b.textContent = "Approve is off: readings are stale";
  }
}
function freshNow() {
  for (const b of document.querySelectorAll("button[data-was]")) { b.disabled = false; b.textContent = b.dataset.was; delete b.dataset.was; }
}

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

/* ---- the fleet map: every GPU a square, every node a row, every rack a block ---- */

const canvas = $("fleet-map");

class FleetMap {
  constructor(canvas, out) {
    this.canvas = canvas; this.out = out; this.nodes = []; this.racks = []; this.cells = []; this.at = 0;
    canvas.addEventListener("keydown", e => this.key(e));
    canvas.addEventListener("pointerdown", e => this.point(e));
    canvas.addEventListener("focus", () => this.say());
    canvas.addEventListener("blur", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme:light)").addEventListener("change", () => this.draw());
  }

  /** nodes as /api/v1/fleet gives them, worst first; the map keeps its places: by rack, then name. */
  take(nodes) {
    const here = this.cells[this.at], byName = new Intl.Collator("en", { numeric: true }).compare;
    const worst = nodes.find(n => n.s !== "healthy") || nodes[0];
    this.nodes = nodes.slice().sort((a, b) => byName(a.r || "~", b.r || "~") || byName(a.n, b.n));
    this.racks = [];
    for (const node of this.nodes) {
      const rack = this.racks.at(-1);
      if (rack && rack.name === node.r) rack.nodes.push(node); else this.racks.push({ name: node.r, nodes: [node] });
    }
    this.cells = [];
    this.racks.forEach((rack, r) => rack.nodes.forEach((node, row) => {
      const gpus = node.g.length ? node.g : [["none", null]];
      gpus.forEach(([state, busy], g) => this.cells.push({ r, row, g, node, state: this.word(node, state), busy }));
    }));
    const same = c => here ? c.node.n === here.node.n && c.g === here.g : worst && c.node.n === worst.n && c.state !== "ok";
    this.at = Math.max(0, this.cells.findIndex(same));
    canvas.hidden = !this.cells.length;
    this.draw();
  }

  /** What is said of one GPU stays with that GPU; what is said of the node covers the rest. */
  word(node, gpu) {
    if (gpu !== "ok") return gpu;
    if (node.s === "dead" || node.s === "silent" || node.s === "unknown") return "silent";
    if (node.s === "draining" || node.s === "cordoned" || node.s === "checking") return "cordoned";
    return gpu;
  }

  layout(width) {
    const wide = Math.max(1, ...this.nodes.map(n => Math.max(1, n.g.length))), tall = Math.max(1, ...this.racks.map(r => r.nodes.length));
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
    const css = getComputedStyle(document.documentElement), v = n => css.getPropertyValue(n).trim(), L = this.layout(w);
    const ratio = devicePixelRatio || 1, c = canvas.getContext("2d");
    canvas.style.aspectRatio = "auto"; canvas.style.height = `${L.height}px`;
    canvas.width = w * ratio; canvas.height = L.height * ratio; c.scale(ratio, ratio);
    c.font = `10px ${v("--sans")}`; c.fillStyle = v("--ink-3");
    const place = r => [(r % L.cols) * (L.rack + L.gap), Math.floor(r / L.cols) * L.block];
    this.racks.forEach((rack, r) => { const [x, y] = place(r); c.fillText((rack.name || "no rack").slice(0, 14), x, y + 10); });
    const marks = [];
    for (const cell of this.cells) {
      const [x0, y0] = place(cell.r), x = x0 + cell.g * L.step, y = y0 + L.label + cell.row * L.rowStep;
      cell.x = x; cell.y = y;
      this.square(c, v, cell, x, y, L);
      if (cell.state === "failed" || cell.state === "suspect") marks.push([x + L.cell / 2, y + L.ch / 2, cell.state]);
      else if (cell.g === 0 && (cell.node.s === "failed" || cell.node.s === "dead" || cell.node.s === "suspect") && !cell.node.g.some(g => g[0] === "failed"))
        marks.push([x + L.cell / 2, y + L.ch / 2, cell.node.s === "suspect" ? "suspect" : "failed"]);
    }
    for (const [x, y, state] of marks) this.mark(c, v, x, y, state);
    const here = this.cells[this.at];
    if (document.activeElement === canvas && here) { c.strokeStyle = v("--ink"); c.lineWidth = 2; c.strokeRect(here.x - 4, here.y - 4, L.cell + 8, L.ch + 8); }
  }

  square(c, v, { state, busy }, x, y, { cell, ch }) {
    if (state === "none") return;
    if (state === "cordoned" || state === "hidden") {
      c.strokeStyle = v("--gpu-off"); c.lineWidth = 1.2; c.beginPath(); c.moveTo(x, y + ch); c.lineTo(x + cell, y); c.stroke();
    } else if (state === "silent") {
      c.strokeStyle = v("--gpu-off"); c.lineWidth = 1; c.strokeRect(x + .5, y + .5, cell - 1, ch - 1);
    } else {
      const load = busy === null ? 0 : busy < 5 ? 0 : busy < 50 ? 1 : busy < 78 ? 2 : 3;
      c.fillStyle = v(`--gpu-${load}`); c.fillRect(x, y, cell, ch);
    }
  }

  mark(c, v, x, y, state) {                   // larger than its cell, cut out of the ground
    const r = 6.5;
    c.fillStyle = v("--bg");
    if (state === "failed") {
      c.fillRect(x - r - 2, y - r - 2, 2 * r + 4, 2 * r + 4);
      c.fillStyle = v("--gpu-bad"); c.fillRect(x - r, y - r, 2 * r, 2 * r);
      c.strokeStyle = v("--bg"); c.lineWidth = 2; c.beginPath();
      c.moveTo(x - 3.2, y - 3.2); c.lineTo(x + 3.2, y + 3.2); c.moveTo(x + 3.2, y - 3.2); c.lineTo(x - 3.2, y + 3.2); c.stroke();
    } else {
      c.beginPath(); c.arc(x, y, r + 2, 0, 7); c.fill();
      c.strokeStyle = v("--gpu-sus"); c.lineWidth = 2; c.beginPath(); c.arc(x, y, r - 1, 0, 7); c.stroke();
      c.fillStyle = v("--gpu-sus"); c.beginPath(); c.arc(x, y, 1.8, 0, 7); c.fill();
    }
  }

  say() {
    const here = this.cells[this.at];
    if (here) {
      const { node, g, state, busy } = here, load = busy === null ? "load unknown" : `${Math.round(busy)} % busy`;
      const gpu = state === "none" ? "no GPU" : `GPU ${g}`, rack = node.r ? `, rack ${node.r}` : "";
      this.out.textContent = `${node.n} ${gpu}${rack}: ${state === "ok" ? load : state}${node.s === "healthy" ? "" : `; node ${node.s}${node.w ? `: ${node.w}` : ""}`}`;
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
    switch (event.key) {
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
    if (document.visibilityState !== "visible" || offlineSince) return;
    try {
      const answer = await fetch("/api/v1/fleet", { headers: { accept: "application/json" } });
      if (answer.ok) map.take((await answer.json()).nodes);
    } catch { /* the stream notices a lost connection and says so */ }
  };
  read();
  setInterval(read, 5_000);
}
