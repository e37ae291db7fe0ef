
// What comes from the network is put in as text, never as markup.

const byId = (id) => document.getElementById(id);

/** An element with its class and its content: texts, other elements, nothing. */
function el(tag, kind, ...content) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  made.append(...content.flat().filter((part) => part !== null && part !== undefined && part !== ""));
  return made;
}

function svg(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// ── numbers, times, words ──

const whole = new Intl.NumberFormat("en");
const precise = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const count = (number, one, many = `${one}s`) => `${whole.format(number)} ${number === 1 ? one : many}`;
const rate = (number) => (number < 10 ? precise.format(number) : whole.format(Math.round(number)));
const percent = (part, all) => (all ? `${precise.format((100 * part) / all)} %` : "–");
const bytes = (size) => (size < 1048576 ? `${whole.format(Math.round(size / 1024))} KiB` : `${precise.format(size / 1048576)} MiB`);

/** How far the server's clock is ahead of this one, in milliseconds. */
let ahead = 0;
const now = () => Date.now() + ahead;

/** A length of time in its largest unit. */
function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 2 * 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

function distance({ dateTime: at, dataset }) {
  if (dataset.form === "age") return span(Math.max(0, (now() - Date.parse(at)) / 1000));
  const seconds = (Date.parse(at) - now()) / 1000;
  if (seconds >= 1) return `in ${span(seconds)}`;
  return seconds > -1 ? "now" : `${span(-seconds)} ago`;
}

/** A moment as seen from now, or how long it is `age` that something lasts; the moment itself is its title. */
function time(at, form = "distance") {
  const made = el("time");
  made.dateTime = made.title = at;
  made.dataset.form = form;
  made.textContent = distance(made);
  return made;
}

const badge = (word) => el("span", `badge ${word}`, word.replace("-", " "));
const name = (text) => el("span", "name", text);
const place = (path, line) => (path ? `${path}${line ? `:${line}` : ""}` : "");
const inGroup = (group) => (group ? ` (group ${group})` : "");

/** Has a screen reader say something once it has nothing else to say. */
function say(text) {
  setText(byId("said"), text);
}

// ── lists that keep their elements, and with them what is open and focused ──

/** Makes the children of `parent` those of `items`, in their order. What `make` makes has a method `renew(item)`. */
function sync(parent, items, keyOf, make) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const focused = document.activeElement;
  let next = parent.firstChild;
  for (const item of items) {
    const key = keyOf(item);
    const child = known.get(key) ?? make();
    known.delete(key);
    child.dataset.key = key;
    child.renew(item);
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
  for (const gone of known.values()) gone.remove();
  if (focused !== document.activeElement && focused.isConnected) focused.focus({ preventScroll: true });
}

/** Gives an element a method `renew(item)` that fills it with `content(item)` whenever the item is another. */
function filled(element, content) {
  let print = "";
  element.renew = (item) => {
    if (print === (print = JSON.stringify(item))) return;
    element.replaceChildren(...content(item));
  };
  return element;
}

/** A cell of a table; its role stays where a narrow window makes a block of it. */
function cell(content = "", kind = "") {
  const made = el("td", kind, content);
  made.setAttribute("role", "cell");
  return made;
}

function tableRow(...content) {
  const made = el("tr", "", content);
  made.setAttribute("role", "row");
  return made;
}

/** Fills a list of terms, each with its value. */
function facts(list, entries) {
  list.replaceChildren(...entries.flatMap(([term, ...value]) => [el("dt", "", term), el("dd", "", value)]));
}

/** Shows `note` while there is nothing to list. */
function noteIfEmpty(note, list, isEmpty, text) {
  setText(note, text);
  note.hidden = !isEmpty;
  list.hidden = isEmpty;
}

// ── lines of policy to copy ──

function lines() {
  const [where, text, button] = [el("p", "where quiet"), el("pre"), el("button", "", "Copy")];
  button.type = "button";
  button.addEventListener("click", () => copy(text, button));
  text.tabIndex = 0;
  const made = el("div", "lines", where, el("div", "", text, button));
  made.renew = (add, subject) => {
    made.hidden = !add;
    if (!add) return;
    setText(where, add.to ? `add to ${add.to}:` : "add to a file of the policy:");
    setText(text, add.lines.trimEnd());
    button.setAttribute("aria-label", `Copy the lines for ${subject}`);
    text.setAttribute("aria-label", `The lines for ${subject}`);
  };
  return made;
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(`${text.textContent}\n`);
    button.textContent = "Copied";
    say("The lines are copied.");
  } catch {
    // Without TLS, browsers give no page but one on this machine the clipboard.
    getSelection().selectAllChildren(text);
    button.textContent = "Selected";
    say("The lines are selected, to be copied.");
  }
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

// ── how it stands ──

const STANDINGS = {
  ok: "the files are in force",
  degraded: "the last good policy is in force",
  "rolled-back": "an earlier policy is in force",
  "deny-all": "no policy can be in force; every name is denied",
};
let standing = null;

function showStanding(status) {
  const before = standing;
  standing = status;
  const state = byId("state");
  state.className = `badge ${status.state}`;
  setText(state, status.state.replace("-", " "));
  byId("in-force").replaceChildren(`generation ${status.generation}, in force for `, time(status.since, "age"));
  document.title = status.state === "ok" ? "pullgate" : `pullgate: ${status.state.replace("-", " ")}`;
  setText(byId("version"), `pullgate ${status.version}, process ${status.pid}, policy ${status.digest.slice(0, 16)}`);
  showTrouble(status);
  showPolicy(status);
  showEnding(status);
  if (!before || before.state !== status.state || before.fault_count !== status.fault_count) {
    say(`The policy is ${status.state.replace("-", " ")}: ${STANDINGS[status.state]}.`);
  }
  if (before && before.generation !== status.generation) load();
}

function showTrouble(status) {
  const { state, faults, fault_count, rollback } = status;
  byId("trouble").hidden = state === "ok";
  const who = rollback ? `rolled back to generation ${rollback.generation} by ${rollback.by}` : STANDINGS[state];
  const found = fault_count ? `; ${count(fault_count, "fault")} in the files as they are` : "";
  setText(byId("trouble-title"), `${state.replace("-", " ")}: ${who}${found}`);
  const [first, rest, unshown] = [faults.slice(0, 3), faults.slice(3), fault_count - faults.length];
  const last = unshown ? el("p", "", `and ${whole.format(unshown)} more: pullgate policy lint shows all`) : null;
  const more = rest.length ? [el("details", "", el("summary", "", `${whole.format(fault_count - 3)} more`), rest.map(fault), last)] : [];
  byId("faults").replaceChildren(...first.map(fault), ...more);
}

/** A fault or warning with its line, and marks below what it is about. */
function fault({ path, line, column, width, text, message, hint }) {
  const quoted = text === null || text === undefined ? null : el("pre", "", text);
  if (quoted && column) {
    quoted.append(`\n${text.slice(0, column - 1).replace(/[^\t]/g, " ")}${"^".repeat(Math.max(1, Math.min(width || 1, text.length)))}`);
  }
  const where = el("span", "name", place(path, line) + (line ? `:${column}` : ""));
  return el("div", "fault", el("p", "", where, ` ${message}`), quoted, hint ? el("p", "", `hint: ${hint}`) : null);
}

function showPolicy({ rules, warnings, warning_count, forwards_unlisted, since, listen, started }) {
  const entries = [
    ["rules", whole.format(rules)],
    ["in force for", time(since, "age")],
    ["service runs for", time(started, "age")],
    ["listens on", [...new Set(listen.map(({ address }) => address))].join(", ")],
  ];
  if (forwards_unlisted.length) entries.push(["unlisted names resolve", `for ${forwards_unlisted.join(", ")}`]);
  if (warning_count) {
    const shown = warnings.map(fault);
    entries.push(["warnings", el("details", "", el("summary", "", whole.format(warning_count)), shown)]);
  }
  facts(byId("policy"), entries);
}

/** Exceptions, changes on top of the files, the rollback: whatever somebody has to come back to. */
function showEnding({ exceptions = [], overlays, rollback }) {
  const items = [
    ...overlays.map((overlay) => ({ overlay })),
    ...(rollback ? [{ rollback }] : []),
    ...exceptions.map((exception) => ({ exception })),
  ];
  sync(byId("ending"), items, JSON.stringify, () => filled(el("li"), ending));
  noteIfEmpty(byId("ending-none"), byId("ending"), !items.length, "no exception, no change on top of the files");
}

function ending({ overlay, rollback, exception }) {
  const about = (first, end, ...second) => [el("p", "first", el("span", "", first), end), el("p", "quiet", second)];
  if (overlay) {
    const { kind, what, group, by, until, ticket, reason } = overlay;
    const second = [`by ${by}`, group && `for group ${group}`, ticket, reason].filter(Boolean).join(", ");
    return about([`${kind} `, name(what)], until ? time(until) : "until it is ended", second);
  }
  if (rollback) return about(`rollback to generation ${rollback.generation}`, "until it is ended", `by ${rollback.by}`);
  const { entry, kind, expires, owner, ticket, groups, path, line, ended } = exception;
  const second = [owner, ticket, groups.length && `for ${groups.join(", ")}`, place(path, line)].filter(Boolean).join(", ");
  return about([`${kind} `, name(entry), ended ? " has ended" : ""], time(expires), second);
}

// ── plots ──

const WINDOW = 300_000;
let moments = [];

/** Takes the moments that are new, each with how long it was, as rates. */
function takeMoments(fresh) {
  for (const moment of fresh) {
    const last = moments.at(-1);
    if (last && moment.number <= last.number) moments = [];
    const seconds = last && moment.number === last.number + 1 ? Math.max((moment.at - last.at) / 1000, 0.2) : 1;
    const { number, at, allowed, denied, audited } = moment;
    moments.push({ number, at, all: (allowed + denied + audited) / seconds, denied: denied / seconds, audited: audited / seconds });
  }
  const newest = moments.at(-1)?.at ?? 0;
  moments = moments.filter(({ at }) => at > newest - WINDOW);
}

/** Draws rates of the last five minutes: the first series with an area below it. */
function plot(parent, series) {
  const legend = el("p", "legend");
  const drawing = svg("svg", { viewBox: "0 0 300 100", preserveAspectRatio: "none", "aria-hidden": "true" });
  const [most, half] = [el("span"), el("span")];
  const scale = el("div", "scale", most, half, el("span", "", "0"));
  scale.setAttribute("aria-hidden", "true");
  const table = el("table");
  const details = el("details", "", el("summary", "", "As a table"), table);
  parent.append(legend, el("div", "plot", scale, drawing, el("p", "span", el("span", "", "5 min ago"), el("span", "", "now"))), details);
  details.addEventListener("toggle", () => parent.draw());
  parent.draw = () => {
    const newest = moments.at(-1);
    if (!newest) return;
    const top = nice(Math.max(...series.flatMap(({ key }) => moments.map((moment) => moment[key]))));
    setText(most, precise.format(top));
    setText(half, precise.format(top / 2));
    const path = (key) => moments.map((moment) => `${300 - (newest.at - moment.at) / 1000},${100 - (100 * moment[key]) / top}`).join("L");
    const first = moments[0];
    const shapes = series.flatMap(({ key, kind }, index) => {
      const line = svg("path", { d: `M${path(key)}`, class: `line ${kind}` });
      const [from, to] = [300 - (newest.at - first.at) / 1000, 300];
      const area = svg("path", { d: `M${from},100L${path(key)}L${to},100Z`, class: `area ${kind}` });
      return index ? [line] : [area, line];
    });
    drawing.replaceChildren(...shapes);
    const [{ key, unit }] = series;
    const mean = moments.reduce((sum, moment) => sum + moment[key], 0) / moments.length;
    const peak = Math.max(...moments.map((moment) => moment[key]));
    const others = series.slice(1).map(({ key, kind, unit }) => [", ", el("span", `key ${kind}`, `${rate(newest[key])} ${unit}`)]);
    legend.replaceChildren(el("strong", "", rate(newest[key])), `${unit} now`, ...others.flat(), `; mean ${rate(mean)}, peak ${rate(peak)}`);
    if (details.open) fillTable(table, series);
  };
}

/** The same in words: means of half minutes, newest first. */
function fillTable(table, series) {
  const newest = moments.at(-1).at;
  const head = el("tr", "", ["Half a minute", ...series.map(({ title }) => title)].map((title) => el("th", "", title)));
  const rows = [];
  for (let back = 0; back < WINDOW; back += 30_000) {
    const part = moments.filter(({ at }) => at <= newest - back && at > newest - back - 30_000);
    if (!part.length) break;
    const means = series.map(({ key }) => rate(part.reduce((sum, moment) => sum + moment[key], 0) / part.length));
    rows.push(el("tr", "", [back ? `${back / 1000} s ago` : "now", ...means].map((text) => el("td", "", text))));
  }
  table.replaceChildren(el("thead", "", head), el("tbody", "", rows));
}

/** The next round number: what a scale ends with. */
function nice(number) {
  const power = 10 ** Math.floor(Math.log10(Math.max(number, 1)));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= number);
}

