/** A photo comes from a file dialogue, the camera, a drop or the clipboard. */
import { find, show } from "./view.js";

export function onPhoto(take: (file: Blob) => void): void {
  show("camera", navigator.maxTouchPoints > 0);
  for (const id of ["choose", "take"]) {
    const input = find<HTMLInputElement>(id);
    input.addEventListener("change", () => {
      const file = input.files?.[0];
      input.value = ""; // so that the same file can be chosen again
      if (file) take(file);
    });
  }
  const zone = find("pick");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  for (const name of ["dragleave", "drop"]) document.addEventListener(name, () => zone.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    if (file) take(file);
  });
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (file) take(file);
  });
}
