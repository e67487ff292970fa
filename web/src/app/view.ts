/** What is drawn where. Text always goes in as text. */
import type { Answer, Pixels, Release } from "../lib/index.js";
import * as words from "./words.js";

export function find<Kind extends HTMLElement>(id: string): Kind {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no ${id}`);
  return found as Kind;
}

export function tell(id: string, text: string): void {
  find(id).textContent = text;
}

export function show(id: string, shown = true): void {
  find(id).hidden = !shown;
}

function element(tag: string, className: string, ...children: (Node | string)[]): HTMLElement {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

export function status(kind: "good" | "bad" | "busy", text: string): void {
  find("status").dataset.kind = kind;
  tell("status", text);
}

/** Only for the eye: nothing that is sent comes from a canvas. */
export function draw(id: string, { pixels, height, width }: Pixels): void {
  const canvas = find<HTMLCanvasElement>(id);
  [canvas.width, canvas.height] = [width, height];
  const rgba = new Uint8ClampedArray(height * width * 4).fill(255);
  for (let from = 0, to = 0; from < pixels.length; from += 3, to += 4) rgba.set(pixels.subarray(from, from + 3), to);
  canvas.getContext("2d")?.putImageData(new ImageData(rgba, width, height), 0, 0);
}

export function problem(error: unknown, sending = false): void {
  const { title, text } = words.problemWords(error, sending);
  tell("problem-title", title);
  tell("problem-text", text);
  show("problem");
  find("problem").focus();
}

export function answer({ targets }: Answer): void {
  find("answers").replaceChildren(
    ...targets.map(({ target, classes }) => {
      const bars = classes.slice(0, 5).map(({ name, probability }) => {
        const bar = document.createElement("progress");
        bar.value = probability;
        bar.setAttribute("aria-label", `${words.plainName(name)}: ${words.percent(probability, 1)}`);
        const share = element("span", "percent", words.percent(probability, 1));
        return element("li", "", element("span", "", words.plainName(name)), bar, share);
      });
      const label = element("p", "label", words.plainName(classes[0]?.name ?? ""));
      return element(
        "div",
        "target",
        element("h3", "", words.plainName(target)),
        label,
        element("ul", "bars", ...bars),
      );
    }),
  );
  show("answer");
  find("answer-title").focus();
}

export function release(found: Release, engine: string): void {
  const { manifest, leaks, claims } = found;
  const [worst, ...others] = leaks;
  tell("worst", worst ? words.leakWords(worst) : "No attack was tried on this converter.");
  tell("worst-detail", worst ? words.leakDetail(worst) : "A picture that looks empty may still be read.");
  find("others").replaceChildren(...others.map((leak) => element("li", "", words.leakWords(leak))));
  show("risk");
  const facts = words.aboutWords(manifest, found.fingerprint, found.checked);
  for (const target of Object.keys(manifest.targets)) {
    const accuracy = words.accuracyWords(claims, target);
    if (accuracy) facts.push([`Answer to ${words.plainName(target)}`, accuracy]);
  }
  facts.push(["Computed by", `${engine}, on this device`]);
  find("about-list").replaceChildren(
    ...facts.flatMap(([name, text]) => [element("dt", "", name), element("dd", "", text)]),
  );
  show("about");
}
