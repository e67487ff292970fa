/** What the page says, in plain words. */
import { type Claim, DapterError, type Dial, type Leak, type Manifest } from "../lib/index.js";

const count = new Intl.NumberFormat("en");
export const percent = (share: number, digits = 0) => `${(100 * share).toFixed(digits)} %`;

export function bytesWords(bytes: number): string {
  return bytes < 10_000 ? `${count.format(bytes)} bytes` : `${count.format(Math.round(bytes / 1000))} kB`;
}

/** How what leaves compares with the photo's file. */
export function savingWords(payload: number, file: number): string {
  const times = file / payload;
  const original = `The photo's file has ${bytesWords(file)}`;
  return times >= 1.5 ? `${original}: ${count.format(Math.round(times))} times as much.` : `${original}.`;
}

/** What was sent, once it was. */
export function sentWords(sent: number, picture: number, at: Date): string {
  const rest = sent - picture;
  const parts =
    rest > 0 ? `: the picture “What leaves” (${bytesWords(picture)}) and the question (${bytesWords(rest)})` : "";
  return `Sent ${bytesWords(sent)} at ${at.toLocaleTimeString()}${parts}. Nothing else left.`;
}

export function budgetWords(bits: number | null): string {
  return bits === null
    ? "No hard limit on what it can carry."
    : `Carries at most ${count.format(Math.round(10 * bits) / 10)} bits of information, whatever the attack: guaranteed.`;
}

export function dialWords(dial: Dial): { label: string; low: string; high: string; text: string } {
  return dial.name === "lam"
    ? {
        label: "How strongly to protect",
        low: "better answer",
        high: "less of the photo",
        text: "Other settings than the provider's may leak more than was measured.",
      }
    : {
        label: "How many bits beyond the answer may leave, on average",
        low: "fewer bits",
        high: "better answer",
        text: "Other settings than the provider's may leak more than was measured; the hard limit is the same for all.",
      };
}

/** `Wearing_Hat` as people write it. */
export function plainName(name: string): string {
  return name.replaceAll("_", " ");
}

const ACCURACIES = ["secret_accuracy", "secret_balanced_accuracy"];

/** The worst leak in one sentence: the attack's own figure where it is a share of right guesses. */
export function leakWords({ secret, leak, attack }: Leak): string {
  const name = plainName(secret);
  if (attack && ACCURACIES.includes(attack.measure)) {
    return `An attacker who sees what leaves can tell “${name}” in ${percent(attack.value)} of the cases.`;
  }
  if (secret === "image") {
    return `An attacker who sees what leaves can restore the photo ${percent(leak.value)} of the way from a typical picture to the original.`;
  }
  return `An attacker who sees what leaves learns ${percent(leak.value)} of what the photo would tell about “${name}” beyond the answer.`;
}

/** What that is to be compared with, and how sure it is. */
export function leakDetail({ leak, attack }: Leak): string {
  const parts = [];
  if (attack && ACCURACIES.includes(attack.measure) && attack.floor !== null && attack.ceiling !== null) {
    const balanced = attack.measure === "secret_balanced_accuracy" ? ", rare and common cases counting alike" : "";
    parts.push(
      `From the answer alone it would be ${percent(attack.floor)}, from the original ${percent(attack.ceiling)}${balanced}.`,
    );
  }
  const shown = attack ?? leak;
  if (shown.low !== null && shown.high !== null) {
    const share = shown === attack && !ACCURACIES.includes(attack.measure) ? null : shown;
    if (share) parts.push(`95 % interval ${percent(shown.low)} to ${percent(shown.high)}.`);
  }
  if (shown.n !== null) parts.push(`Tested on ${count.format(shown.n)} images of ${shown.data}; ${shown.grade}.`);
  if (leak.flags.length) parts.push(`Doubts about this figure: ${leak.flags.join(", ")}.`);
  return parts.join(" ");
}

/** How often the answer is right, from the claims. */
export function accuracyWords(claims: readonly Claim[], target: string): string | null {
  const find = (measure: string) => claims.find((claim) => claim.measure === measure && claim.target === target);
  const [after, before] = [find("target_accuracy"), find("target_accuracy_original")];
  if (!after) return null;
  const from = before ? `, from originals ${percent(before.value, 1)}` : "";
  return `right in ${percent(after.value, 1)} of the tests${from}`;
}

const TITLES: Record<string, string> = {
  release: "The converter failed its check. It is not used.",
  converter: "The conversion failed.",
  photo: "This photo cannot be used.",
  network: "No connection.",
  service: "The service gave no answer.",
};

/** An error as a title, and what to do. */
export function problemWords(error: unknown, sending: boolean): { title: string; text: string } {
  const known = error instanceof DapterError ? error : null;
  const title = known ? (TITLES[known.kind] ?? "") : "Something went wrong in this page.";
  const what = known ? `${capital(known.what)}. ${capital(known.cure)}.` : "Reload the page, or use another browser.";
  const comfort = sending ? "Your photo has not left this device; what leaves may have." : "Nothing has been sent.";
  return { title, text: `${what} ${comfort}` };
}

/** With a capital, unless it begins with the name of a file. */
const capital = (text: string) => (/^\S+\.\w/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1));

/** Facts about the release, as pairs. */
export function aboutWords(manifest: Manifest, fingerprint: string, checked: readonly string[]): [string, string][] {
  const [height, width] = manifest.image.trained;
  return [
    ["Release", `${manifest.name} ${manifest.version}`],
    ["Licence", manifest.licence],
    ["Questions", Object.keys(manifest.targets).map(plainName).join(", ")],
    ["Defence", manifest.defence],
    ["Picture size", `${width} × ${height} pixels`],
    ["Provider's key", fingerprint],
    ["Files checked", checked.join(", ")],
  ];
}
