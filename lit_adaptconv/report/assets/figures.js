"use strict";
// Draws the figure that the selectors ask for, with the arms that are on, in the colours of the page.
const figures = (() => {
  const NARROW = 560;
  const coarse = matchMedia("(pointer: coarse)").matches;
  const config = {
    displaylogo: false,
    responsive: true,
    displayModeBar: matchMedia("(hover: hover)").matches ? "hover" : false,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
  };

  // The figures come in the colours of a white page; names and texts stay as they are.
  function recolour(value, key, colours) {
    if (typeof value === "string") return key === "name" || key === "text" ? value : colours[value] || value;
    if (Array.isArray(value)) return value.map((item) => recolour(item, key, colours));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, recolour(v, k, colours)]));
    }
    return value;
  }

  function prepare(figure, model, shown, target, width) {
    const colours = Object.fromEntries(Object.entries(model.colours).map(([from, to]) => [from, theme.colour(to)]));
    const { data, layout } = recolour(figure, "", colours);
    const off = (arm) => arm !== undefined && !shown.has(arm);
    const narrow = width < NARROW;
    layout.annotations = (layout.annotations || []).filter((a) => {
      const arm = /^arm (\d+)$/.exec(a.name || "");
      return !arm || (!narrow && !off(Number(arm[1])));
    });
    for (const shape of layout.shapes || []) {
      if (shape.name === `target ${target}`) Object.assign(shape.line, { color: theme.colour("ink"), dash: "dash", width: 1.5 });
    }
    const margin = { ...layout.margin, t: 22 };
    if (narrow) Object.assign(margin, { l: 44, r: 14 });
    Object.assign(layout, { title: undefined, showlegend: false, margin, paper_bgcolor: "rgba(0,0,0,0)" });
    Object.assign(layout.hoverlabel, { bgcolor: theme.colour("card"), bordercolor: theme.colour("line") });
    Object.assign(layout.hoverlabel.font, { color: theme.colour("ink") });
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: theme.colour("muted"), activecolor: theme.colour("accent") };
    if (narrow && !layout.xaxis.tickvals) layout.xaxis.nticks = 5;
    if (coarse) Object.assign(layout, { dragmode: false });
    return { data: data.filter((trace) => !off((trace.meta || {}).arm)), layout };
  }

  function draw(root, model, state) {
    for (const card of root.querySelectorAll(".card")) {
      const place = card.dataset.place;
      const uses = model.uses[place];
      const pick = { ...state, size: (card.querySelector("[data-pick=size]") || {}).value || "" };
      const key = ["target", "measure", "budget", "size"].map((p) => (uses.includes(p) ? pick[p] : "")).join("|");
      const found = model.figures[place][key];
      for (const part of card.querySelectorAll(".equal")) part.hidden = part.dataset.size !== pick.size;
      const plot = card.querySelector(".plot");
      if (!found) {
        Plotly.purge(plot);
        plot.innerHTML = "<p class=none>Nothing to show yet.</p>";
        continue;
      }
      if (plot.querySelector(".none")) plot.textContent = "";
      const { data, layout } = prepare(found, model, state.arms, state.target, plot.clientWidth);
      Plotly.react(plot, data, layout, config);
      plot.setAttribute("aria-label", found.layout.title.text);
      card.querySelector("h2").textContent = decode(found.layout.title.text);
      legend(card, model, data, layout);
    }
  }

  function decode(text) { return text.replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&"); }

  // Where there is room the lines themselves are labelled.
  function legend(card, model, data, layout) {
    const drawn = new Set(data.map((trace) => (trace.meta || {}).arm));
    const line = card.querySelector(".legend");
    const labelled = layout.annotations.some((a) => /^arm /.test(a.name || ""));
    line.replaceChildren(...(labelled ? [] : model.arms.filter((_, i) => drawn.has(i)).map((arm) => {
      const item = document.createElement("span"), swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.color = arm.colour;
      swatch.textContent = arm.glyph + " ";
      item.append(swatch, arm.name);
      item.title = arm.name;
      return item;
    })));
  }

  return { draw };
})();