/** Draws a bar for each of the last 24 hours. */
function drawHours(hours) {
  const parent = byId("hours-plot");
  const last = Math.floor(now() / 3600_000);
  const known = new Map(hours.map((hour) => [Math.floor(Date.parse(hour.hour) / 3600_000), hour]));
  const bars = Array.from({ length: 24 }, (_, index) => known.get(last - 23 + index) ?? { allowed: 0, denied: 0, audited: 0 });
  const top = nice(Math.max(...bars.map(({ denied, audited }) => denied + audited)));
  const drawing = svg("svg", { viewBox: "0 0 240 100", preserveAspectRatio: "none", "aria-hidden": "true" });
  const bar = (index, from, part, kind) => svg("rect", { x: index * 10 + 1, width: 8, y: 100 - (100 * (from + part)) / top, height: (100 * part) / top, class: `bar ${kind}` });
  bars.forEach(({ denied, audited }, index) => drawing.append(bar(index, 0, denied, "denied"), bar(index, denied, audited, "audited")));
  const total = (key) => bars.reduce((sum, hour) => sum + hour[key], 0);
  const scale = el("div", "scale", [top, top / 2, 0].map((number) => el("span", "", precise.format(number))));
  scale.setAttribute("aria-hidden", "true");
  const all = total("allowed") + total("denied") + total("audited");
  const audited = total("audited") ? [", ", el("span", "key audited", `${whole.format(total("audited"))} would be`)] : [];
  const legend = el("p", "legend", el("strong", "", whole.format(total("denied"))), "denied", audited, `, of ${whole.format(all)}`);
  const label = (index) => new Date((last - 23 + index) * 3600_000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const ends = el("p", "span", [0, 8, 16, 23].map((index) => el("span", "", label(index))));
  const head = el("tr", "", ["From", "Denied", "Would be denied", "Allowed"].map((title) => el("th", "", title)));
  const rows = bars.map(({ denied, audited, allowed }, index) => el("tr", "", [label(index), ...[denied, audited, allowed].map((number) => whole.format(number))].map((text) => el("td", "", text))));
  const isOpen = parent.querySelector("details")?.open ?? false;
  const focuses = parent.contains(document.activeElement);
  const details = el("details", "", el("summary", "", "As a table"), el("table", "", el("thead", "", head), el("tbody", "", rows.reverse())));
  details.open = isOpen;
  parent.replaceChildren(legend, el("div", "plot", scale, drawing, ends), details);
  if (focuses) details.firstChild.focus();
}

// ── what was denied ──

const KEPT = 50;
let recent = [];
let unsaid = 0;

/** One that was denied before goes to the top. */
function takeDenials({ entries, left_out }, isFirst) {
  const keyOf = ({ name, client, image, verdict }) => JSON.stringify([name, client, image, verdict]);
  for (const entry of [...entries].reverse()) {
    const before = recent.find((known) => keyOf(known) === keyOf(entry));
    recent = [{ ...entry, times: entry.times + (isFirst ? 0 : (before?.times ?? 0)) }, ...recent.filter((known) => known !== before)];
  }
  recent = recent.slice(0, KEPT);
  sync(byId("recent"), recent, keyOf, () => filled(el("li"), denial));
  const note = left_out && !isFirst ? `${count(left_out, "more denial")} came too quickly to be listed` : "nothing yet";
  noteIfEmpty(byId("recent-none"), byId("recent"), !recent.length || Boolean(left_out && !isFirst), note);
  byId("recent").hidden = !recent.length;
  if (!isFirst) {
    unsaid += entries.length;
    loadSoon();
  }
}

function denial({ name: text, image, client, group, at, verdict, reason, times }) {
  const subject = name(image ? `${text}/${image}` : text);
  const often = times > 1 ? ` ${whole.format(times)}×` : "";
  const audit = verdict === "audit" ? [badge("audit"), " "] : [];
  return [el("p", "first", el("span", "", audit, subject, el("span", "quiet", often)), time(at)), el("p", "quiet", `${client}${inGroup(group)}, ${reason}`)];
}

/** An image as people write it; what was to be done, if it was no pull. */
function imageAt(host, { repository, action }) {
  return `${host}${repository && "/"}${repository}${action === "pull" ? "" : ` (${action})`}`;
}

/** A row whose lines stay where they are: somebody may be about to copy them. */
function mostRow() {
  const [times, subject, client, last, why, offer] = [cell("", "number"), cell(), cell(), cell(), el("div"), lines()];
  const made = tableRow(times, subject, client, last, cell([why, offer]));
  made.renew = (denied) => {
    const { name: text, image, clients, after, hint, add, verdict_now } = denied;
    const isAllowed = verdict_now === "allow";
    setText(times, whole.format(denied.count));
    subject.replaceChildren(name(image ? imageAt(text, image) : text), after ? el("div", "quiet", `right after ${after.name}`) : "");
    client.replaceChildren(clients.length ? name(clients[0]) : "various", clients.length > 1 ? el("span", "quiet", ` and ${clients.length - 1} more`) : "");
    last.replaceChildren(time(denied.last));
    const word = isAllowed ? [badge("allow"), " meanwhile: "] : denied.verdict === "audit" ? [badge("audit"), " "] : [];
    const help = !isAllowed && !add && hint ? el("div", "quiet", hint) : "";
    why.replaceChildren(...word, denied.why ?? denied.reason, help);
    offer.renew(isAllowed ? null : add, text);
  };
  return made;
}

let loading = 0;
let loaded = 0;

/** Has what was denied most renewed: soon, but not with every single denial. */
function loadSoon() {
  loading ||= setTimeout(loadMost, Math.max(300, loaded + 3000 - Date.now()));
}

function load() {
  loadMost();
  loadUnused();
}

async function ask(path, parameters) {
  const reply = await fetch(`${path}?${new URLSearchParams(parameters)}`);
  const answer = await reply.json();
  if (!reply.ok) throw new Error(answer.error);
  return answer;
}

async function loadMost() {
  clearTimeout(loading);
  [loading, loaded] = [0, Date.now()];
  const [note, table] = [byId("most-none"), byId("most")];
  try {
    const { source, names, hours } = await ask("denied", { since: "24h", top: 15 });
    sync(table.tBodies[0], names, ({ name, image }) => JSON.stringify([name, image]), mostRow);
    noteIfEmpty(note, table, !names.length, "nothing");
    setText(byId("most-title"), source === "history" ? "Denied most, last 24 hours" : "Denied most, of the last entries of the log");
    byId("hours-plot").parentElement.hidden = source !== "history";
    if (source === "history") drawHours(hours);
  } catch (error) {
    noteIfEmpty(note, table, true, `not known: ${error.message}`);
  }
}

async function loadUnused() {
  const [note, list] = [byId("unused-note"), byId("unused")];
  try {
    const { rules, left_out = 0, reaches_back_to, is_complete } = await ask("unused", { days: 7, limit: 100 });
    sync(list, rules, ({ kind, entry, pattern, path, line }) => JSON.stringify([kind, entry, pattern, path, line]), () => filled(el("li"), unused));
    const all = rules.length + left_out;
    const since = is_complete ? [] : ["; the history reaches back only to ", time(reaches_back_to)];
    note.replaceChildren(all ? `${count(all, "rule")}${left_out ? `, the first ${rules.length} of them here` : ""}` : "every rule was used", ...since);
    list.hidden = !all;
  } catch (error) {
    noteIfEmpty(note, list, true, `not known: ${error.message}`);
  }
}

function unused({ pattern, kind, entry, path, line }) {
  const made = [name(pattern), el("span", "quiet", ` ${kind === "registry" ? "" : kind} ${entry}`)];
  made[0].title = place(path, line);
  return made;
}

// ── upstream and cache ──

function showNumbers({ at, moments: fresh, upstream, cache }) {
  ahead = Date.parse(at) - Date.now();
  takeMoments(fresh);
  for (const id of ["asked-plot", "denied-plot"]) byId(id).draw();
  sync(byId("servers").tBodies[0], upstream.servers, ({ server }) => server, () => filled(tableRow(), server));
  setText(byId("upstream"), `${count(upstream.asked, "question")} went upstream, ${whole.format(upstream.failed)} got no answer, ${whole.format(upstream.in_flight)} under way`);
  const { entries, bytes: size, hits, misses, stale, refreshed, evicted } = cache;
  facts(byId("cache"), [
    ["answers", `${whole.format(entries)}, ${bytes(size)}`],
    ["answered from it", `${percent(hits, hits + misses)} of ${whole.format(hits + misses)}`],
    ["renewed in time", whole.format(refreshed)],
    ["served past their time", whole.format(stale)],
    ["made room for others", whole.format(evicted)],
  ]);
}

function server({ server, asked, answered, failed, timed_out, round_trip, resting }) {
  const [kind, word] = resting ? ["deny", "left alone"] : answered ? ["ok", "answers"] : asked ? ["audit", "no answer yet"] : ["quiet", "not asked yet"];
  const trip = round_trip === null ? "–" : `${precise.format(round_trip)} ms`;
  return [cell(name(server)), cell(el("span", `badge ${kind}`, word)), ...[trip, asked, failed, timed_out].map((value) => cell(typeof value === "number" ? whole.format(value) : value, "number"))];
}

// ── the question ──

async function answerTo(subject, client) {
  const isImage = subject.includes("/") && !subject.includes("://");
  const parameters = { [isImage ? "image" : "name"]: subject, ...(client && { client }) };
  const { name: asked, access, verdict, reason, group, rule, category, overlay, note, hint, contact, add, asked: last } = await ask("check", parameters);
  const first = el("p", "verdict", badge(verdict), " ", access ? `${access} ` : "", name(asked), ` ${reason}`);
  const entries = [["client", `${client || "127.0.0.1"}${inGroup(group)}`]];
  if (rule) entries.push(["rule", name(rule.pattern), rule.path ? ` ${place(rule.path, rule.line)}` : ""]);
  if (category) entries.push(["category", category]);
  if (overlay) entries.push(["on top of the files", `${overlay.kind} ${overlay.what}, by ${overlay.by}`]);
  if (note) entries.push(["note", note]);
  if (hint) entries.push(["hint", hint]);
  if (contact) entries.push(["whom to ask", contact]);
  if (last) entries.push(["asked last", time(last.at), ` by ${last.client}, right after ${last.after.name}`]);
  const list = el("dl");
  facts(list, entries);
  const offer = lines();
  offer.renew(add, asked);
  return [first, list, offer];
}

byId("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  const [subject, client] = ["ask-name", "ask-client"].map((id) => byId(id).value.trim());
  if (!subject) return;
  try {
    byId("answer").replaceChildren(...(await answerTo(subject, client)));
  } catch (error) {
    byId("answer").replaceChildren(el("p", "", badge("deny"), ` ${error.message}`));
  }
});

