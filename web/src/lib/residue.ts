/** What the eye misses in a payload: its deviation from grey, stretched. The same rule as in dapter's reports. */
const GREY = 128;
/** Share of the deviations, the strongest, that is clipped: bright spots hide nothing. */
const CLIPPED = 0.1;

/**
 * Stretches what deviates from grey over the full range.
 *
 * @param pixels RGB, 8 bits.
 * @returns the stretched pixels, and the factor; 0 for a picture that is nothing but grey.
 */
export function amplify(pixels: Uint8Array): { pixels: Uint8Array; factor: number } {
  const counts = new Uint32Array(129);
  let total = 0;
  for (const value of pixels) {
    const size = Math.abs(value - GREY);
    if (size) {
      counts[size] = (counts[size] ?? 0) + 1;
      total++;
    }
  }
  if (!total) return { pixels: pixels.slice(), factor: 0 };
  const rank = Math.ceil((total - 1) * (1 - CLIPPED));
  let size = 0;
  for (let seen = 0; seen <= rank; ) seen += counts[++size] ?? 0;
  const factor = 127 / size;
  const stretched = Uint8ClampedArray.from(pixels, (value) => (value - GREY) * factor + GREY);
  return { pixels: new Uint8Array(stretched.buffer), factor };
}
