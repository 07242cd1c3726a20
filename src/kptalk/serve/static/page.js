// The page: puts photo, voice and options together, and shows what is made of them.
import {ApiError, currentKey, events, json, local, request, sentence, setKey} from './api.js';
import {History} from './history.js';
import {Live, liveIsPossible} from './live.js';
import {canStream, play} from './player.js';
import {Photo} from './photo.js';
import {Voice} from './voice.js';

const $ = id => document.getElementById(id);
const video = $('video');
const page = self.kptalk = {job: null, marks: {}};  // also for those who look from outside
let photo, voice, history, working = null, saved = '';

const pause = seconds => new Promise(done => setTimeout(done, 1000 * seconds));
const status = text => { if ($('status').textContent !== text) $('status').textContent = text; };

function changed() {
  const live = voice?.source === 'live';
  $('make').textContent = live ? 'Start speaking' : 'Make the video';
  if ($('make-note').classList.contains('bad')) note('');
}

function note(text) {
  $('make-note').textContent = text || 'The file says in its metadata that it is synthetic.';
  $('make-note').classList.toggle('bad', Boolean(text));
}

function missing() {
  if (!photo.found) return ['photo-file', photo.file ? 'This photo cannot be used, or is still being looked at.' : 'Choose a photo first.'];
  if (voice.missing) return [{file: 'speech-file', record: 'record', text: 'text'}[voice.source], voice.missing];
  return $('consent').checked ? null : ['consent', 'Say whether the person has agreed.'];
}

function options() {
  const given = {};
  for (const id of ['framing', 'size', 'style', 'pose', 'mouth_scale', 'expression_scale', 'seed']) {
    const field = $(id), usual = field.tagName === 'SELECT' ? '' : field.defaultValue;
    if (field.value !== '' && field.value !== usual) given[id] = field.type === 'range' || field.type === 'number' || id === 'size' ? Number(field.value) : field.value;
  }
  return given;
}

// The stage: begin with a fresh element state; `poster` is what shows until the first frame does.
function open(poster) {
  working?.abort();
  working = new AbortController();
  if (saved) URL.revokeObjectURL(saved);
  saved = '';
  video.pause();
  video.removeAttribute('src');
  video.load();
  video.poster = poster || '';
  video.muted = false;
  video.hidden = false;
  $('empty').hidden = $('download').hidden = $('stop').hidden = true;
  $('cancel').hidden = true;
  $('screen').classList.add('on');
  $('synthetic').hidden = false;
  page.marks = {began: performance.now(), signal: working.signal};
  if (matchMedia('(max-width: 820px)').matches) $('stage').scrollIntoView({behavior: 'smooth', block: 'start'});
  return working.signal;
}

function markFirstFrame() {
  const marks = page.marks;
  const seen = () => { marks.frame ??= performance.now(); };
  video.requestVideoFrameCallback ? video.requestVideoFrameCallback(seen) : video.addEventListener('loadeddata', seen, {once: true});
}

async function make() {
  const signal = open(photo.poster());
  const form = new FormData();
  form.append('portrait_id', photo.found.id);
  form.append('face', photo.face);
  voice.addTo(form);
  for (const [name, value] of Object.entries(options())) form.append(name, value);
  status('Sending…');
  markFirstFrame();
  try {
    page.marks.sent = performance.now();
    const send = () => json('v1/videos', {method: 'POST', body: form, signal});
    await watch(await send(), signal);
  } catch (error) {
    failed(error, signal);
  }
}

function failed(error, signal) {
  if (signal.aborted || error.name === 'AbortError') return;
  $('cancel').hidden = $('progress-row').hidden = true;
  status(error instanceof ApiError || error.told ? error.message : 'Something went wrong: ' + error.message);
  if (error.status === 401) knock();
  if (error.code === 'not_found' && photo.file) photo.take(photo.file);  // the photo was forgotten: send it again
}

// Shows a job from wherever it is to its end.
async function watch(job, signal) {
  page.job = job;
  const id = job.id, over = () => !['queued', 'in_progress'].includes(page.job.status);
  $('cancel').hidden = over();
  $('cancel').onclick = async () => {
    working.abort();
    await request(`v1/videos/${id}`, {method: 'DELETE'}).catch(() => {});
    $('cancel').hidden = $('progress-row').hidden = true;
    status('Cancelled.');
    history.load();
  };
  report();
  const following = follow(id, signal);
  following.catch(() => {});
  const streamed = canStream() && await request(`v1/videos/${id}/stream`, {signal}).then(
    answer => play(video, answer, () => page.job, signal, page.marks),
    error => { if (signal.aborted) throw error; return false; },
  );
  await following;
  if (page.job.status !== 'completed') {
    throw Object.assign(new Error(sentence(page.job.error?.message || `the video is ${page.job.status}`)), {told: true});
  }
  if (!streamed) {
    video.src = saved = await local(`v1/videos/${id}/content`);
    video.play().catch(() => {});
  }
  $('download').hidden = false;
  $('download').download = `${id}.mp4`;
  $('download').href = `v1/videos/${id}/content`;
  $('download').onclick = event => { if (currentKey()) { event.preventDefault(); save(id); } };
  history.load();
}

