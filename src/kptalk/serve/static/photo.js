// The photo: from a file, dropped, or of the camera; which faces the server finds in it.
import {json, sentence} from './api.js';

const $ = id => document.getElementById(id);
const BIGGEST = 2048;  // pixels of what the camera takes

export class Photo {
  constructor(changed) {
    this.changed = changed;
    this.found = null;  // what the server answered
    this.face = null;   // the one that was chosen
    $('photo-file').onchange = event => event.target.files[0] && this.take(event.target.files[0]);
    $('camera-on').onclick = () => this.openCamera();
    $('camera-off').onclick = () => this.closeCamera();
    $('shoot').onclick = () => this.shoot();
    $('camera-on').hidden = !navigator.mediaDevices?.getUserMedia;
  }

  note(text, bad = false) {
    $('photo-note').textContent = text;
    $('photo-note').classList.toggle('bad', bad);
  }

  async take(file) {
    this.asking?.abort();
    const asking = this.asking = new AbortController();
    this.found = this.face = null;
    this.file = file;
    this.changed();
    $('faces').replaceChildren();
    $('photo-drop').classList.add('small');
    $('photo-drop').querySelector('b').textContent = 'Another photo';
    this.note('Looking for a face…');
    const picture = await createImageBitmap(file, {imageOrientation: 'from-image'}).catch(() => null);
    if (asking.signal.aborted) return;
    this.draw(picture, picture?.width, picture?.height, 0);
    $('photo').classList.add('busy');
    try {
      const form = new FormData();
      form.append('portrait', file, 'photo');
      const found = await json('v1/portraits', {method: 'POST', body: form, signal: asking.signal});
      this.draw(picture, found.width, found.height, found.turned);
      this.show(found);
    } catch (error) {
      if (error.name !== 'AbortError') this.note(error.message, true);
    } finally {
      if (this.asking === asking) $('photo').classList.remove('busy');
    }
  }

  draw(picture, width, height, turned) {
    $('photo').hidden = !picture;
    if (!picture) return;
    const scale = Math.min(1, 900 / Math.max(width, height)), canvas = $('picture');
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext('2d'), aside = turned % 180 !== 0;
    pen.translate(canvas.width / 2, canvas.height / 2);
    pen.rotate(turned * Math.PI / 180);
    const [w, h] = aside ? [canvas.height, canvas.width] : [canvas.width, canvas.height];
    pen.drawImage(picture, -w / 2, -h / 2, w, h);
  }

  show(found) {
    this.found = found;
    this.face = found.face;
    const many = found.faces.length > 1;
    const buttons = found.faces.map(({number, box: [x0, y0, x1, y1]}) => {
      const button = document.createElement('button'), label = document.createElement('span');
      button.type = 'button';
      button.setAttribute('aria-label', `Face ${number} of ${found.faces.length}`);
      label.textContent = number;
      if (many) button.append(label);
      const percent = (value, whole) => `${100 * value / whole}%`;
      Object.assign(button.style, {
        left: percent(Math.max(0, x0), found.width), top: percent(Math.max(0, y0), found.height),
        width: percent(Math.min(found.width, x1) - Math.max(0, x0), found.width),
        height: percent(Math.min(found.height, y1) - Math.max(0, y0), found.height),
      });
      button.onclick = () => this.choose(number);
      return button;
    });
    $('faces').replaceChildren(...buttons);
    this.choose(found.face);
    const about = many ? `${found.faces.length} faces found: choose the one that speaks.` : 'Face found.';
    this.note(found.warnings.length && !many ? `${about} ${found.warnings.map(sentence).join(' ')}` : about);
    this.changed();
  }

  choose(number) {
    this.face = number;
    [...$('faces').children].forEach((button, k) => button.setAttribute('aria-pressed', k + 1 === number));
    this.changed();
  }

  // A picture of the photo for the player.
  poster() {
    return $('photo').hidden ? '' : $('picture').toDataURL('image/jpeg', 0.8);
  }

  async openCamera() {
    try {
      const wanted = {facingMode: 'user', width: {ideal: BIGGEST}};
      this.camera = await navigator.mediaDevices.getUserMedia({video: wanted});
    } catch (error) {
      this.note(error.name === 'NotAllowedError' ? 'The browser may not use the camera.' : 'No camera was found.', true);
      return;
    }
    $('camera').hidden = false;
    $('photo-drop').hidden = $('photo').hidden = true;
    $('viewfinder').srcObject = this.camera;
    await $('viewfinder').play();
    $('shoot').focus();
  }

  closeCamera() {
    this.camera?.getTracks().forEach(track => track.stop());
    $('camera').hidden = true;
    $('photo-drop').hidden = false;
    $('photo').hidden = !this.file;
    $('camera-on').focus();
  }

  async shoot() {
    const video = $('viewfinder'), canvas = document.createElement('canvas');
    if (!video.videoWidth) return;
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext('2d').drawImage(video, 0, 0);
    this.closeCamera();
    await this.take(await new Promise(done => canvas.toBlob(done, 'image/jpeg', 0.95)));
  }
}
