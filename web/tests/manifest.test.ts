import { expect, it } from "vitest";
import { toUtf8 } from "../src/lib/bytes.js";
import { parseManifest } from "../src/lib/manifest.js";
import { readText } from "./releases.js";

const honest = JSON.parse(await readText("honest/release.json"));
const parse = (change: object) => parseManifest(toUtf8(JSON.stringify({ ...honest, ...change })));

it("reads the fixture", () => {
  expect(parse({}).image.trained).toEqual([32, 32]);
});

it.each([
  [{ telemetry: true }, "telemetry is unknown"],
  [{ targets: undefined }, "targets is missing"],
  [{ targets: {} }, "targets is not"],
  [{ targets: { Smiling: ["no", "y\u202ees"] } }, "targets is not"],
  [{ image: { ...honest.image, channels: "BGR" } }, "image is not"],
  [{ image: { ...honest.image, trained: [32, 1e9] } }, "image is not"],
  [{ image: { ...honest.image, more: 1 } }, "image is not"],
  [{ budget_bits: -1 }, "budget_bits is not"],
  [{ budget_bits: "few" }, "budget_bits is not"],
  [{ dial: { name: "lam", low: 0, high: 0.9, default: 2 } }, "outside its range"],
  [{ dial: { name: "gps", low: 0, high: 1, default: 1 } }, "dial is not"],
  [{ exports: [{ ...honest.exports[0], path: "../key" }] }, "exports is not"],
  [{ files: { ...honest.files, "../key": { sha256: "0".repeat(64), bytes: 1 } } }, "files is not"],
  [{ files: { ...honest.files, "a/b/c/d/e": { sha256: "0".repeat(64), bytes: 1 } } }, "files is not"],
])("refuses %j", (change, message) => {
  expect(() => parse(change)).toThrow(message);
});

it("refuses what is no object", () => {
  for (const text of ["[]", "null", "{", "\ufeff{}"]) expect(() => parseManifest(toUtf8(text))).toThrow(/release.json/);
});
