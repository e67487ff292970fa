import { expect, it } from "vitest";
import { type Bytes, fromUtf8, toUtf8 } from "../src/lib/bytes.js";
import { DapterError, openRelease } from "../src/lib/index.js";
import { reader, readText } from "./releases.js";

const key = await readText("signing.pub");

const flip = (path: string, place: number) => (name: string, data: Bytes) => {
  if (name !== path) return data;
  const changed = data.slice();
  const at = place < 0 ? data.length + place : place;
  changed[at] = (changed[at] ?? 0) ^ 1;
  return changed;
};

const edit = (path: string, change: (text: string) => string) => (name: string, data: Bytes) =>
  name === path ? toUtf8(change(fromUtf8(data))) : data;

it("opens what the provider signed", async () => {
  const release = await openRelease(reader("honest"), key);
  expect(release.manifest.targets).toEqual({ Smiling: ["no", "yes"] });
  expect(release.leaks[0]).toMatchObject({ secret: "Eyeglasses", leak: { value: 0.75 }, attack: { value: 0.8 } });
  expect(release.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  expect(release.checked).toEqual(["release.json", "results.jsonl", "claims.json", "exports/converter.onnx"]);
  expect(release.stamps).toBeNull();
});

it("reads the stamps of a release with a hard budget", async () => {
  const release = await openRelease(reader("stamps"), key);
  expect(release.stamps).toMatchObject({ grid: 2, side: 2 });
  expect(release.checked).toContain("stamps.json");
});

it.each([
  ["changed stamps", flip("stamps.json", 30), "is not the file of release.json: its SHA-256 differs"],
  [
    "stamps that are gone",
    (path: string, data: Bytes) => (path === "stamps.json" ? null : data),
    "is missing from the release",
  ],
])("refuses %s", async (_, damage, message) => {
  await expect(openRelease(reader("stamps", damage), key)).rejects.toThrow(`stamps.json ${message}`);
});

it.each([
  ["budget_without_stamps", "stamps.json is missing from the release. Cure"],
  ["stamps_without_budget", "stamps.json is there, but release.json has no budget_bits. Cure"],
])("refuses what the provider signed as %s", async (name, message) => {
  await expect(openRelease(reader(name), key)).rejects.toThrow(message);
});

it.each([
  ["a flipped bit in the converter", flip("exports/converter.onnx", -3), "SHA-256 differs"],
  [
    "a converter that is too long",
    (path: string, data: Bytes) => (path.endsWith(".onnx") ? new Uint8Array([...data, 0]) : data),
    "SHA-256 differs",
  ],
  ["a flipped bit in the manifest", flip("release.json", 40), "not the file that was signed"],
  ["a flipped bit in the claims", flip("claims.json", 9), "SHA-256 differs"],
  ["a prettier claim", edit("claims.json", (text) => text.replace("0.75", "0.05")), "SHA-256 differs"],
  ["no signature", (path: string, data: Bytes) => (path === "model.sig" ? null : data), "is missing"],
  ["no converter", (path: string, data: Bytes) => (path.endsWith(".onnx") ? null : data), "is missing"],
  ["a signature that is no JSON", () => toUtf8("PK"), "not of the form"],
  [
    "two signatures",
    edit("model.sig", (text) => text.replace(/"signatures":\s*\[([^\]]*)\]/, '"signatures":[$1,$1]')),
    "not of the form",
  ],
  [
    "a changed signature",
    edit("model.sig", (text) => text.replace(/("sig":\s*"MEU?[A-Za-z0-9+/]{20})./, "$1A")),
    "not valid|no DER",
  ],
  [
    "a changed statement",
    edit("model.sig", (text) => text.replace(/("payload":\s*"[A-Za-z0-9+/]{81})./, "$1B")),
    "not valid",
  ],
])("refuses %s", async (_, damage, message) => {
  const opened = openRelease(reader("honest", damage), key);
  await expect(opened).rejects.toThrow(DapterError);
  await expect(opened).rejects.toThrow(new RegExp(`(${message}).*Cure: get the release again`));
});

it("refuses another key's signature, also under the name of ours", async () => {
  const stranger = await readText("stranger.pub");
  await expect(openRelease(reader("honest"), stranger)).rejects.toThrow("signed with another key");
  const { readKey } = await import("../src/lib/signature.js");
  const [ours, theirs] = await Promise.all([readKey(key), readKey(stranger)]);
  const renamed = edit("model.sig", (text) => text.replace(ours.fingerprint, theirs.fingerprint));
  await expect(openRelease(reader("honest", renamed), stranger)).rejects.toThrow("did not sign this");
});

it("refuses what the provider signed in a format of the future", async () => {
  await expect(openRelease(reader("future"), key)).rejects.toThrow('is of format "dapter-release/2"');
});

it.each(["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "no key"])(
  "refuses the key %j",
  async (pem) => {
    await expect(openRelease(reader("honest"), pem)).rejects.toThrow("no ECDSA key on P-256");
  },
);

it("asks for an export that the release does not have", async () => {
  await expect(openRelease(reader("honest"), key, "int8")).rejects.toThrow("no ONNX export in int8");
});
