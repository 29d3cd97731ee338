// Sound in the page, at once: the timbres of aurl/audio.py, played by the browser.

const AHEAD_S = 0.12; // how far notes are given to the browser in advance
const TICK_MS = 25;
const GAIN = 0.3;
const CUT_S = 0.03;

export class Player {
  // `stopped` is called when the music has come to its end.
  constructor(timbres, partials, stopped) {
    this.timbres = timbres;
    this.partials = partials;
    this.stopped = stopped;
    this.music = null;
    this.voices = [];
    this.timer = null;
  }

  get playing() {
    return this.timer !== null;
  }

  // From the beginning; over and over if `loop`.
  play(music, loop) {
    this.stop();
    this.open();
    this.music = music;
    this.loop = loop;
    this.origin = this.context.currentTime + 0.03; // when the music, or this round of it, begins
    this.given = -1; // up to which second of this round notes have been given
    this.timer = setInterval(() => this.give(), TICK_MS);
    this.give();
  }

  // Other music from the same place on; what sounds in both goes on sounding.
  replace(music) {
    this.music = music;
    const now = this.context.currentTime;
    const kept = new Set(music.notes.map(String));
    this.voices = this.voices.filter((voice) => {
      const sounds = voice.starts <= now && kept.has(voice.note);
      if (!sounds) this.cut(voice);
      return sounds;
    });
    this.given = now - this.origin;
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    for (const voice of this.voices) this.cut(voice);
    this.voices = [];
  }

  // Seconds from the beginning; null if nothing is played.
  get place() {
    return this.playing ? Math.max(0, this.context.currentTime - this.origin) : null;
  }

  open() {
    if (!this.context) {
      this.context = new AudioContext();
      this.out = new DynamicsCompressorNode(this.context, { threshold: -12, ratio: 8 });
      this.out.connect(this.context.destination);
      this.waves = this.timbres.map((timbre) => {
        const strengths = Float32Array.from({ length: this.partials + 1 }, (_, k) =>
          k === 0 ? 0 : k ** -timbre.fall * (k % 2 ? 1 : timbre.even));
        return this.context.createPeriodicWave(new Float32Array(this.partials + 1), strengths);
      });
    }
    this.context.resume();
  }

  give() {
    const now = this.context.currentTime;
    const until = now + AHEAD_S - this.origin;
    for (const note of this.music.notes)
      if (note[2] > this.given && note[2] <= until) this.sound(note, this.origin + note[2]);
    this.given = until;
    this.voices = this.voices.filter((voice) => voice.ends > now);
    if (now - this.origin < this.music.seconds) return;
    if (this.loop) {
      this.origin += this.music.seconds;
      this.given = -1;
    } else {
      clearInterval(this.timer); // what sounds still may die away
      this.timer = null;
      this.stopped();
    }
  }

  sound(note, at) {
    const [, , , held, pitch, velocity, program, drum] = note;
    const starts = Math.max(at, this.context.currentTime);
    const loud = GAIN * (velocity / 127) ** 1.5;
    const gain = new GainNode(this.context, { gain: 0 });
    gain.connect(this.out);
    const voice = drum ? this.drum(pitch) : this.tone(pitch, program);
    const { attack_s: attack, decay_s: decay, release_s: release } = drum
      ? { attack_s: 0.002, decay_s: 0.1, release_s: 0.05 }
      : this.timbres[Math.floor(program / 8)];
    const ends = starts + (drum ? 0.3 : held);
    gain.gain.setValueAtTime(0, starts);
    gain.gain.linearRampToValueAtTime(loud, starts + attack);
    if (decay) gain.gain.setTargetAtTime(0, starts + attack, decay * 2 ** ((60 - pitch) / 24));
    gain.gain.setTargetAtTime(0, Math.max(ends, starts + attack), release / 3);
    voice.connect(gain);
    voice.start(starts);
    voice.stop(ends + 2 * release);
    this.voices.push({ voice, gain, starts, ends: ends + 2 * release, note: String(note) });
  }

  tone(pitch, program) {
    const voice = new OscillatorNode(this.context, { frequency: 440 * 2 ** ((pitch - 69) / 12) });
    voice.setPeriodicWave(this.waves[Math.floor(program / 8)]);
    return voice;
  }

  drum(pitch) {
    if (pitch < 37) return new OscillatorNode(this.context, { frequency: 60 });
    this.noise ??= this.hiss();
    return new AudioBufferSourceNode(this.context, { buffer: this.noise, playbackRate: pitch < 42 ? 0.5 : 1 });
  }

  hiss() {
    const buffer = this.context.createBuffer(1, this.context.sampleRate / 2, this.context.sampleRate);
    const samples = buffer.getChannelData(0);
    for (let i = 0; i < samples.length; i++) samples[i] = 2 * Math.random() - 1;
    return buffer;
  }

  cut({ voice, gain }) {
    const now = this.context.currentTime;
    gain.gain.cancelScheduledValues(now);
    gain.gain.setTargetAtTime(0, now, CUT_S / 3);
    voice.stop(now + 2 * CUT_S);
  }
}