// ── live ──

let lostAt = null;

function isLive() {
  const link = byId("link");
  if (lostAt) load();
  lostAt = null;
  link.className = "live";
  setText(link, "live");
}

function isLost() {
  const link = byId("link");
  lostAt ??= new Date();
  link.className = "lost";
  setText(link, `connection lost at ${lostAt.toLocaleTimeString("en-GB")}; trying again`);
}

function follow() {
  const events = new EventSource("events");
  let isFirst = true;
  const on = (kind, take) => events.addEventListener(kind, (event) => take(JSON.parse(event.data)));
  events.addEventListener("open", () => {
    isFirst = true;
    isLive();
  });
  on("status", showStanding);
  on("numbers", showNumbers);
  on("denials", (denials) => {
    takeDenials(denials, isFirst);
    isFirst = false;
  });
  events.addEventListener("error", () => {
    isLost();
    // A browser does not come back by itself to a server that was too busy.
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, 10_000);
  });
}

plot(byId("asked-plot"), [{ key: "all", kind: "", unit: "questions", title: "Questions a second" }]);
plot(byId("denied-plot"), [
  { key: "denied", kind: "denied", unit: "denied", title: "Denied a second" },
  { key: "audited", kind: "audited", unit: "would be", title: "Would be denied a second" },
]);
follow();
load();
setInterval(load, 60_000);
setInterval(() => document.querySelectorAll("time").forEach((each) => setText(each, distance(each))), 1000);
setInterval(() => {
  if (!unsaid) return;
  say(`${count(unsaid, "new denial")}, the last one ${recent[0].name} for ${recent[0].client}.`);
  unsaid = 0;
}, 15_000);
