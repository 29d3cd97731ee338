// The page of `aurl studio`. It keeps all that is set in one state; each move sends the state to the
// server and shows the music that comes back. Undo is a list of states.

import { Roll } from "./roll.js";
import { Player } from "./sound.js";

const $ = (selector, within = document) => within.querySelector(selector);
const make = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const NAMES = ["A", "B"];

let about; // what the model has: see Studio.described
let state; // what is set
let past = []; // states before this one
let future = []; // states that were undone
let music = null;
let player;
const roll = new Roll($("#roll"));

// ---- Talking to the server

async function ask(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Error("The studio does not answer. Is `aurl studio` still running?");
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({ error: `The studio failed (${answer.status}): see its terminal.` }));
  throw new Error(said.error);
}

const post = (path, body) => ask(path, { method: "POST", body });

function say(error) {
  $("#message").hidden = !error;
  $("#message span").textContent = error ? error.message : "";
}

// ---- From the state to music

function codes(piece) {
  const { rows, start } = piece;
  return Array.from({ length: state.windows }, (_, index) => rows[(start + index) % rows.length].code);
}

function move() {
  const { pieces, windows, ...rest } = state;
  return JSON.stringify({ first: codes(pieces[0]), last: codes(pieces[1]), ...rest });
}

let asking = false, again = false;

// Ask for the music of the state. Moves that come while the server works are one more request.
async function refresh({ aloud = true } = {}) {
  again = true;
  if (asking) return;
  asking = true;
  $("#roll").setAttribute("aria-busy", "true");
  while (again) {
    again = false;
    const asked = performance.now();
    try {
      music = await (await post("music", move())).json();
      say(null);
      roll.show(music);
      $("#status").textContent = `${Math.round(performance.now() - asked)} ms`;
      if (player.playing) player.replace(music);
      else if (aloud && $("#auto").checked) play(false);
    } catch (error) {
      say(error);
    }
  }
  asking = false;
  $("#roll").setAttribute("aria-busy", "false");
}

// ---- States: every change makes a new one, so an old one is a thing to go back to

function change(changes, { remember = true } = {}) {
  if (remember) commit();
  state = { ...state, ...changes };
  show();
  refresh();
}

const replaced = (list, index, value) => list.map((old, place) => (place === index ? value : old));

let held = null; // the state before the slider that is being moved
function commit(before = state) {
  past.push(before);
  if (past.length > 500) past.shift();
  future = [];
}

function back(from, to) {
  if (!from.length) return;
  to.push(state);
  state = from.pop();
  show();
  refresh();
}

// A reload begins where the page was left, undo and all: the tab keeps it, for this studio alone.
const KEPT = `aurl studio ${location.pathname}`;

function keep() {
  const pieces = []; // which many states share
  const place = (piece) => (pieces.includes(piece) ? pieces.indexOf(piece) : pieces.push(piece) - 1);
  const packed = (each) => ({ ...each, pieces: each.pieces.map(place) });
  const kept = { state: packed(state), past: past.map(packed), future: future.map(packed), pieces };
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
  } catch {
    sessionStorage.removeItem(KEPT); // no room: a reload begins anew
  }
}

function recalled() {
  const kept = JSON.parse(sessionStorage.getItem(KEPT));
  if (!kept) return false;
  const whole = (each) => ({ ...each, pieces: each.pieces.map((place) => kept.pieces[place]) });
  [state, past, future] = [whole(kept.state), kept.past.map(whole), kept.future.map(whole)];
  return true;
}

function fresh() {
  return {
    at: 0,
    levels: about.levels.map(() => "path"),
    sliders: about.sliders.map(() => 0),
    faders: about.faders.map(() => 0),
    temperature: 0,
    seed: 0,
  };
}

// ---- Controls

// A range that moves the music while it is dragged, and is one step of undo when it is let go.
function ranged(input, read, write) {
  input.addEventListener("input", () => {
    held ??= state;
    change(write(Number(input.value)), { remember: false });
  });
  input.addEventListener("change", () => {
    if (held) commit(held);
    held = null;
    show();
  });
  input.show = () => {
    const value = read();
    if (Number(input.value) !== value) input.value = value;
    const share = (each) => `${(100 * (each - input.min)) / (input.max - input.min)}%`;
    input.style.setProperty("--at", share(value));
    input.style.setProperty("--rest", share(Math.max(0, input.min)));
    return value;
  };
  return input;
}

