// The voice: a file, a recording made here, a text, or live.
const $ = id => document.getElementById(id);
const NOTES = {
  file: 'Any sound file, or a video with sound.', record: '', text: '', live: '',
};
export const clock = seconds => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, '0')}`;

export class Voice {
  constructor(changed, longest) {
    Object.assign(this, {changed, longest, source: 'file', file: null, recorded: null});
    for (const radio of document.querySelectorAll('input[name=source]')) radio.onchange = () => this.choose(radio.value);
    $('speech-file').onchange = event => event.target.files[0] && this.take(event.target.files[0]);
    $('record').onclick = () => this.recorder ? this.recorder.stop() : this.record();
    $('text').oninput = () => this.changed();
  }

  choose(source) {
    this.source = source;
    for (const each of ['file', 'record', 'text', 'live']) $(`by-${each}`).hidden = each !== source;
    this.note(NOTES[source]);
    this.changed();
  }

  note(text, bad = false) {
    $('speech-note').textContent = text;
    $('speech-note').classList.toggle('bad', bad);
  }

  take(file) {
    this.file = file;
    $('speech-name').textContent = file.name;
    $('speech-drop').classList.add('small');
    this.listen($('speech-player'), file);
    this.note('');
    this.changed();
  }

  listen(player, file) {
    if (player.src) URL.revokeObjectURL(player.src);
    player.src = URL.createObjectURL(file);
    player.hidden = false;
  }

  async record() {
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({audio: true});
    } catch (error) {
      this.note(error?.name === 'NotAllowedError' ? 'The browser may not use the microphone.' : 'No microphone was found.', true);
      return;
    }
    const parts = [], recorder = this.recorder = new MediaRecorder(stream), began = performance.now();
    const timer = setInterval(() => {
      const seconds = (performance.now() - began) / 1000;
      $('record-time').textContent = clock(seconds);
      if (seconds >= this.longest) recorder.stop();
    }, 200);
    recorder.ondataavailable = ({data}) => parts.push(data);
    recorder.onstop = () => {
      clearInterval(timer);
      stream.getTracks().forEach(track => track.stop());
      this.recorder = null;
      this.pressed(false);
      this.recorded = new File(parts, 'recording', {type: recorder.mimeType});
      this.listen($('record-player'), this.recorded);
      this.changed();
    };
    recorder.start();
    this.pressed(true);
  }

  pressed(on) {
    $('record').setAttribute('aria-pressed', on);
    $('record').querySelector('span').textContent = on ? 'Stop' : this.recorded ? 'Record again' : 'Start recording';
    this.note(on ? 'Recording.' : 'Recorded.');
  }

  // What is missing, as a sentence; '' where there is a voice.
  get missing() {
    if (this.source === 'file') return this.file ? '' : 'Choose a recording.';
    if (this.source === 'record') return this.recorder ? 'Stop the recording first.' : this.recorded ? '' : 'Record something.';
    return this.source === 'text' && !$('text').value.trim() ? 'Write what the photo says.' : '';
  }

  addTo(form) {
    if (this.source === 'text') {
      form.append('text', $('text').value);
      if ($('voice').value) form.append('voice', $('voice').value);
    } else form.append('speech', this.source === 'file' ? this.file : this.recorded, 'speech');
  }
}
