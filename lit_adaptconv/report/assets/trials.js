"use strict";
// The table of trials: sorted by any column, filtered by text, status and arm, a hundred rows at a time.
const trials = (() => {
  const AT_ONCE = 100;
  const whole = (v) => (v === null ? "–" : v.toLocaleString("en-US"));
  const short = (v) => (v === null ? "–" : v >= 1e6 ? v.toExponential(2) : (+v.toPrecision(4)).toLocaleString("en-US"));

  const LATENCIES = [["ONNX, ms", "onnx_latency"], ["PyTorch, ms", "torch_latency"]];
  const timed = (model, key) => unpack(model.trials[key] || []).some((v) => v !== null);

  function columns(state, model) {
    const time = `${state.measure}_to_${state.target}`;
    const value = (v) => (v === null ? "–" : model.percent ? (100 * v).toFixed(2) + " %" : String(+v.toPrecision(4)));
    const values = Object.entries(model.values).map(([name, key]) => ({ name, key, show: value }));
    return [
      { name: "Arm", key: "arm", text: true, cls: "arm-name" },
      { name: "Budget", key: "budget", show: (v) => (v === null ? "usual" : whole(v)) },  // names stay as they are
      { name: "Parameters", key: "parameters", show: whole },
      { name: "Of budget", key: "budget_share", show: (v) => (v === null ? "–" : (Math.floor(1000 * v + 1e-9) / 10).toFixed(1) + " %") },
      { name: "FLOPs", key: "flops", show: whole },
      ...LATENCIES.filter(([, key]) => timed(model, key)).map(([name, key]) => ({ name, key, show: (v) => (v === null ? "–" : String(+(1000 * v).toPrecision(3))) })),
      { name: "Seed", key: "seed", show: String },
      { name: "Status", key: "status", text: true, status: true },
      ...values,
      { name: `${model.measures[state.measure]} to ${model.targets[state.target]}`, key: time, show: short },
      { name: "Seconds", key: "training_seconds", show: short },
      { name: "Reason", key: "reason", text: true, cls: "reason" },
    ];
  }

  // Columns travel as plain lists, or as {values, codes} or {values, length} where they repeat themselves.
  function unpack(column) {
    if (Array.isArray(column)) return column;
    if (column.length) return Array(column.length).fill(column.values[0]);
    return column.codes.map((c) => (c === null ? null : column.values[c]));
  }

  function csv(table) {
    function cell(v) {
      if (v === null || v === undefined) return "";
      const text = typeof v === "string" && /^[=+\-@]/.test(v) ? `'${v}` : String(v);  // no formula of a spreadsheet
      return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
    }
    const names = Object.keys(table);
    const lists = names.map((name) => unpack(table[name]));
    const lines = [names.map(cell).join(",")];
    for (let i = 0; i < lists[0].length; i++) lines.push(lists.map((list) => cell(list[i])).join(","));
    return lines.join("\r\n") + "\r\n";
  }

  function download(name, text) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function table(root, model) {
    const area = root.querySelector(".trials");
    const data = Object.fromEntries(Object.entries({ ...model.trials, ...model.budgets }).map(([name, column]) => [name, unpack(column)]));
    const number = Object.fromEntries(model.arms.map((arm, i) => [arm.name, i]));
    const said = (i) => [data.arm[i], data.status[i], data.reason[i], data.budget[i], data.trial[i], data.kind[i]].join(" ").toLowerCase();
    const texts = (data.arm || []).map((_, i) => said(i));
    const [search, status, latency] = ["text", "status", "latency"].map((name) => area.querySelector(`[data-filter=${name}]`));
    const more = area.querySelector(".more");
    const [runtime, seconds] = LATENCIES.find(([, key]) => timed(model, key)) || [];
    if (runtime) latency.placeholder = latency.ariaLabel = runtime.replace(",", " at most,");
    let sort = null, down = false, limit = AT_ONCE, state = null;

    function rows() {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const found = texts.map((_, i) => i).filter((i) => state.arms.has(number[data.arm[i]])
        && (!status.value || data.status[i] === status.value)
        && (!latency.value || !seconds || (data[seconds][i] !== null && 1000 * data[seconds][i] <= Number(latency.value))) && words.every((word) => texts[i].includes(word)));
      if (!sort || !data[sort]) return found;
      const values = data[sort], sign = down ? -1 : 1;
      return found.sort((a, b) => {
        const [x, y] = [values[a], values[b]];
        if (x === null || y === null) return (x === null) - (y === null) || a - b;  // what is unknown comes last
        return (typeof x === "string" ? sign * x.localeCompare(y) : sign * (x - y)) || a - b;
      });
    }

    function head() {
      area.querySelector("thead tr").replaceChildren(...columns(state, model).map((column) => {
        const th = document.createElement("th"), button = document.createElement("button");
        if (column.text) th.className = "text";
        th.setAttribute("aria-sort", sort !== column.key ? "none" : down ? "descending" : "ascending");
        button.type = "button";
        button.textContent = column.name;
        button.addEventListener("click", () => {
          [sort, down] = [column.key, sort === column.key && !down];
          draw();
        });
        th.append(button);
        return th;
      }));
    }

    function body() {
      const found = rows();
      area.querySelector("tbody").replaceChildren(...found.slice(0, limit).map((i) => {
        const tr = document.createElement("tr");
        for (const column of columns(state, model)) {
          const td = document.createElement("td"), value = (data[column.key] || [])[i] ?? null;
          td.className = [column.text ? "text" : "", column.cls || ""].join(" ").trim();
          if (column.status) {
            const tag = document.createElement("span");
            tag.className = `status ${value}`;
            tag.textContent = value;
            td.append(tag);
          } else td.textContent = column.show ? column.show(value) : value === null ? "" : value;
          if (column.cls === "arm-name") td.title = value;
          tr.append(td);
        }
        return tr;
      }));
      area.querySelector(".count").textContent = `${whole(found.length)} of ${whole(texts.length)} trials`;
      more.hidden = found.length <= limit;
      more.textContent = `Show more (${whole(Math.max(0, found.length - limit))} are left)`;
    }

    function draw() { head(); body(); }
    const narrow = () => { limit = AT_ONCE; body(); };
    search.addEventListener("input", narrow);
    status.addEventListener("change", narrow);
    latency.addEventListener("input", narrow);
    more.addEventListener("click", () => { limit += 5 * AT_ONCE; body(); });
    for (const kind of ["trials", "curves"]) {
      area.querySelector(`[data-csv=${kind}]`).addEventListener("click", () => download(`${model.file}-${kind}.csv`, csv(model[kind])));
    }
    return (now) => { state = now; draw(); };
  }

  return { table };
})();