function control(id, label, small, title, read, write) {
  const input = make("input", { type: "range", step: 0.05, id, min: -about.largest, max: about.largest, value: 0 });
  const output = make("output", { htmlFor: id });
  const name = make("label", { htmlFor: id }, label, ...(small ? [make("small", {}, small)] : []));
  const made = make("div", { className: "control", title }, name, output, input);
  ranged(input, read, write);
  input.addEventListener("dblclick", () => read() !== 0 && change(write(0)));
  showers.push(() => {
    const value = input.show();
    output.textContent = signed(value);
    made.classList.toggle("moved", value !== 0);
  });
  return made;
}

const showers = []; // each puts one part of the state on the page
const show = () => showers.forEach((each) => each());
const words = (name) => name.replaceAll("_", " ");

const signed = (value) => (value > 0 ? "+" : "") + value.toFixed(2);

// What the music becomes at either end of a slider.
const ends = (two) => make("span", { className: "words" }, ...two.map((word) => make("span", {}, word)));

// All that is known of a dimension.
function known(slider) {
  if (slider.information_nats === null) return `${slider.name}: its music is not here`;
  const moves = slider.moves.map((each) => `${words(each.attribute)} ${signed(each.size.mean)}`);
  const tells = slider.tells ? `; tells ${words(slider.tells.attribute)}, ${slider.tells.share.toFixed(2)} of its entropy` : "";
  return `${slider.name}: +1 moves ${moves.join(", ") || "nothing that shows"}` +
    `${moves.length ? " (standard deviations in the music; each by its own 95 % interval: of twenty that are none, one passes)" : ""}${tells}; ${slider.information_nats.toFixed(2)} nats of information a slot`;
}

function makeSliders() {
  const groups = new Map();
  about.sliders.forEach((slider, index) => {
    const level = slider.name.split("/")[0];
    if (!groups.has(level)) groups.set(level, []);
    const made = control(
      `slider-${index}`,
      slider.title,
      slider.title === slider.name ? "" : slider.name,
      known(slider),
      () => state.sliders[index],
      (value) => ({ sliders: replaced(state.sliders, index, value) }),
    );
    if (about.held_out) made.append(ends(slider.ends ?? ["moves nothing that shows"]));
    groups.get(level).push(made);
  });
  for (const [level, made] of groups) {
    const small = make("small", {}, span(about.levels.find((each) => each.name === level)));
    $("#sliders").append(make("h3", {}, level, small), make("div", { className: "grid" }, ...made));
  }
  if (!groups.size) $("#sliders .hint").textContent = "No dimension of this model is live: none tells 0.05 nats.";
}

function span({ slots, span: bars }) {
  if (slots === 1) return "the whole window";
  const length = bars === 1 ? "a bar" : bars === 0.5 ? "half a bar" : bars === 0.25 ? "a quarter of a bar" : `${bars} bars`;
  return `${length} each, moved together`;
}

function makeFaders() {
  $("#faders").hidden = !about.faders.length;
  about.faders.forEach((fader, index) => {
    const made = control(
      `fader-${index}`,
      words(fader.attribute),
      `R² ${fader.r2.toFixed(2)}`,
      `Codes foretell ${fader.r2.toFixed(2)} of its variance in held-out pieces; +1 is foretold to raise it by ` +
        `${fader.gain.toFixed(2)} standard deviations`,
      () => state.faders[index],
      (value) => ({ faders: replaced(state.faders, index, value) }),
    );
    made.append(ends(fader.words));
    $("#faders .grid").append(made);
  });
}

function makeLevels() {
  const options = [["first", "A", "from A"], ["path", "A–B", "from the morph between both"],
    ["last", "B", "from B"], ["mean", "off", "the mean of all music: it says nothing"]];
  about.levels.forEach((level, index) => {
    const small = make("small", {}, span(level).replace(", moved together", ""));
    const segments = make("div", { className: "segments" });
    for (const [value, text, title] of options) {
      const input = make("input", { type: "radio", name: `level-${index}`, value });
      input.addEventListener("change", () => change({ levels: replaced(state.levels, index, value) }));
      showers.push(() => { input.checked = state.levels[index] === value; });
      segments.append(make("label", { title }, input, text));
    }
    const made = make("fieldset", {}, make("legend", {}, level.name, small), segments);
    made.dataset.level = level.name;
    $("#levels .grid").append(made);
  });
}

