"use strict";
// Reads out what is next to the pointer; the page is complete without it.
document.documentElement.dataset.script = "on";
for (const figure of document.querySelectorAll("figure")) {
  const told = figure.querySelector("output");
  const marks = [...figure.querySelectorAll("svg title")].map((it) => it.parentNode);
  const svg = figure.querySelector("svg");
  if (!told || !svg || marks.length === 0) continue;
  svg.addEventListener("pointermove", (event) => {
    let nearest = null;
    let least = 40;
    for (const mark of marks) {
      const box = mark.getBoundingClientRect();
      const dx = Math.max(box.left - event.clientX, 0, event.clientX - box.right);
      const dy = Math.max(box.top - event.clientY, 0, event.clientY - box.bottom);
      const distance = Math.hypot(dx, dy);
      if (distance < least) {
        least = distance;
        nearest = mark;
      }
    }
    const text = nearest ? nearest.querySelector("title").textContent : "";
    if (told.textContent !== text) told.textContent = text;
  });
}
