// The piano roll: time to the right, pitch upwards, a rectangle a note.

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 30, TOP = 16, BOTTOM = 6;
const LEAST_PITCHES = 25;
const BLACK = new Set([1, 3, 6, 8, 10]);

function element(name, attributes, text = "") {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return made;
}

// What makes two notes the same to the eye.
const same = ([onset, length, , , pitch, , program, drum]) => `${onset} ${length} ${pitch} ${program} ${drum}`;

export class Roll {
  constructor(svg) {
    this.svg = svg;
    this.music = null;
    this.known = null; // notes of the music before
    this.range = null;
    this.head = element("line", { class: "head", hidden: "" });
    new ResizeObserver(() => this.music && this.draw(this.music)).observe(svg);
  }

  // Show music; notes that the music before did not have are marked for a moment.
  show(music) {
    this.known = this.music && new Set(this.music.notes.map(same));
    this.music = music;
    this.draw(music);
    this.known = null;
  }

  draw(music) {
    const { width, height } = this.svg.getBoundingClientRect();
    if (width < 2 * LEFT) return; // not laid out; it will be drawn when it is
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const [low, high] = this.fitted(music.notes.map((note) => note[4]));
    const row = (height - TOP - BOTTOM) / (high - low + 1);
    this.scale = (width - LEFT - 4) / music.quarters;
    const x = (quarter) => LEFT + quarter * this.scale;
    const y = (pitch) => TOP + (high - pitch) * row;
    const made = [];
    for (let pitch = low; pitch <= high; pitch++) {
      if (BLACK.has(pitch % 12))
        made.push(element("rect", { class: "key", x: LEFT, y: y(pitch), width: width - LEFT, height: row }));
      if (pitch % 12 === 0)
        made.push(element("text", { x: 4, y: y(pitch) + row / 2 + 4 }, `C${pitch / 12 - 1}`));
    }
    for (let quarter = 1; quarter < music.quarters; quarter++)
      made.push(element("line", { class: "beat", x1: x(quarter), x2: x(quarter), y1: TOP, y2: height - BOTTOM }));
    music.lines.forEach((line, index) => {
      made.push(element("line", { class: "line", x1: x(line), x2: x(line), y1: 0, y2: height }));
      if (index < music.lines.length - 1) made.push(element("text", { x: x(line) + 4, y: 12 }, index + 1));
    });
    for (const note of music.notes) {
      const [onset, length, , , pitch, velocity, program, drum] = note;
      const colour = drum ? "drum" : `f${Math.floor(program / 16)}`;
      const fresh = this.known && !this.known.has(same(note)) ? " fresh" : "";
      made.push(element("rect", {
        class: `note ${colour}${fresh}`,
        "data-note": same(note),
        x: x(onset), y: y(pitch) + 0.5, rx: Math.min(3, row / 3),
        width: Math.max(2, length * this.scale - 1.5), height: Math.max(2, row - 1),
        opacity: 0.45 + 0.55 * velocity / 127,
      }));
    }
    this.head.setAttribute("y1", 0);
    this.head.setAttribute("y2", height);
    this.svg.replaceChildren(...made, this.head);
    const bars = music.lines.length - 1;
    this.svg.setAttribute("aria-label", `Piano roll of ${bars} bars: ${music.notes.length} notes`);
  }

  // The range of pitches shown: it grows at once and shrinks only when half of it is empty, so that
  // the picture keeps still while a slider moves.
  fitted(pitches) {
    if (!pitches.length) return this.range ?? [60, 60 + LEAST_PITCHES - 1];
    let low = Math.min(...pitches) - 1, high = Math.max(...pitches) + 1;
    const lacking = Math.max(0, LEAST_PITCHES - (high - low + 1));
    low = Math.max(0, low - Math.floor(lacking / 2));
    high = Math.min(127, Math.max(high, low + LEAST_PITCHES - 1));
    const before = this.range;
    if (before && before[1] - before[0] < 2 * (high - low)) {
      low = Math.min(low, before[0]);
      high = Math.max(high, before[1]);
    }
    this.range = [low, high];
    return this.range;
  }

  // The place that is played, in quarters; null for none.
  point(quarter) {
    this.head.toggleAttribute("hidden", quarter === null);
    if (quarter === null) return;
    const x = LEFT + quarter * this.scale;
    this.head.setAttribute("x1", x);
    this.head.setAttribute("x2", x);
  }
}