// ---- Pieces

async function fetched(kind, options, data) {
  const query = new URLSearchParams(options);
  return { kind, start: 0, seed: 0, ...options, ...(await (await post(`piece/${kind}?${query}`, data)).json()) };
}

async function take(index, kind, options, data) {
  const card = cards[index];
  $(".name", card).textContent = "reading…";
  try {
    const piece = await fetched(kind, options, data);
    say(null);
    change({ pieces: replaced(state.pieces, index, piece) });
  } catch (error) {
    say(error);
    show();
  }
}

async function open(index, files) {
  for (const file of [...files].slice(0, 2)) {
    if (file.size > about.most_bytes) {
      say(new Error(`${file.name} must have ${about.most_bytes} bytes at most, got ${file.size}.`));
      continue;
    }
    await take(index, "file", { name: file.name }, file);
    index = 1 - index; // the second file is the other piece
  }
}

const cards = [...document.querySelectorAll(".piece")];

function makePiece(card, index) {
  const bar = $(".bar", card);
  const kinds = about.held_out ? [["held-out", "Held-out"], ["prior", "Prior"]] : [["prior", "Prior"]];
  const seed = make("input", { type: "number", min: 0, max: about.most_seed, step: 1 });
  seed.title = "Which one: the same number is the same piece";
  for (const [kind, text] of kinds) {
    const button = make("button", { type: "button" }, text);
    button.dataset.kind = kind;
    button.title = kind === "prior" ? "A draw from the prior" : "A piece the model was not trained on";
    button.addEventListener("click", () => take(index, kind, { seed: state.pieces[index].seed }));
    showers.push(() => button.setAttribute("aria-pressed", state.pieces[index].kind === kind));
    bar.append(button);
  }
  seed.addEventListener("change", () => {
    const { kind } = state.pieces[index];
    take(index, kind === "file" ? kinds[0][0] : kind, { seed: Math.trunc(Number(seed.value)) });
  });
  const input = make("input", { type: "file", id: `file-${index}`, accept: ".mid,.midi,.kar,audio/midi" });
  input.addEventListener("change", () => {
    open(index, input.files).then(() => { input.value = ""; });
  });
  const label = make("label", { className: "file", title: "Or drop one here" }, "Open MIDI…", input);
  const bars = make("select");
  bars.setAttribute("aria-label", `First bar of piece ${NAMES[index]}`);
  bars.addEventListener("change", () => {
    const piece = { ...state.pieces[index], start: Number(bars.value) };
    change({ pieces: replaced(state.pieces, index, piece) });
  });
  bar.append(make("label", {}, "No.", seed), label, bars);
  let rows = null;
  showers.push(() => {
    const piece = state.pieces[index];
    $(".name", card).textContent = $(".name", card).title = piece.name;
    $(".note", card).textContent = piece.note;
    seed.value = piece.seed;
    label.classList.toggle("chosen", piece.kind === "file");
    if (rows !== piece.rows) {
      rows = piece.rows;
      bars.replaceChildren(...rows.map((row, place) => new Option(`from bar ${row.bar}`, place)));
      bars.hidden = rows.length < 2;
    }
    bars.value = piece.start;
  });
  card.addEventListener("dragover", () => card.classList.add("over"));
  card.addEventListener("dragleave", () => card.classList.remove("over"));
}

// A file that is dropped beside the two pieces becomes the first of them, and never leaves the page.
function makeDrop() {
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  let inside = 0;
  addEventListener("dragenter", (event) => { if (carries(event)) $("#veil").hidden = !++inside; });
  addEventListener("dragleave", (event) => { if (carries(event)) $("#veil").hidden = !--inside; });
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    inside = 0;
    $("#veil").hidden = true;
    cards.forEach((card) => card.classList.remove("over"));
    const card = event.target instanceof Element ? event.target.closest(".piece") : null;
    open(card ? Number(card.dataset.piece) : 0, event.dataTransfer.files);
  });
}

