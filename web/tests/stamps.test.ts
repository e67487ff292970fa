import { expect, it } from "vitest";
import { toUtf8 } from "../src/lib/bytes.js";
import { isMadeOf, parseStamps } from "../src/lib/stamps.js";
import { readText } from "./releases.js";

const honest = await readText("stamps/stamps.json");
const parse = (text: string, bits = 8, size = [32, 32] as const) => parseStamps(toUtf8(text), bits, size);
const changed = (change: object) => JSON.stringify({ ...JSON.parse(honest), ...change });
const { alphabet } = JSON.parse(honest);
/** The file with another first value in its alphabet, as it is written. */
const withValue = (value: string) => honest.replace(/\[\[\[\[\d+/, `[[[[${value}`);
const stamps = parse(honest);

/** What Python paints of the stamps. */
const pictures = (
  JSON.parse(await readText("pictures.json")) as { height: number; width: number; pixels: number[] }[]
).map((picture) => ({ ...picture, pixels: Uint8Array.from(picture.pixels) }));

it("reads what Python writes", () => {
  expect(stamps).toMatchObject({ grid: 2, side: 2 });
  expect(stamps.alphabet.map((stamp) => Array.from(stamp))).toEqual(
    alphabet.map((stamp: number[][][]) => stamp.flat(2)),
  );
  expect(parse(changed({}))).toEqual(stamps);
});

it.each([
  ["another format", changed({ format: "dapter-stamps/2" })],
  ["a field more", changed({ more: 1 })],
  ["a field less", changed({ size: undefined })],
  ["no cells", changed({ grid: 0 })],
  ["too many cells", changed({ grid: 257, size: [4096, 4096] })],
  ["a grid that is true", changed({ grid: true })],
  ["a grid that is a text", changed({ grid: "2" })],
  ["half a size", changed({ size: [32] })],
  ["a size that is no list", changed({ size: { 32: 1, 33: 2 } })],
  ["a size too large", changed({ size: [32, 4097] })],
  ["a size too small to show whole stamps", changed({ size: [3, 32] })],
  ["one stamp", changed({ alphabet: alphabet.slice(0, 1) })],
  ["too many stamps", changed({ alphabet: Array(4097).fill([[[0, 0, 0]]]) })],
  ["no list of stamps", changed({ alphabet: {} })],
  ["stamps of no pixels", changed({ alphabet: [[], []] })],
  ["stamps that are not square", changed({ alphabet: alphabet.map((stamp: unknown[]) => stamp.slice(1)) })],
  ["stamps of two sizes", changed({ alphabet: [...alphabet.slice(1), [[[0, 0, 0]]]] })],
  ["a pixel of four values", changed({ alphabet: alphabet.map(() => [[[0, 0, 0, 0]]]) })],
  ["a value above 255", withValue("256")],
  ["a value below 0", withValue("-1")],
  ["half a value", withValue("0.5")],
  ["an integer with a point", withValue("1.0")],
  ["an integer with an exponent", withValue("1e1")],
  ["minus zero", withValue("-0")],
  ["a value that is null", withValue("null")],
  ["a value of a thousand digits", withValue(`1${"0".repeat(1000)}`)],
  ["a name twice", honest.replace("{", '{"grid": 4, ')],
  ["a list", "[]"],
  ["null", "null"],
  ["no JSON", "{"],
  ["a mark before the JSON", `\ufeff${honest}`],
  ["deep lists", "[".repeat(100_000)],
])("refuses %s", (_, text) => {
  expect(() => parse(text)).toThrow(/stamps\.json holds no stamps in the format dapter-stamps\/1\. Cure/);
});

it("refuses what is not UTF-8", () => {
  const data = Uint8Array.from(honest, (letter) => letter.charCodeAt(0));
  data[honest.indexOf("dapter")] = 0xff;
  expect(() => parseStamps(data, 8, [32, 32])).toThrow("no stamps in the format");
});

it("refuses stamps of another converter", () => {
  expect(() => parse(honest, 7.9)).toThrow("up to 8 bits, release.json says 7.9");
  expect(() => parse(honest, 0)).toThrow("release.json says 0");
  expect(() => parse(changed({ grid: 4 }))).toThrow("up to 32 bits, release.json says 8");
  expect(() => parse(changed({ alphabet: alphabet.slice(1) }))).toThrow("release.json says 8");
  expect(() => parse(changed({ size: [32, 64] }))).toThrow("pictures of 32 x 64, release.json says 32 x 32");
});

it("takes a budget that is no whole number of bits", () => {
  const three = changed({ alphabet: alphabet.slice(1) });
  expect(parse(three, 4 * Math.log2(3)).alphabet.length).toBe(3);
  expect(() => parse(three, 6.34)).toThrow("release.json says 6.34");
});

it.each(pictures)("knows a picture of $height x $width pixels that Python painted, and none other", (picture) => {
  expect(isMadeOf(stamps, picture)).toBe(true);
  for (let place = 0; place < picture.pixels.length; place++) {
    const pixels = picture.pixels.slice();
    pixels[place] = (pixels[place] ?? 0) + 1;
    expect(isMadeOf(stamps, { ...picture, pixels })).toBe(false);
  }
});

it("refuses stamps in other places, and pictures that end too early", () => {
  const [whole] = pictures;
  if (!whole) throw new Error("no picture");
  const shifted = Uint8Array.from([...whole.pixels.slice(3), ...whole.pixels.slice(0, 3)]);
  expect(isMadeOf(stamps, { ...whole, pixels: shifted })).toBe(false);
  expect(isMadeOf(stamps, { ...whole, pixels: whole.pixels.slice(0, -3) })).toBe(false);
  expect(isMadeOf(stamps, { ...whole, height: whole.height + 1 })).toBe(false);
});
