// The fleet map: every GPU a square, every node a row, every domain a block. Reads where things stand
// once and what they are every few seconds; draws; moves a cursor by key. It decides nothing.

import { LIVE, looking } from "./app.js";

const NODE = { h: "healthy", s: "suspect", f: "failed", d: "dead", r: "draining", c: "cordoned", k: "checking", q: "silent", u: "unknown" };
const GPU = { f: "failed", c: "cordoned", x: "hidden", q: "silent" };
const TALL = 16;                      // nodes in one strip; a larger block goes on beside it
const MOST_GPUS = 20_000;             // beyond (or data-most), a square is a node: its worst GPU, or their mean
const EVERY_MS = 5_000;
const short = (name, most) => name.length > most ? `…${name.slice(1 - most)}` : name;   // names differ at their end
const digit = c => c >= "0" && c <= "9" ? Number(c) : null;
const hex = text => { const n = parseInt(text.slice(1).replace(/^(.)(.)(.)$/, "$1$1$2$2$3$3"), 16); return [n >> 16, n >> 8 & 255, n & 255]; };

export class FleetMap {
  constructor(canvas, out) {
    const { by, shade, block, most } = canvas.dataset;
    Object.assign(this, { canvas, out, by, shade, most: Number(most || MOST_GPUS), only: block ?? null, key: "", cells: [], strips: [], at: -1, told: null });
    canvas.addEventListener("keydown", e => this.onKey(e));
    canvas.addEventListener("pointerdown", e => this.onPoint(e));
    canvas.addEventListener("dblclick", () => this.open());
    canvas.addEventListener("focus", () => this.say());
    canvas.addEventListener("blur", () => this.draw());
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme:light)").addEventListener("change", () => this.draw());
  }

  async read() {
    const get = async path => {
      const answer = await fetch(path, { headers: { accept: "application/json", ...LIVE } });
      return answer.ok ? answer.json() : null;
    };
    const told = await get(`/api/v1/fleet/cells?shade=${this.shade}&by=${this.by}`);
    if (!told) return;
    if (told.key !== this.key) {
      const layout = await get(`/api/v1/fleet/layout?by=${this.by}`);
      if (!layout || layout.key !== told.key) return;   // it moved meanwhile: the next reading tells
      this.place(layout);
    }
    this.take(told);
  }

  /** Where each GPU stands. `first` of a node: its place in the string of all GPUs. */
  place({ key, blocks }) {
    const here = this.cells[this.at];
    let first = 0, row = 0;
    this.key = key; this.cells = []; this.strips = [];
    this.byNode = blocks.reduce((sum, b) => sum + b.g.reduce((a, c) => a + c, 0), 0) > this.most && this.only === null;
    blocks.forEach((block, b) => {
      const shown = this.only === null ? block.g.some(Boolean) : block.r === this.only;   // the head has no GPU
      for (let i = 0; i < block.n.length; i++, row++) {
        const node = { name: block.n[i], block: block.r, b, row, first, count: block.g[i] };
        first += node.count;
        if (!shown) continue;
        if (!this.strips.length || this.strips.at(-1).b !== b || this.strips.at(-1).nodes.length === TALL)
          this.strips.push({ b, name: block.r, label: this.strips.at(-1)?.b !== b, nodes: [], wide: 1 });
        const strip = this.strips.at(-1), line = strip.nodes.length, wide = this.byNode ? 1 : Math.max(1, node.count);
        strip.nodes.push(node); strip.wide = Math.max(strip.wide, wide);
        for (let g = 0; g < wide; g++) this.cells.push({ node, g, line, strip: this.strips.length - 1 });
      }
    });
    this.at = here ? this.cells.findIndex(c => c.node.name === here.node.name && c.g === here.g) : -1;
  }

  take(told) {
    this.told = told;
    if (this.at < 0) {                       // where a person looks first: the worst, else what is not well
      const worst = Object.keys(told.what)[0], ill = c => GPU[this.mark(c)];
      this.at = [c => c.node.name === worst && ill(c), c => c.node.name === worst, ill].map(is => this.cells.findIndex(is)).find(i => i >= 0) ?? 0;
    }
    this.canvas.hidden = !this.cells.length;
    const began = performance.now();
    this.draw();
    this.canvas.dataset.drawnMs = (performance.now() - began).toFixed(1);
    if (document.activeElement === this.canvas) this.say();
  }

  /** One character of one square. */
  mark({ node, g }) {
    if (!this.byNode) return node.count ? this.told.g[node.first + g] : " ";
    const all = this.told.g.slice(node.first, node.first + node.count);
    const ill = [..."fqcx"].find(c => all.includes(c)), loads = [...all].map(digit).filter(d => d !== null);
    return ill || (loads.length ? String(Math.floor(loads.reduce((a, b) => a + b, 0) / loads.length)) : all[0] || " ");
  }

  layout(width) {
    if (this.byNode) {
      const high = width * .6, step = Math.min(22, Math.max(4, Math.floor(Math.sqrt(width * high / this.cells.length)))), cols = Math.floor(width / step);
      this.cells.forEach((c, i) => { c.x = (i % cols) * step; c.y = Math.floor(i / cols) * step; });
      return { step, cell: step - 1, height: Math.ceil(this.cells.length / cols) * step + 2 };
    }
    const high = width < 560 ? 760 : 720, gap = 10, label = 16;
    for (let step = this.only !== null ? 26 : 22; ; step -= step > 8 ? 1 : .5) {
      let x = 0, y = 0, tall = 0;
      for (const s of this.strips) {
        const w = Math.max(s.wide * step, s.label ? Math.min(44, width) : 0) + (this.only !== null ? 92 : 0);
        if (x && x + w > width) { x = 0; y += tall + gap; tall = 0; }
        s.x = x + (this.only !== null ? 92 : 0); s.y = y + label;
        x += w + (s.label || step > 8 ? gap : 2);
        tall = Math.max(tall, label + s.nodes.length * step);
      }
      if (y + tall <= high || step <= 3.5) return { step, cell: step - Math.max(.75, step * .12), height: y + tall + 4 };
    }
  }

  colours() {
    const css = getComputedStyle(document.documentElement), v = n => css.getPropertyValue(n).trim();
    const stops = [0, 1, 2, 3].map(i => hex(v(`--gpu-${i}`)));
    const level = d => {
      const t = d / 3, i = Math.min(2, Math.floor(t)), mix = k => Math.round(stops[i][k] + (stops[i + 1][k] - stops[i][k]) * (t - i));
      return `rgb(${mix(0)},${mix(1)},${mix(2)})`;
    };
    return { v, fill: Array.from({ length: 10 }, (_, d) => level(d)) };
  }

  draw() {
    const { canvas } = this, w = canvas.clientWidth;
    if (!w || !this.told || !this.cells.length) return;
    const L = this.L = this.layout(w), { v, fill } = this.colours(), ratio = devicePixelRatio || 1, c = canvas.getContext("2d");
    canvas.style.aspectRatio = "auto"; canvas.style.height = `${L.height}px`;
    canvas.width = w * ratio; canvas.height = L.height * ratio; c.scale(ratio, ratio);
    c.font = `11px ${v("--sans")}`; c.fillStyle = v("--ink-3");
    for (const s of this.byNode ? [] : this.strips) {
      if (s.label && this.only === null) c.fillText(short(s.name || "none", Math.max(6, Math.floor(s.wide * L.step / 6))), s.x, s.y - 5);
      if (this.only !== null) s.nodes.forEach((n, i) => c.fillText(short(n.name, 14), s.x - 90, s.y + i * L.step + L.cell * .7, 84));
    }
    const paths = new Map(), marks = [];
    for (const cell of this.cells) {
      const s = this.strips[cell.strip], mark = this.mark(cell), state = this.told.s[cell.node.row];
      if (!this.byNode) { cell.x = s.x + cell.g * L.step; cell.y = s.y + cell.line * L.step; }
      const { x, y } = cell;
      if (mark === " ") continue;
      const key = mark === "f" ? "9" : mark;
      if (!paths.has(key)) paths.set(key, new Path2D());
      const p = paths.get(key);
      if (key === "c" || key === "x") { p.moveTo(x, y + L.cell); p.lineTo(x + L.cell, y); }
      else if (key === "q") p.rect(x + .5, y + .5, L.cell - 1, L.cell - 1);
      else if (mark !== "f") p.rect(x, y, L.cell, L.cell);
      if (mark === "f") marks.push([x, y, "failed"]);
      else if (cell.g === 0 && state === "s") marks.push([x, y, "suspect"]);
      else if (cell.g === 0 && state === "d") marks.push([x, y, "failed"]);
    }
    c.lineWidth = 1;
    for (const [key, p] of paths) {
      if (key === "c" || key === "x" || key === "q") { c.strokeStyle = v("--gpu-off"); c.stroke(p); }
      else if (key === ".") { c.strokeStyle = v("--line"); c.stroke(p); }
      else { c.fillStyle = fill[digit(key)]; c.fill(p); }
    }
    const size = Math.min(1, Math.max(.5, L.step / 15)), tone = { failed: v("--gpu-bad"), suspect: v("--gpu-sus"), bg: v("--bg") };
    for (const [x, y, state] of marks) this.stamp(c, tone, x + L.cell / 2, y + L.cell / 2, state, size);
    const here = this.cells[this.at];
    if (document.activeElement === canvas && here) { c.strokeStyle = v("--ink"); c.lineWidth = 2; c.strokeRect(here.x - 3, here.y - 3, L.cell + 6, L.cell + 6); }
  }

  stamp(c, tone, x, y, state, size) {         // larger than its cell, cut out of the ground
    const r = 6.5;
    c.save(); c.translate(x, y); c.scale(size, size); c.fillStyle = tone.bg;
    if (state === "failed") {
      c.fillRect(-r - 2, -r - 2, 2 * r + 4, 2 * r + 4);
      c.fillStyle = tone.failed; c.fillRect(-r, -r, 2 * r, 2 * r);
      c.strokeStyle = tone.bg; c.lineWidth = 2; c.beginPath();
      c.moveTo(-3.2, -3.2); c.lineTo(3.2, 3.2); c.moveTo(3.2, -3.2); c.lineTo(-3.2, 3.2); c.stroke();
    } else {
      c.beginPath(); c.arc(0, 0, r + 2, 0, 7); c.fill();
      c.strokeStyle = tone.suspect; c.lineWidth = 2; c.beginPath(); c.arc(0, 0, r - 1, 0, 7); c.stroke();
      c.fillStyle = tone.suspect; c.beginPath(); c.arc(0, 0, 1.8, 0, 7); c.fill();
    }
    c.restore();
  }

  reading(mark) {
    if (GPU[mark]) return GPU[mark];
    const d = digit(mark), { shade, low, high, unit } = this.told, step = (high - low) / 10;
    if (d === null) return "not known";
    if (shade === "health") return "well";
    const from = Math.round(low + d * step), to = Math.round(low + (d + 1) * step);
    return d === 0 ? `under ${to} ${unit}` : d === 9 ? `${from} ${unit} or more` : `${from} to ${to} ${unit}`;
  }

  where(cell) {
    const { node } = cell, way = this.only === null && node.block
      ? `/fleet?by=${this.by}&shade=${this.shade}&block=${encodeURIComponent(node.block)}` : `/nodes/${encodeURIComponent(node.name)}`;
    return [way, this.only === null && node.block ? `Zoom into ${node.block}` : `Open ${node.name}`];
  }

  say() {
    const here = this.cells[this.at];
    if (here && this.told) {
      const { node, g } = here, state = NODE[this.told.s[node.row]], what = this.told.what[node.name];
      const gpu = this.byNode ? `, ${node.count} GPUs` : node.count ? ` GPU ${g}` : " no GPU", block = node.block ? `, ${this.by} ${node.block}` : "";
      const [way, text] = this.where(here), link = document.createElement("a");
      link.href = way; link.textContent = text;
      this.out.replaceChildren(`${node.name}${gpu}${block}: ${this.byNode && digit(this.mark(here)) !== null ? "on average " : ""}${this.reading(this.mark(here))}${state === "healthy" ? "" : `; node ${state}${what ? `: ${what}` : ""}`}. `, link);
    }
    this.draw();
  }

  open() { const here = this.cells[this.at]; if (here) location.href = this.where(here)[0]; }

  /** The nearest square above or below. */
  beside(here, down) {
    let best = this.at, least = Infinity;
    this.cells.forEach((c, i) => {
      const dy = down ? c.y - here.y : here.y - c.y;
      if (dy < 1) return;
      const d = dy + 3 * Math.abs(c.x - here.x);
      if (d < least) { least = d; best = i; }
    });
    return best;
  }

  onKey(event) {
    const here = this.cells[this.at], last = this.cells.length - 1;
    if (!here) return;
    const blockFrom = (i, by) => {
      let to = i;
      while (to + by >= 0 && to + by <= last && this.cells[to].node.b === here.node.b) to += by;
      const b = this.cells[to].node.b;
      return this.cells.findIndex(c => c.node.b === b);
    };
    const moves = {
      ArrowRight: () => Math.min(last, this.at + 1), ArrowLeft: () => Math.max(0, this.at - 1),
      ArrowDown: () => this.beside(here, true), ArrowUp: () => this.beside(here, false),
      PageDown: () => blockFrom(this.at, 1), PageUp: () => blockFrom(this.at, -1), Home: () => 0, End: () => last,
      n: () => { const ill = c => GPU[this.mark(c)] || this.told.s[c.node.row] !== "h"; const next = this.cells.findIndex((c, i) => i > this.at && ill(c)); return next < 0 ? Math.max(0, this.cells.findIndex(ill)) : next; },
    };
    if (event.key === "Enter") { event.preventDefault(); this.open(); return; }
    if (event.key === "Escape" && this.only !== null) { location.href = `/fleet?by=${this.by}&shade=${this.shade}`; return; }
    if (!moves[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.at = moves[event.key]();
    this.say();
  }

  onPoint(event) {
    const box = this.canvas.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top, half = (this.L?.cell || 0) / 2;
    let least = Infinity;
    this.cells.forEach(({ x, y }, i) => { const d = (x + half - px) ** 2 + (y + half - py) ** 2; if (d < least) { least = d; this.at = i; } });
    this.say();
  }
}

const canvas = document.getElementById("fleet-map");
if (canvas) {
  canvas.hidden = false;
  const map = new FleetMap(canvas, document.getElementById("fleet-cursor"));
  const read = async () => {
    if (!looking()) return;
    try { await map.read(); } catch { /* the stream notices a lost connection and says so */ }
  };
  read();
  setInterval(read, EVERY_MS);
  document.addEventListener("visibilitychange", read);
  // Another colour or another grouping is another page: the address says what is seen.
  document.getElementById("shades")?.addEventListener("change", event => event.currentTarget.requestSubmit());
}