// ---- Playing, downloads, keys

function play(loop) {
  player.play(music, loop);
  follow();
}

function follow() {
  const { place } = player;
  roll.point(place === null ? null : quarterAt(place));
  $("#play").setAttribute("aria-pressed", player.playing);
  $("#play").textContent = player.playing ? "■ Stop" : "▶ Play";
  if (player.playing) requestAnimationFrame(follow);
}

// Where in the picture one is after so many seconds; the tempo may change on the way.
function quarterAt(seconds) {
  let [quarter, from] = [0, 0];
  let rate = music.quarters / music.seconds;
  for (const [onset, , start] of music.notes) {
    if (start > seconds) {
      if (start > from) rate = (onset - quarter) / (start - from);
      break;
    }
    [quarter, from] = [onset, start];
  }
  return Math.min(music.quarters, quarter + (seconds - from) * rate);
}

function toggle() {
  if (player.playing) player.stop();
  else if (music) play(true);
  follow();
}

async function download(kind) {
  try {
    const url = URL.createObjectURL(await (await post(`file/${kind}`, move())).blob());
    make("a", { href: url, download: `studio.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  } catch (error) {
    say(error);
  }
}

function makeStage() {
  for (let count = 1; count <= about.most_windows; count++)
    $("#windows").append(new Option(count * about.n_bars, count));
  $("#windows").addEventListener("change", () => change({ windows: Number($("#windows").value) }));
  showers.push(() => { $("#windows").value = state.windows; });
  $("#play").addEventListener("click", toggle);
  $("#undo").addEventListener("click", () => back(past, future));
  $("#redo").addEventListener("click", () => back(future, past));
  $("#reset").addEventListener("click", () => change(fresh()));
  showers.push(() => {
    $("#undo").disabled = !past.length;
    $("#redo").disabled = !future.length;
  });
  for (const kind of ["mid", "wav"]) $(`#${kind}`).addEventListener("click", () => download(kind));
  addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      event.preventDefault();
      back(...(event.shiftKey ? [future, past] : [past, future]));
    } else if (event.key === " " && !event.target.closest("button, select, input:not([type=range]), label")) {
      event.preventDefault();
      toggle();
    }
  });
}

function makeMorph() {
  ranged($("#at"), () => state.at, (value) => ({ at: value }));
  showers.push(() => {
    const at = $("#at").show();
    $("#morph output").textContent = at === 0 ? "A" : at === 1 ? "B" : `${Math.round(100 * at)} % of the way`;
  });
}

function makeChance() {
  $("#temperature").max = about.hottest;
  ranged($("#temperature"), () => state.temperature, (value) => ({ temperature: value }));
  showers.push(() => {
    const value = $("#temperature").show();
    $("#heat output").textContent = value.toFixed(2);
    $("#heat").classList.toggle("moved", value !== 0);
    $("#seed").value = state.seed;
  });
  const seeded = (seed) => change({ seed: Math.min(Math.max(0, Math.trunc(seed) || 0), about.most_seed) });
  $("#seed").addEventListener("change", () => seeded(Number($("#seed").value)));
  $("#dice").addEventListener("click", () => seeded(state.seed + 1));
}

async function begin() {
  about = await (await ask("controls")).json();
  document.title = `${about.model} · aurl studio`;
  $("#model").textContent = about.model;
  $("#lacking").hidden = !about.lacking;
  $("#lacking").textContent = about.lacking;
  player = new Player(about.timbres, about.partials, follow);
  if (!recalled()) {
    const kind = about.held_out ? "held-out" : "prior";
    const pieces = [await fetched(kind, { seed: 0 }), await fetched(kind, { seed: 1 })];
    state = { pieces, windows: Math.max(1, Math.round(4 / about.n_bars)), ...fresh() };
  }
  addEventListener("pagehide", keep);
  makeStage();
  makeMorph();
  makeLevels();
  makeFaders();
  makeSliders();
  makeChance();
  cards.forEach(makePiece);
  makeDrop();
  $("#message button").addEventListener("click", () => say(null));
  show();
  await refresh({ aloud: false });
}

begin().catch(say);
