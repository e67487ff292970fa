import * as ort from "onnxruntime-web/wasm";
import { afterEach, expect, it, vi } from "vitest";
import { fromUtf8 } from "../src/lib/bytes.js";
import { ask, Converter, openRelease } from "../src/lib/index.js";
import { encodeRequest, readAnswer } from "../src/lib/protocol.js";
import { reader, readText } from "./releases.js";

ort.env.wasm.numThreads = 1;
const URL = "https://service.test/v2/models/faces";
const targets = { Smiling: ["no", "yes"] };
const outputs = ["probabilities", "logits"].map((kind) => ({ name: `Smiling.${kind}` }));
const files = { inputs: [{ name: "encoded", datatype: "BYTES" }], outputs };
const bare = { inputs: [{ name: "image", datatype: "UINT8" }], outputs: outputs.slice(1) };
const good = { outputs: [{ name: "Smiling.probabilities", data: [0.2, 0.8] }] };

const converter = await Converter.open(await openRelease(reader("honest"), await readText("signing.pub")), ort);
const payload = await converter.convert({ pixels: Uint8Array.from([9, 9, 9, 200, 0, 7]), height: 1, width: 2 });

const reply = (value: unknown, status = 200) =>
  new Response(typeof value === "string" ? value : JSON.stringify(value), { status });
const answering = (...replies: (Response | Error)[]) => {
  const fetched = vi.fn(async (_url: string, _init: RequestInit) => {
    const next = replies.shift();
    if (next instanceof Response) return next;
    throw next;
  });
  vi.stubGlobal("fetch", fetched);
  return fetched;
};
const taken = (init: RequestInit | undefined) => {
  const body = init?.body as unknown as Uint8Array<ArrayBuffer>;
  const length = Number(new Headers(init?.headers).get("Inference-Header-Content-Length"));
  return { head: JSON.parse(fromUtf8(body.subarray(0, length))), tail: body.subarray(length), body };
};
afterEach(() => vi.unstubAllGlobals());

it("sends a PNG after the JSON, and reads probabilities", async () => {
  const fetched = answering(reply(files), reply(good));
  const answer = await ask(URL, payload, targets);
  expect(answer.targets[0]?.classes[0]).toEqual({ name: "yes", probability: 0.8 });
  const [url, init] = fetched.mock.calls[1] ?? [];
  expect(url).toBe(`${URL}/infer`);
  expect(init).toMatchObject({
    credentials: "omit",
    referrerPolicy: "no-referrer",
    redirect: "error",
    cache: "no-store",
  });
  const { head, tail, body } = taken(init);
  expect(head.inputs).toEqual([
    { name: "encoded", datatype: "BYTES", shape: [1], parameters: { binary_data_size: payload.png.length + 4 } },
  ]);
  expect(Array.from(tail.subarray(4))).toEqual(Array.from(payload.png));
  expect(answer.sent).toBe(body.length);
});

it("sends pixels to a service that takes no files, and reads logits", () => {
  const { body, headerLength, kinds } = encodeRequest(payload, bare, targets);
  expect(Array.from(body.subarray(headerLength))).toEqual(Array.from(payload.pixels));
  const [found] = readAnswer({ outputs: [{ name: "Smiling.logits", data: [[0, Math.log(3)]] }] }, targets, kinds);
  expect(found?.classes[0]?.probability).toBeCloseTo(0.75);
});

it.each([
  ["yes", undefined],
  ["no", "in another order"],
  ["1", undefined],
])("checks the order of the classes where the service names the likeliest: %s", async (name, message) => {
  const label = { name: "Smiling.label", data: [name] };
  const described = { ...files, outputs: [...outputs, { name: "Smiling.label" }] };
  const fetched = answering(reply(described), reply({ outputs: [...good.outputs, label] }));
  const asked = ask(URL, payload, targets);
  await (message ? expect(asked).rejects.toThrow(message) : expect(asked).resolves.toBeDefined());
  const { head } = taken(fetched.mock.calls[1]?.[1]);
  expect(head.outputs.map((output: { name: string }) => output.name)).toEqual([
    "Smiling.probabilities",
    "Smiling.label",
  ]);
});

it.each([
  [{ inputs: [], outputs }, "does not take images"],
  [{ inputs: files.inputs, outputs: [] }, "does not answer Smiling"],
  [{}, "does not answer Smiling"],
  ["rubbish", "cannot be read"],
])("sends nothing to a service that describes itself as %j", async (metadata, message) => {
  const fetched = answering(reply(metadata));
  await expect(ask(URL, payload, targets)).rejects.toThrow(message);
  expect(fetched).toHaveBeenCalledTimes(1);
});

it.each([
  [{}, "cannot be read"],
  [{ outputs: [] }, "does not fit"],
  [{ outputs: [{ name: "Smiling.probabilities", data: [0.2, 0.2, 0.6] }] }, "does not fit"],
  [{ outputs: [{ name: "Smiling.probabilities", data: ["0.2", 0.8] }] }, "does not fit"],
  [{ outputs: [{ name: "Smiling.probabilities", data: [2, -1] }] }, "are none"],
  [{ outputs: [{ name: "Smiling.probabilities", data: [0.1, 0.1] }] }, "are none"],
])("refuses the answer %j", async (answer, message) => {
  answering(reply(files), reply(answer));
  await expect(ask(URL, payload, targets)).rejects.toThrow(message);
});

it("tells what a service refuses", async () => {
  answering(reply(files), reply({ error: "too many requests" }, 503));
  await expect(ask(URL, payload, targets)).rejects.toThrow("503: too many requests");
});

it("tells that there is no network, and that it took too long", async () => {
  answering(new TypeError("Failed to fetch"));
  await expect(ask(URL, payload, targets)).rejects.toThrow("cannot be reached");
  answering(new DOMException("", "TimeoutError"));
  await expect(ask(URL, payload, targets)).rejects.toThrow("in time");
});

it("stops reading an answer that does not end", async () => {
  const cancel = vi.fn();
  const endless = new ReadableStream({ pull: (stream) => stream.enqueue(new Uint8Array(2 ** 20)), cancel });
  answering(new Response(endless));
  await expect(ask(URL, payload, targets)).rejects.toThrow("cannot be read");
  expect(cancel).toHaveBeenCalledOnce();
});

it("sends nothing but payloads", async () => {
  const fetched = answering();
  await expect(ask(URL, { ...payload } as typeof payload, targets)).rejects.toThrow("only a payload");
  expect(fetched).not.toHaveBeenCalled();
});
