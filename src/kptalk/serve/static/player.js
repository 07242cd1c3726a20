// Plays a video while it is made: its bytes go into a SourceBuffer as they come.
const Source = self.ManagedMediaSource || self.MediaSource;
const AHEAD = 60;       // seconds that are read ahead of what is shown
const KEPT = 10;        // seconds behind it that stay where memory is short
const ENOUGH = 0.12;    // seconds that must be there to begin
const SLOWLY = 1.1;     // by how much more must be there than the speed so far asks for

export const canStream = mime => Boolean(Source) && (!mime || Source.isTypeSupported(mime));
const pause = seconds => new Promise(done => setTimeout(done, 1000 * seconds));
const once = (target, ...names) => new Promise(done => {
  for (const name of names) target.addEventListener(name, done, {once: true});
});

// A video element's buffer that bytes are appended to, one piece after the other.
export class Feed {
  constructor(video) {
    this.video = video;
    this.source = new Source();
    this.closed = false;
    this.address = URL.createObjectURL(this.source);
    if (self.ManagedMediaSource) video.disableRemotePlayback = true;
    video.src = this.address;
    this.opened = once(this.source, 'sourceopen');
  }

  get end() {
    const ranges = this.video.buffered;
    return ranges.length ? ranges.end(ranges.length - 1) : 0;
  }

  async open(mime) {
    await this.opened;
    this.buffer = this.source.addSourceBuffer(mime);
  }

  async append(data) {
    while (!this.closed) {
      try {
        this.buffer.appendBuffer(data);
        await once(this.buffer, 'updateend', 'abort');
        return;
      } catch (error) {
        if (error.name !== 'QuotaExceededError') throw error;
        const until = this.video.currentTime - KEPT;
        if (until > this.start) {
          this.buffer.remove(0, until);
          await once(this.buffer, 'updateend', 'abort');
        } else await pause(0.5);
      }
    }
  }

  get start() {
    return this.video.buffered.length ? this.video.buffered.start(0) : 0;
  }

  finish() {
    if (!this.closed && this.source.readyState === 'open') this.source.endOfStream();
  }

  close() {
    this.closed = true;
    URL.revokeObjectURL(this.address);
  }
}

// Starts and, where the video is made more slowly than it is shown, waits until the rest will come in time.
class Pace {
  constructor(feed, job) {
    Object.assign(this, {feed, job, began: performance.now(), complete: false, wanted: true, stalls: 0});
    this.timer = setInterval(() => this.look(), 100);
    this.onwaiting = () => { if (!this.complete && feed.video.currentTime > 0) this.stalls++; };
    feed.video.addEventListener('waiting', this.onwaiting);
  }

  get enough() {
    const {end, video} = this.feed, ahead = end - video.currentTime, total = Number(this.job()?.seconds) || end + 1;
    if (this.complete || end >= total - 0.1) return true;
    const elapsed = (performance.now() - this.began) / 1000;
    if (elapsed < 0.4) return ahead >= ENOUGH;
    const speed = end / elapsed;
    return ahead >= Math.max(ENOUGH, (total - end) * (SLOWLY / speed - 1));
  }

  look() {
    const {video} = this.feed;
    if (this.wanted && this.feed.end > 0 && this.enough) {
      this.wanted = false;
      video.play().catch(() => {});  // the browser wants a click: there are controls
    } else if (!this.wanted && !video.paused && !this.complete && video.readyState < 3 && !this.enough) {
      video.pause();
      this.wanted = true;
    }
  }

  end() {
    clearInterval(this.timer);
    this.feed.video.removeEventListener('waiting', this.onwaiting);
  }
}

// Shows a growing answer; resolves when all of it is there. `job` gives what is known of the video at any time.
export async function play(video, answer, job, signal, marks = {}) {
  const mime = answer.headers.get('content-type');
  if (!canStream(mime)) {
    await answer.body.cancel();
    return false;
  }
  const feed = new Feed(video), pace = new Pace(feed, job), reader = answer.body.getReader();
  marks.pace = pace;
  const stop = () => { reader.cancel().catch(() => {}); feed.close(); };
  signal.addEventListener('abort', stop, {once: true});
  try {
    await feed.open(mime);
    for (;;) {
      while (feed.end - video.currentTime > AHEAD && !signal.aborted) await pause(0.25);
      const {done, value} = await reader.read();
      if (done || signal.aborted) break;
      marks.bytes ??= performance.now();
      await feed.append(value);
      pace.look();
    }
    if (!signal.aborted) feed.finish();
    pace.complete = true;
    pace.look();
  } finally {
    pace.end();
    signal.removeEventListener('abort', stop);
  }
  return true;
}