async function follow(id, signal) {
  for (let tries = 0; tries < 5; tries++) {
    try {
      for await (const job of events(id, signal)) {
        page.job = job;
        report();
        tries = 0;
      }
      return;
    } catch (error) {
      if (signal.aborted || error.status >= 400) throw error;
      await pause(1);
    }
  }
}

function report() {
  const {status: state, progress, frames_per_second: speed, fps} = page.job, active = state === 'queued' || state === 'in_progress';
  $('progress-row').hidden = !active;
  $('cancel').hidden = !active;
  state === 'queued' ? $('progress').removeAttribute('value') : $('progress').value = progress;
  const slow = speed && fps && speed < fps ? ' The machine is slower than the video, so playing may wait.' : '';
  if (state === 'queued') status('Waiting for its turn.');
  if (state === 'in_progress') status(`Being made.${slow}`);
  if (state === 'completed') status('Done.');
}

async function save(id) {
  const link = document.createElement('a');
  link.href = await local(`v1/videos/${id}/content`);
  link.download = `${id}.mp4`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function speak() {
  const signal = open(photo.poster());
  status('Starting; the first time this takes a few seconds.');
  markFirstFrame();
  const live = page.live = new Live(video, delay => { $('delay').textContent = live.speaking ? `The picture is ${delay.toFixed(1)} s behind.` : ''; });
  signal.addEventListener('abort', () => live.close());
  $('make').disabled = true;
  try {
    await live.start({portrait_id: photo.found.id, face: photo.face, options: {framing: 'crop', ...options()}});
    status('Speak.');
    $('stop').hidden = false;
    $('stop').focus();
    $('stop').onclick = () => { $('stop').hidden = true; status('Finishing…'); live.stop(); };
    await live.done;
    status('Done.');
    saved = URL.createObjectURL(live.recording);
    Object.assign($('download'), {hidden: false, href: saved, download: 'live.mp4', onclick: null});
  } catch (error) {
    live.close();
    failed(Object.assign(error, {told: true}), signal);
  } finally {
    $('delay').textContent = '';
    $('stop').hidden = true;
    $('make').disabled = false;
  }
}

function drops(area, take) {
  for (const name of ['dragenter', 'dragover']) area.addEventListener(name, event => { event.preventDefault(); area.classList.add('over'); });
  for (const name of ['dragleave', 'drop']) area.addEventListener(name, () => area.classList.remove('over'));
  area.addEventListener('drop', event => { event.preventDefault(); if (event.dataTransfer.files[0]) take(event.dataTransfer.files[0]); });
}

function knock() {
  $('door').hidden = false;
  $('main').hidden = true;
  $('key').focus();
}

$('door').onsubmit = event => {
  event.preventDefault();
  setKey($('key').value);
  begin().catch(error => { $('door-note').textContent = error.message; });
};

$('form').onsubmit = event => {
  event.preventDefault();
  const lacking = missing();
  if (lacking) {
    note(lacking[1]);
    $(lacking[0]).focus();
  } else voice.source === 'live' ? speak() : make();
};
$('form').addEventListener('input', ({target}) => {
  const shown = target.type === 'range' && document.querySelector(`output[for=${target.id}]`);
  if (shown) shown.textContent = target.value;
  changed();
});

// What the server can do; asks for a key where it wants one.
async function begin() {
  let model;
  try {
    [model] = (await json('v1/models')).data;
  } catch (error) {
    if (error.status === 401) {
      knock();
      if (currentKey()) throw new Error('This key is not known.');
      return;
    }
    throw error;
  }
  $('door').hidden = true;
  $('main').hidden = false;
  $('source-text').hidden = !model.text;
  $('source-live').hidden = !(model.live && liveIsPossible());
  for (const name of model.voices) $('voice').append(new Option(name));
  $('voice').hidden = $('voice-label').hidden = !model.voices.length;
  voice.longest = model.speech_seconds;
  for (const choice of $('size').options) choice.disabled = Number(choice.value) > model.size;
  history.load();
  for (let answer; !(answer = await fetch('ready').catch(() => null))?.ok;) {
    $('server').textContent = answer ? 'Loading the model…' : 'The server does not answer.';
    await pause(1);
  }
  $('server').textContent = '';
}

photo = page.photo = new Photo(changed);
voice = page.voice = new Voice(changed, 600);
history = new History(job => { const signal = open(''); watch(job, signal).catch(error => failed(error, signal)); }, save);
drops($('photo-card'), file => photo.take(file));
drops($('voice-card'), file => { document.querySelector('input[value=file]').click(); voice.take(file); });
voice.choose(document.querySelector('input[name=source]:checked').value);
begin().catch(error => { $('server').textContent = error.message; });
