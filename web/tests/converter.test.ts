import * as ort from "onnxruntime-web/wasm";
import { expect, it } from "vitest";
import { Converter, openRelease, Payload } from "../src/lib/index.js";
import { reader, readText } from "./releases.js";

ort.env.wasm.numThreads = 1;
const key = await readText("signing.pub");
const pair = JSON.parse(await readText("pair.json"));
const image = { ...pair, pixels: Uint8Array.from(pair.pixels) };
const open = async (name: string) => Converter.open(await openRelease(reader(name), key), ort);

it("gives the bytes that the converter gives in Python", async () => {
  const payload = await (await open("honest")).convert(image);
  expect(Array.from(payload.pixels)).toEqual(pair.payload);
  expect(payload).toBeInstanceOf(Payload);
});

it("converts one after another what is asked for at once", async () => {
  const converter = await open("honest");
  const all = await Promise.all([1, 2, 3].map(() => converter.convert(image)));
  for (const payload of all) expect(Array.from(payload.pixels)).toEqual(pair.payload);
});

it("turns the dial, by default as the release says", async () => {
  const converter = await open("dial");
  expect(Array.from((await converter.convert(image)).pixels)).toEqual(pair.payload);
  const grey = await converter.convert(image, 0.98);
  expect(Math.max(...grey.pixels) - Math.min(...grey.pixels)).toBeLessThanOrEqual(6);
  await expect(converter.convert(image, 0.99)).rejects.toThrow("out of range");
  await expect(converter.convert(image, Number.NaN)).rejects.toThrow("out of range");
});

it.each(["extra_input", "extra_output"])("refuses a graph with %s", async (name) => {
  await expect(open(name)).rejects.toThrow("this is no converter");
});

it("refuses an original that comes back", async () => {
  const converter = await open("gives_the_original");
  await expect(converter.convert(image)).rejects.toThrow("gave the original back");
  const grey = { ...image, pixels: new Uint8Array(image.pixels.length).fill(128) };
  expect(Array.from((await converter.convert(grey)).pixels)).toEqual(Array.from(grey.pixels));
});

it("sends pictures of stamps as they are painted in Python, of any size", async () => {
  const painted = JSON.parse(await readText("stamps_pair.json"));
  const converter = await open("stamps");
  const payload = await converter.convert({ ...painted, pixels: Uint8Array.from(painted.pixels) });
  expect(Array.from(payload.pixels)).toEqual(painted.payload);
  const large = {
    height: 48,
    width: 31,
    pixels: Uint8Array.from({ length: 48 * 31 * 3 }, (_, at) => (at * 7919) % 256),
  };
  expect((await converter.convert(large)).png.length).toBeGreaterThan(0);
});

it("refuses the one picture of stamps that is one level off in one value", async () => {
  const converter = await open("stamps_and_more");
  const white = { ...image, pixels: Uint8Array.from([255, ...image.pixels.slice(1)]) };
  await converter.convert(image);
  await expect(converter.convert(white)).rejects.toThrow("not made of the stamps of its release. Cure");
  await converter.convert(image);
});

it("refuses a graph that is none", async () => {
  const release = await openRelease(reader("honest"), key);
  const broken = { ...release, graph: release.graph.slice(0, 50) };
  await expect(Converter.open(broken, ort)).rejects.toThrow("cannot be loaded");
});

it("lets nobody else make payloads", async () => {
  const key = Symbol() as never;
  await expect(Payload.make(key, image.pixels, image.height, image.width)).rejects.toThrow("something else");
});
