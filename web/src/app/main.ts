/** The page: a photo in, a payload out, and only the payload is sent, when the person says so. */
import {
  type Answer,
  amplify,
  ask,
  openPhoto,
  openRelease,
  type Payload,
  type Pixels,
  type Release,
  readFromUrl,
} from "../lib/index.js";
import { type Config, readConfig } from "./config.js";
import { onPhoto } from "./picker.js";
import { type Engine, openEngine, tryGpu } from "./runtime.js";
import { draw, find, problem, show, answer as showAnswer, release as showRelease, status, tell } from "./view.js";
import * as words from "./words.js";

interface Ready {
  readonly config: Config;
  readonly release: Release;
  engine: Engine;
}

let ready: Ready | null = null;
let photo: { image: Pixels; bytes: number } | null = null;
let payload: Payload | null = null;
let chosen = 0; // counts photos, and `latest` conversions: an older one that ends late is dropped
let latest = 0;

const slider = find<HTMLInputElement>("slider");
const send = find<HTMLButtonElement>("send");

async function start(): Promise<void> {
  show("problem", false);
  show("retry", false);
  status("busy", "Checking the converter…");
  try {
    const config = await readConfig();
    if (config.title) document.title = config.title;
    if (config.title) tell("title", config.title);
    const release = await openRelease(readFromUrl(new URL(config.release, location.href)), config.key);
    const engine = await openEngine(release);
    ready = { config, release, engine };
    setUpDial();
    showRelease(release, engine.name);
    allowPhotos(true);
    online();
    const faster = await tryGpu(release, engine.converter);
    if (faster) ready.engine = faster;
    if (faster) showRelease(release, faster.name);
  } catch (error) {
    ready = null;
    allowPhotos(false);
    forget();
    status("bad", "Not ready");
    problem(error);
    show("retry");
  }
}

function allowPhotos(yes: boolean): void {
  for (const id of ["choose", "take"]) find<HTMLInputElement>(id).disabled = !yes;
}

function online(): void {
  if (!ready) return;
  const { name, version } = ready.release.manifest;
  if (navigator.onLine) status("good", `Ready. ${name} ${version}: signature checked.`);
  else status("busy", "Offline. You can convert and look; sending needs the network.");
}

async function choose(file: Blob): Promise<void> {
  if (!ready) return;
  const mine = ++chosen;
  forget();
  try {
    performance.mark("open");
    const image = await openPhoto(file, ready.release.manifest.image.trained);
    performance.measure("open", "open");
    if (mine !== chosen) return;
    photo = { image, bytes: file.size };
    await convert();
    if (mine !== chosen) return;
    find("compare-title").focus({ preventScroll: true });
    find("compare").scrollIntoView({ block: "nearest" });
  } catch (error) {
    if (mine === chosen) refuse(error);
  }
}

function refuse(error: unknown): void {
  forget();
  problem(error);
}

/** Away with everything about the photo before. */
function forget(): void {
  photo = null;
  payload = null;
  for (const id of ["compare", "answer", "problem", "retry"]) show(id, false);
  tell("sent", "");
}

async function convert(): Promise<void> {
  if (!ready || !photo) return;
  const mine = ++latest;
  payload = null;
  send.disabled = true;
  const dial = ready.release.manifest.dial;
  performance.mark("convert");
  const found = await ready.engine.converter.convert(photo.image, dial ? Number(slider.value) : undefined);
  performance.measure("convert", "convert");
  if (mine !== latest || !photo) return;
  payload = found;
  const { pixels, factor } = amplify(found.pixels);
  draw("original", photo.image);
  draw("payload", found);
  draw("residue", { ...size(found), pixels: new Uint8Array(pixels) });
  find("compare").classList.toggle("pixelated", found.width < 128);
  tell("factor", factor ? `× ${factor.toFixed(factor < 10 ? 1 : 0)}` : "only grey");
  tell("bytes", words.bytesWords(found.png.length));
  tell("bytes-text", `would leave. ${words.savingWords(found.png.length, photo.bytes)}`);
  tell("budget", words.budgetWords(ready.release.manifest.budget_bits));
  show("moved", dial !== null && Number(slider.value) !== dial.default);
  tell("sent", "This picture has not been sent.");
  show("answer", false);
  show("compare");
  send.disabled = false;
}

const size = ({ height, width }: Pixels) => ({ height, width });

function setUpDial(): void {
  const dial = ready?.release.manifest.dial;
  show("dial", Boolean(dial));
  if (!dial) return;
  const { label, low, high, text } = words.dialWords(dial);
  Object.assign(slider, { min: String(dial.low), max: String(dial.high) });
  slider.value = String(dial.default);
  tell("dial-label", label);
  tell("dial-low", low);
  tell("dial-high", high);
  tell("dial-text", `The provider's setting is ${dial.default}. ${text}`);
}

async function sendPayload(): Promise<void> {
  if (!ready || !payload) return;
  const sending = payload;
  show("problem", false);
  send.disabled = true;
  tell("sent", "Sending…");
  try {
    const url = new URL(ready.config.model, location.href).href;
    performance.mark("send");
    const found: Answer = await ask(url, sending, ready.release.manifest.targets);
    performance.measure("send", "send");
    if (sending !== payload) return;
    showAnswer(found);
    tell("sent", words.sentWords(found.sent, sending.png.length, new Date()));
  } catch (error) {
    if (sending !== payload) return;
    tell("sent", "");
    problem(error, true);
  } finally {
    send.disabled = payload === null;
  }
}

function download(): void {
  if (!payload) return;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([payload.png], { type: "image/png" }));
  link.download = "what-leaves.png";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

const SETTLE_MS = 120; // a slider moves in many small steps
let waiting = 0;
slider.addEventListener("input", () => {
  send.disabled = true;
  payload = null;
  clearTimeout(waiting);
  waiting = window.setTimeout(() => void convert().catch(refuse), SETTLE_MS);
});
send.addEventListener("click", () => void sendPayload());
find("download").addEventListener("click", download);
find("retry").addEventListener("click", () => void start());
for (const event of ["online", "offline"]) addEventListener(event, online);
onPhoto((file) => void choose(file));
void start();
if ("serviceWorker" in navigator && import.meta.env.PROD) void navigator.serviceWorker.register("./sw.js");
