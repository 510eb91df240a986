"use strict";
// Light, dark, or as the system has it; figures are drawn anew in the colours of the page.
const theme = (() => {
  const button = document.getElementById("theme");
  const listeners = [];
  const system = matchMedia("(prefers-color-scheme: dark)");
  const next = { auto: "light", light: "dark", dark: "auto" };
  let mode = "auto";
  try { mode = localStorage.getItem("adaptconv-theme") || "auto"; } catch { /* a page from disk may have no storage */ }
  function apply() {
    if (mode === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = mode;
    button.querySelector("span").textContent = mode;
    listeners.forEach((listener) => listener());
  }
  button.addEventListener("click", () => {
    mode = next[mode] || "auto";
    try { localStorage.setItem("adaptconv-theme", mode); } catch { /* likewise */ }
    apply();
  });
  system.addEventListener("change", apply);
  apply();
  return {
    changed: (listener) => listeners.push(listener),
    colour: (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(),
  };
})();
