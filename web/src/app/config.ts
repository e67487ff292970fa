/** config.json, which `site.mjs` writes beside the page. */
import { DapterError } from "../lib/index.js";

export interface Config {
  /** The page's heading; null: its own. */
  readonly title: string | null;
  /** `https://host/v2/models/NAME`, or a path on the page's own host. */
  readonly model: string;
  /** The folder of the release. */
  readonly release: string;
  /** The provider's public key, PEM. */
  readonly key: string;
}

export async function readConfig(): Promise<Config> {
  try {
    const response = await fetch("./config.json", { redirect: "error" });
    const found = (await response.json()) as Config;
    if (![found.model, found.release, found.key].every((each) => typeof each === "string"))
      throw new TypeError("fields");
    return found;
  } catch (cause) {
    throw new DapterError("network", "this page's settings cannot be loaded", "check the network and try again", {
      cause,
    });
  }
}
