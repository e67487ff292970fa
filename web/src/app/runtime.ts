/** Which part of the browser computes: WebAssembly; WebGPU where there is one, where it pays and gives the same. */
import wasmUrl from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import * as wasm from "onnxruntime-web/wasm";
import { Converter, type Pixels, type Release } from "../lib/index.js";

/** A conversion that takes WebAssembly less than this many milliseconds is left to it: a graphics card must be fetched 17 MB. */
const PAYS_MS = 150;

export interface Engine {
  readonly converter: Converter;
  readonly name: "WebAssembly" | "WebGPU";
}

export async function openEngine(release: Release): Promise<Engine> {
  wasm.env.wasm.numThreads = 1;
  wasm.env.wasm.wasmPaths = { wasm: wasmUrl };
  const converter = await Converter.open(release, wasm);
  return { converter, name: "WebAssembly" };
}

/** The same converter on WebGPU; null where there is none, where it is slower, differs by more than a rounding, or breaks the budget. */
export async function tryGpu(release: Release, slow: Converter): Promise<Engine | null> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<object | null> } };
  if (!gpu || !("Suspending" in WebAssembly)) return null;
  const probe = noise(release);
  await slow.convert(probe);
  const [expected, slowMs] = await timed(() => slow.convert(probe));
  if (slowMs < PAYS_MS) return null;
  try {
    if (!(await gpu.requestAdapter())) return null;
    const [{ default: jspiUrl }, jspi] = await Promise.all([
      import("onnxruntime-web/ort-wasm-simd-threaded.jspi.wasm?url"),
      import("onnxruntime-web/jspi"),
    ]);
    jspi.env.wasm.numThreads = 1;
    jspi.env.wasm.wasmPaths = { wasm: jspiUrl };
    const converter = await Converter.open(release, jspi, "webgpu");
    await converter.convert(probe);
    const [found, fastMs] = await timed(() => converter.convert(probe));
    const same = found.pixels.every((value, place) => Math.abs(value - (expected.pixels[place] ?? 0)) <= 1);
    return same && fastMs < slowMs ? { converter, name: "WebGPU" } : null;
  } catch {
    return null; // WebAssembly goes on
  }
}

function noise({ manifest }: Release): Pixels {
  const [height, width] = manifest.image.trained;
  const pixels = new Uint8Array(height * width * 3);
  for (let place = 0, value = 1; place < pixels.length; place++) {
    value = (Math.imul(value, 1103515245) + 12345) >>> 0;
    pixels[place] = value >>> 24;
  }
  return { pixels, height, width };
}

async function timed<Found>(work: () => Promise<Found>): Promise<[Found, number]> {
  const start = performance.now();
  return [await work(), performance.now() - start];
}
