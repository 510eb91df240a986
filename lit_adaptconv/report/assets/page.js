"use strict";
// Each sweep of the page: what its selectors say, and who is told.
for (const root of document.querySelectorAll(".sweep")) {
  const model = JSON.parse(root.querySelector("script.model").textContent);
  const showTrials = trials.table(root, model);
  const picks = Object.fromEntries(["target", "measure", "budget"].map((name) => [name, root.querySelector(`[data-pick=${name}]`)]));
  const boxes = [...root.querySelectorAll(".arm input")];

  const state = () => ({
    ...Object.fromEntries(Object.entries(picks).map(([name, pick]) => [name, pick.value])),
    arms: new Set(boxes.filter((box) => box.checked).map((box) => Number(box.value))),
  });
  function draw() {
    const now = state();
    for (const part of root.querySelectorAll(".verdict [data-target]")) part.hidden = part.dataset.target !== now.target;
    figures.draw(root, model, now);
    showTrials(now);
  }
  root.querySelector(".controls").addEventListener("change", draw);
  root.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  for (const size of root.querySelectorAll("[data-pick=size]")) size.addEventListener("change", draw);
  theme.changed(draw);
  let width = root.clientWidth;
  addEventListener("resize", () => {
    if (root.clientWidth !== width) { width = root.clientWidth; draw(); }  // labels come and go with the width
  });
  draw();
  if (innerWidth < 640) root.querySelectorAll(".verdict details").forEach((part) => { part.open = false; });
}
document.documentElement.dataset.ready = "true";
