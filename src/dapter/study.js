// One picture at a time; answers stay in this browser until the person saves them as a file.
const study = JSON.parse(document.getElementById("study").textContent);
const items = study.items;
const store = `dapter-study-${study.id}`;
const SLIP = 150; // ms after a picture appears in which a press is taken for one too many
const still = matchMedia("(prefers-reduced-motion: reduce)");
const find = (id) => document.getElementById(id);

let state = read() ?? fresh();
let keeps = write(); // whether this browser keeps answers when the page is closed
let shownAt = null; // when the picture came into view; null: none is in view

function fresh() {
  const rater = [...crypto.getRandomValues(new Uint8Array(4))].map((each) => each.toString(16).padStart(2, "0")).join("");
  return { rater, place: 0, answers: items.map(() => null), times: items.map(() => 0), saved: false };
}

function read() {
  try {
    const found = JSON.parse(localStorage.getItem(store));
    return found?.answers?.length === items.length ? found : null;
  } catch {
    return null;
  }
}

function write() {
  try {
    localStorage.setItem(store, JSON.stringify(state));
    return true;
  } catch {
    return false;
  }
}

function answered() {
  return state.answers.filter((answer) => answer !== null).length;
}

function open(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  find(name).querySelector("h1, h2").focus();
  scrollTo(0, 0);
}

function showPicture() {
  const { id, picture } = items[state.place];
  shownAt = null;
  find("choices").ariaBusy = "true";
  find("large").src = find("small").src = picture;
  find("large").alt = `Picture ${state.place + 1}`;
  find("count").textContent = `Picture ${state.place + 1} of ${items.length}`;
  find("progress").value = answered();
  find("back").disabled = state.place === 0;
  for (const button of document.querySelectorAll("#choices button")) {
    button.setAttribute("aria-pressed", String(state.answers[state.place] === button.value));
  }
  const appear = () => {
    if (items[state.place]?.id !== id || find("task").hidden) return;
    shownAt = performance.now();
    setTimeout(() => (find("choices").ariaBusy = "false"), SLIP);
    if (still.matches) return;
    // Protected pictures look alike: without a sign, nobody sees that the next one is there.
    find("large").animate([{ opacity: 0 }, { opacity: 1 }], SLIP);
  };
  find("large").decode().then(appear, appear);
}

function stopClock() {
  if (shownAt !== null) state.times[state.place] += performance.now() - shownAt;
  shownAt = null;
}

function work() {
  if (state.place === items.length) return open("end");
  open("task");
  showPicture();
}

function answer(value) {
  if (find("choices").ariaBusy === "true") return;
  stopClock();
  state.answers[state.place] = value;
  state.saved = false;
  tell("");
  state.place += 1;
  keeps = write();
  if (state.place === items.length) open("end");
  else showPicture();
}

function back() {
  if (state.place === 0) return;
  stopClock();
  state.place -= 1;
  keeps = write();
  if (find("task").hidden) open("task");
  showPicture();
}

function pause() {
  stopClock();
  keeps = write();
  find("so-far").textContent = `${answered()} of ${items.length} pictures answered.`;
  find("kept").textContent = keeps
    ? "You may close this page: opened again in this browser, it goes on here."
    : "Keep this page open: this browser does not keep your answers when the page is closed.";
  open("paused");
}

function cell(value) {
  const text = String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save() {
  const rows = [study.fields];
  items.forEach(({ id, kind }, place) => {
    const value = state.answers[place];
    if (value !== null) rows.push([study.id, state.rater, id, kind, value, Math.round(state.times[place])]);
  });
  const text = rows.map((row) => row.map(cell).join(",") + "\n").join("");
  const link = document.createElement("a");
  link.download = `answers-${study.id}-${state.rater}.csv`;
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  state.saved = true;
  keeps = write();
  tell(`Saved as ${link.download}`);
}

function tell(text) {
  for (const place of document.querySelectorAll(".saved")) place.textContent = text;
}

function restart() {
  if (answered() && !confirm("Delete the answers on this page and begin again?")) return;
  state = fresh();
  keeps = write();
  tell("");
  work();
}

function pressed(event) {
  if (find("task").hidden || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
  if (!find("keys").checked) return;
  const key = event.key.toLowerCase();
  const button = document.querySelector(`#choices button[aria-keyshortcuts="${CSS.escape(key)}"]`);
  if (button) answer(button.value);
  else if (key === "backspace") back();
  else if (key === "p") pause();
  else return;
  event.preventDefault();
}

for (const button of document.querySelectorAll("#choices button")) button.onclick = () => answer(button.value);
find("begin").onclick = find("go-on").onclick = work;
find("back").onclick = find("last").onclick = back;
find("pause").onclick = pause;
for (const button of document.querySelectorAll(".save")) button.onclick = save;
for (const button of document.querySelectorAll(".restart")) button.onclick = restart;
find("keys").onchange = () => document.body.classList.toggle("no-keys", !find("keys").checked);
document.addEventListener("keydown", pressed);
document.addEventListener("visibilitychange", () => {
  if (document.hidden && !find("task").hidden) pause();
});
addEventListener("beforeunload", (event) => {
  if (!keeps && !state.saved && answered()) event.preventDefault();
});

if (answered()) {
  find("begin").textContent = "Go on where you stopped";
  find("again").hidden = false;
  find("found").textContent = `This browser kept ${answered()} of ${items.length} answers.`;
}
find("intro").hidden = false;
