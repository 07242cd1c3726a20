// The microphone up, the talking face down: a WebSocket, and a player that stays as near to now as it can.
import {currentKey, sentence} from './api.js';
import {canStream, Feed} from './player.js';

const NEAR = 0.1;    // seconds of video that should wait at the least, over the last `RECENT` looks
const FAR = 0.7;     // seconds that are not worth catching up with
const FASTER = 1.08;
const LOOK = 50, RECENT = 20;  // milliseconds, looks

export const liveIsPossible = () => Boolean(navigator.mediaDevices?.getUserMedia && self.AudioWorkletNode && canStream());

export class Live {
  constructor(video, told) {
    Object.assign(this, {video, told, sent: 0, parts: [], leasts: [], pieces: Promise.resolve()});
  }

  // Begins; resolves when the first picture can be shown. Raises an Error with a message for people.
  async start(hello) {
    try {
      const wanted = {channelCount: 1, echoCancellation: true, noiseSuppression: true, autoGainControl: true};
      this.stream = await navigator.mediaDevices.getUserMedia({audio: wanted});
    } catch (error) {
      throw new Error(error.name === 'NotAllowedError' ? 'The browser may not use the microphone.' : 'No microphone was found.');
    }
    this.context = new AudioContext({latencyHint: 'interactive'});
    await this.context.audioWorklet.addModule(new URL('microphone.js', import.meta.url));
    const source = this.context.createMediaStreamSource(this.stream);
    this.node = new AudioWorkletNode(this.context, 'microphone', {numberOfOutputs: 0});
    const address = new URL('v1/live', location.href);
    address.protocol = address.protocol.replace('http', 'ws');
    this.socket = new WebSocket(address);
    this.socket.binaryType = 'arraybuffer';
    this.done = new Promise((end, fail) => Object.assign(this, {end, fail}));
    this.done.catch(() => {});
    const begun = new Promise(done => { this.begun = done; });
    this.socket.onopen = () => this.socket.send(JSON.stringify({...hello, key: currentKey() || undefined}));
    this.socket.onmessage = ({data}) => this.take(data);
    this.socket.onclose = () => this.ended || this.close(new Error('The connection was closed.'));
    this.node.port.onmessage = ({data}) => {
      if (this.speaking && this.socket.readyState === WebSocket.OPEN) {
        this.micBegan ??= performance.now();
        this.socket.send(data);
        this.sent += data.byteLength / 32000;
      }
    };
    source.connect(this.node);
    await Promise.race([begun, this.done]);
  }

  take(data) {
    if (typeof data !== 'string') {
      this.parts.push(data);
      this.pieces = this.pieces.then(() => this.feed.append(data)).catch(error => this.close(error));
      return;
    }
    const message = JSON.parse(data);
    if (message.type === 'started') {
      this.lead = message.lead;
      this.speaking = true;
    } else if (message.type === 'video') {
      this.mime = message.mime;
      this.feed = new Feed(this.video);
      this.video.muted = true;  // one's own voice from a loudspeaker would come back
      this.pieces = this.feed.open(message.mime);
      this.pieces.then(() => this.video.play().catch(() => {}));
      this.timer = setInterval(() => this.keepNear(), LOOK);
      this.begun();
    } else if (message.type === 'error') {
      this.close(new Error(sentence(message.error.message)));
    } else if (message.type === 'ended') {
      this.ended = true;  // the connection closes at once, and the last pieces still wait for the buffer
      this.pieces.then(() => this.close());
    }
  }

  // Plays a little faster while more waits than is needed, so that the picture is as late as it must be.
  keepNear() {
    const {video, feed} = this, ahead = feed.end - video.currentTime;
    this.leasts = [...this.leasts, ahead].slice(-RECENT);
    const least = Math.min(...this.leasts);
    if (this.speaking && least > FAR && this.leasts.length === RECENT) {
      video.currentTime = feed.end - FAR / 2;
      this.leasts = [];
    }
    video.playbackRate = this.speaking && least > NEAR ? FASTER : 1;
    if (this.micBegan) this.told(this.delay);
  }

  // Seconds from a sound at the microphone to the mouth that makes it.
  get delay() {
    return (performance.now() - this.micBegan) / 1000 - (this.video.currentTime - this.lead);
  }

  stop() {
    this.speaking = false;
    this.release();
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send('{"type": "stop"}');
  }

  release() {
    this.stream?.getTracks().forEach(track => track.stop());
    if (this.context?.state !== 'closed') this.context?.close();
  }

  close(error) {
    if (this.closed) return;
    this.closed = true;
    this.release();
    clearInterval(this.timer);
    this.video.playbackRate = 1;
    this.feed?.finish();
    if (this.socket.readyState <= WebSocket.OPEN) this.socket.close();
    error ? this.fail(error) : this.end();
  }

  // What has been shown, as a file.
  get recording() {
    return new Blob(this.parts, {type: 'video/mp4'});
  }
}
