/**
 * The Open Inference Protocol (KServe v2) over HTTP, with the binary tensor data extension.
 *
 * Sources: kserve.github.io/website, "Open Inference Protocol"; the Triton server's `extension_binary_data.md`.
 */
import { concat, readAtMost, toUtf8 } from "./bytes.js";
import { Payload } from "./converter.js";
import { DapterError, serviceError } from "./errors.js";

const LENGTH_HEADER = "Inference-Header-Content-Length";
const TIMEOUT_MS = 30_000;
const MAX_ANSWER = 2 ** 22;
/** By how much the class that a service names may fall short of the likeliest. */
const ROUNDING = 1e-6;

export interface TargetAnswer {
  readonly target: string;
  /** Each class with its probability, the likeliest first. */
  readonly classes: readonly { readonly name: string; readonly probability: number }[];
}

export interface Answer {
  readonly targets: readonly TargetAnswer[];
  /** The bytes of the request's body. */
  readonly sent: number;
}

interface Metadata {
  inputs: { name: string; datatype: string }[];
  outputs: { name: string }[];
}

type Targets = Readonly<Record<string, readonly string[]>>;
type Kind = "probabilities" | "logits";

/**
 * Asks a service about a payload, once.
 *
 * @param model the URL of a model, `https://host/v2/models/NAME`.
 * @param targets the questions, each with its classes in the order of the logits.
 * @throws DapterError the service cannot be reached, refuses, or answers something else.
 */
export async function ask(model: string, payload: Payload, targets: Targets): Promise<Answer> {
  if (!(payload instanceof Payload)) throw new TypeError("only a payload is sent");
  const metadata = (await exchange(model, { method: "GET" })) as Metadata;
  const request = encodeRequest(payload, metadata, targets);
  const found = await exchange(`${model}/infer`, {
    method: "POST",
    body: request.body,
    headers: { "Content-Type": "application/octet-stream", [LENGTH_HEADER]: String(request.headerLength) },
  });
  return { targets: readAnswer(found, targets, request.kinds), sent: request.body.length };
}

/** The body of a request for one payload: a JSON head, and after it the PNG (or, for a service that takes none, pixels). */
export function encodeRequest(payload: Payload, metadata: Metadata, targets: Targets) {
  const has = (list: unknown, name: string, datatype?: string) =>
    Array.isArray(list) &&
    list.some((entry) => entry?.name === name && (datatype === undefined || entry.datatype === datatype));
  const kinds: Record<string, Kind> = {};
  for (const target of Object.keys(targets)) {
    const kind = (["probabilities", "logits"] as const).find((each) => has(metadata.outputs, `${target}.${each}`));
    if (!kind)
      throw serviceError(`this service does not answer ${target}`, "ask who runs this page for the right service");
    kinds[target] = kind;
  }
  const files = has(metadata.inputs, "encoded", "BYTES");
  if (!files && !has(metadata.inputs, "image", "UINT8")) {
    throw serviceError("this service does not take images", "ask who runs this page for the right service");
  }
  const tail = files ? concat([littleEndian(payload.png.length), payload.png]) : payload.pixels;
  const input = files
    ? { name: "encoded", datatype: "BYTES", shape: [1] }
    : { name: "image", datatype: "UINT8", shape: [1, payload.height, payload.width, 3] };
  const head = toUtf8(
    JSON.stringify({
      inputs: [{ ...input, parameters: { binary_data_size: tail.length } }],
      outputs: Object.entries(kinds)
        .flatMap(([target, kind]) => [`${target}.${kind}`, `${target}.label`])
        .filter((name) => has(metadata.outputs, name))
        .map((name) => ({ name, parameters: { binary_data: false } })),
    }),
  );
  return { body: concat([head, tail]), headerLength: head.length, kinds };
}

function littleEndian(value: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, value, true);
  return new Uint8Array(view.buffer);
}

/** The probabilities of an answer; refuses whatever is not one for each class, and classes in another order. */
export function readAnswer(found: unknown, targets: Targets, kinds: Readonly<Record<string, Kind>>): TargetAnswer[] {
  const outputs = (found as { outputs?: unknown })?.outputs;
  if (!Array.isArray(outputs)) throw serviceError("the service's answer cannot be read");
  return Object.entries(targets).map(([target, names]) => {
    const read = (name: string): unknown => outputs.find((entry) => entry?.name === `${target}.${name}`)?.data;
    const values = read(kinds[target] ?? "");
    const flat = Array.isArray(values) ? values.flat() : [];
    if (flat.length !== names.length || !flat.every((each) => typeof each === "number" && Number.isFinite(each))) {
      throw serviceError(`the service's answer does not fit ${target}`);
    }
    const shares = kinds[target] === "logits" ? softmax(flat) : flat;
    if (!shares.every((share) => share >= 0 && share <= 1) || Math.abs(sum(shares) - 1) > 0.01) {
      throw serviceError(`the service's probabilities of ${target} are none`);
    }
    // A service that names the likeliest class shows whether its order is the release's; other names tell nothing.
    const named = names.indexOf(String(read("label")));
    if (named >= 0 && (shares[named] ?? 0) < Math.max(...shares) - ROUNDING) {
      const cure = "ask who runs this page for the right service";
      throw serviceError(`the service has the classes of ${target} in another order`, cure);
    }
    const classes = names.map((name, place) => ({ name, probability: shares[place] ?? 0 }));
    return { target, classes: classes.sort((one, other) => other.probability - one.probability) };
  });
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

function softmax(logits: readonly number[]): number[] {
  const top = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - top));
  return powers.map((power) => power / sum(powers));
}

async function exchange(url: string, init: RequestInit): Promise<unknown> {
  let response: Response;
  let body: Uint8Array | null;
  try {
    response = await fetch(url, {
      ...init,
      mode: "cors",
      credentials: "omit",
      referrerPolicy: "no-referrer",
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    body = await readAtMost(response, MAX_ANSWER);
  } catch (cause) {
    const slow = (cause as Error).name === "TimeoutError";
    const what = slow ? "the service did not answer in time" : "the service cannot be reached";
    throw new DapterError("network", what, "check the network and send again", { cause });
  }
  const found = body ? parse(body) : undefined;
  if (!response.ok) {
    const reason = (found as { error?: unknown })?.error;
    const told = typeof reason === "string" ? `: ${reason.slice(0, 200)}` : "";
    throw serviceError(`the service refused the request (${response.status}${told})`);
  }
  if (typeof found !== "object" || found === null) throw serviceError("the service's answer cannot be read");
  return found;
}

function parse(body: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(body));
  } catch {
    return undefined;
  }
}
