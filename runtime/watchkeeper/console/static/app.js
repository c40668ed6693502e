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
// A link would leave for the browser's own error page, and with it goes what could still be read.
document.addEventListener("click", event => {
  const link = event.target.closest("a[href]");
  if (!link || !(offlineSince || !navigator.onLine) || event.defaultPrevented) return;
  if (link.hash && link.pathname + link.search === location.pathname + location.search) return;
  event.preventDefault();
  setOffline(true);
  $("offline-tap").textContent = ` ${link.textContent.trim().slice(0, 60)} was not opened. What is on this page stays.`;
  $("offline").scrollIntoView({ block: "nearest" });
});
addEventListener("pageshow", () => document.querySelectorAll("form").forEach(f => delete f.dataset.sent));
addEventListener("offline", () => setOffline(true));
addEventListener("online", () => connect());

/* ---- the stream: lines as they come, and the state line ---- */

let source = null, tries = 0, heard = 0, retry = 0;
// The last line seen, not the journal's head: a line may be written while a page is drawn.
let newest = $("lines") ? Number($("lines").firstElementChild?.dataset.seq || 0) : Number(document.body.dataset.newest || 0);

function takeLine(event) {
  newest = Math.max(newest, Number(event.lastEventId) || 0);
  if (page === "incident" && event.data.includes(location.pathname)) drawAnew();   // its story goes on
  const list = $("lines");
  if (!list) return;
  const box = document.createElement("template");
  box.innerHTML = event.data;                 // rendered and escaped by our own server
  const li = box.content.querySelector("li");
  if (!li || $(li.id) || (list.dataset.only && li.querySelector(".kind").textContent !== list.dataset.only)) return;
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
  ({ waits, stale } = told);
  asks = told.asks ?? asks;                   // left out while no question changed
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

export const LIVE = { "x-watchkeeper-live": "1" };   // asked by the page, not by a person: keeps nobody signed in
const ANEW_MS = 10_000, QUIET_MS = 5_000;
export const looking = () => document.visibilityState === "visible" && !offlineSince;
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
  if (!["watch", "fleet", "incident"].includes(page) || drawing || !looking()) return;
  drawing = true;
  try {
    const query = new URLSearchParams(location.search);
    query.set("parts", "1");
    const answer = await fetch(`${location.pathname}?${query}`, { headers: LIVE });
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
  source.addEventListener("gap", () => location.reload());   // more was missed than is kept
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
