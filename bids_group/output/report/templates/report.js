"use strict";
(() => {
  // Theme: the reader's choice, else the system's.
  const root = document.documentElement;
  const remember = (value) => { try { localStorage.setItem("bids-group-theme", value); } catch { /* private windows */ } };
  const recall = () => { try { return localStorage.getItem("bids-group-theme"); } catch { return null; } };
  const wantsDark = matchMedia("(prefers-color-scheme: dark)");
  const button = document.getElementById("theme");
  const show = (theme) => { root.dataset.theme = theme; button.setAttribute("aria-pressed", String(theme === "dark")); };
  show(recall() ?? (wantsDark.matches ? "dark" : "light"));
  wantsDark.addEventListener("change", (event) => { if (!recall()) show(event.matches ? "dark" : "light"); });
  button.addEventListener("click", () => { const next = root.dataset.theme === "dark" ? "light" : "dark"; show(next); remember(next); });
  let printedFrom = null;
  let closed = [];
  addEventListener("beforeprint", () => {
    printedFrom = root.dataset.theme; show("light");
    closed = [...document.querySelectorAll("details:not([open])")];  // what is collapsed is printed too
    closed.forEach((one) => { one.open = true; });
    document.querySelectorAll("img").forEach((one) => { one.loading = "eager"; });
  });
  addEventListener("afterprint", () => {
    if (printedFrom) show(printedFrom);
    closed.forEach((one) => { one.open = false; });
  });

  // Tables: sort by a click on a heading; missing values stay last.
  const compare = (a, b) => {
    const x = Number(a), y = Number(b);
    return a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y) ? x - y : a.localeCompare(b, "en", { numeric: true });
  };
  const sort = (table, column, isDescending) => {
    const body = table.tBodies[0];
    const value = (row) => row.cells[column].dataset.value ?? "";
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      if ((x === "n/a") !== (y === "n/a")) return x === "n/a" ? 1 : -1;
      return isDescending ? compare(y, x) : compare(x, y);
    });
    body.append(...rows);
  };
  document.querySelectorAll("table.sortable").forEach((table) => {
    const headings = [...table.tHead.rows[0].cells];
    headings.forEach((heading, column) => heading.querySelector("button")?.addEventListener("click", () => {
      const isDescending = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => { if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none"); });
      heading.setAttribute("aria-sort", isDescending ? "descending" : "ascending");
      sort(table, column, isDescending);
    }));
  });

  // Viewer: volumes are unpacked when the viewer comes into sight.
  const read = (id) => { const node = document.getElementById(id); return node ? JSON.parse(node.textContent) : null; };
  const inflate = async (text) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  const unpackNumbers = async (volume) => {
    const bytes = await inflate(volume.bytes), n = bytes.length / 2, numbers = new Int16Array(n);
    for (let i = 0; i < n; i++) numbers[i] = bytes[i] | (bytes[n + i] << 8);
    return { ...volume, numbers };
  };
  const unpackBits = async (volume) => {
    if (!volume) return null;
    const bytes = await inflate(volume.bytes), [nx, ny, nz] = volume.shape, numbers = new Uint8Array(nx * ny * nz);
    for (let i = 0; i < numbers.length; i++) numbers[i] = (bytes[i >> 3] >> (i & 7)) & 1;
    return { ...volume, numbers };
  };
  let anatomyPromise = null;
  const anatomy = () => {
    anatomyPromise ??= (async () => { const volume = read("anatomy"); return volume && { ...volume, numbers: await inflate(volume.bytes) }; })();
    return anatomyPromise;
  };
  const element = (volume, mm) => {
    const at = [0, 1, 2].map((axis) => Math.floor((mm[axis] - volume.origin[axis]) / volume.step[axis] + 0.5));
    const [nx, ny, nz] = volume.shape;
    if (at[0] < 0 || at[1] < 0 || at[2] < 0 || at[0] >= nx || at[1] >= ny || at[2] >= nz) return -1;
    return at[0] + nx * (at[1] + ny * at[2]);
  };
  const bounds = (volume, axis) => [volume.origin[axis] - volume.step[axis] / 2, volume.origin[axis] + volume.step[axis] * (volume.shape[axis] - 0.5)];
  const palette = (() => {
    const anchors = read("palette").map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
    return (share) => {
      const at = Math.min(Math.max(share, 0), 1) * (anchors.length - 1), low = Math.min(Math.floor(at), anchors.length - 2), part = at - low;
      return anchors[low].map((value, channel) => value + part * (anchors[low + 1][channel] - value));
    };
  })();
  const MINUS = "\u2212", spell = (value, digits) => value.toFixed(digits).replace("-", MINUS);

  const start = async (box) => {
    const volume = read(box.dataset.volume);
    const [statistic, mask, significant, behind] = await Promise.all([
      unpackNumbers(volume.statistic), unpackBits(volume.mask), unpackBits(volume.significant), anatomy(),
    ]);
    const beside = await Promise.all(volume.beside.map(async (one) => ({ ...one, volume: one.volume && await unpackNumbers(one.volume) })));
    const frame = behind ?? statistic;
    const state = { at: [...volume.start], threshold: volume.opaque_at };
    const slider = box.querySelector(".threshold"), output = box.querySelector(".threshold-value"), readout = box.querySelector(".readout");
    const faded = box.querySelector(".faded"), outline = box.querySelector(".outline"), canvases = [...box.querySelectorAll("canvas[data-axis]")];
    const colours = Array.from({ length: 512 }, (_, i) => palette(volume.is_signed ? i / 511 : 0.5 + i / 1022));
    const isSignificant = (mm) => { const i = element(significant, mm); return i >= 0 && significant.numbers[i] === 1; };

    const draw = (canvas) => {
      const axis = Number(canvas.dataset.axis), across = axis === 0 ? 1 : 0, up = axis === 2 ? 1 : 2;
      const [left, right] = bounds(frame, across), [bottom, top] = bounds(frame, up), fine = 2;
      const width = Math.round((right - left) * fine), height = Math.round((top - bottom) * fine);
      if (canvas.width !== width || canvas.height !== height) { canvas.width = width; canvas.height = height; canvas.style.width = `${Math.round(width * 0.8)}px`; }
      const context = canvas.getContext("2d"), image = context.createImageData(width, height), mm = [...state.at], next = [0, 0, 0];
      for (let row = 0; row < height; row++) for (let column = 0; column < width; column++) {
        mm[across] = left + (column + 0.5) / fine; mm[up] = top - (row + 0.5) / fine;
        let red = 7, green = 9, blue = 13;
        if (behind) { const i = element(behind, mm); if (i >= 0 && behind.numbers[i]) red = green = blue = 10 + behind.numbers[i] * 0.78; }
        const i = element(statistic, mm);
        if (i >= 0 && mask.numbers[i]) {
          if (!behind) red = green = blue = 60;
          const value = statistic.numbers[i] * statistic.scale, size = Math.abs(value);
          const untested = volume.is_one_sided && value < 0 ? 0.3 : 1;
          const share = untested * (size >= state.threshold ? 1 : faded.checked ? (size / state.threshold) ** 2 * 0.85 : 0);
          const colour = colours[Math.round(511 * Math.min(Math.max(volume.is_signed ? 0.5 + 0.5 * value / volume.limit : value / volume.limit, 0), 1))];
          red += share * (colour[0] - red); green += share * (colour[1] - green); blue += share * (colour[2] - blue);
          if (outline.checked && isSignificant(mm)) {
            const isEdge = [[1, 0], [-1, 0], [0, 1], [0, -1]].some(([dx, dy]) => { next[axis] = mm[axis]; next[across] = mm[across] + dx / fine; next[up] = mm[up] + dy / fine; return !isSignificant(next); });
            if (isEdge) red = green = blue = 255;
          }
        }
        const place = 4 * (row * width + column);
        image.data[place] = red; image.data[place + 1] = green; image.data[place + 2] = blue; image.data[place + 3] = 255;
      }
      context.putImageData(image, 0, 0);
      context.strokeStyle = "rgba(255,255,255,0.55)"; context.lineWidth = 1; context.beginPath();
      const x = (state.at[across] - left) * fine, y = (top - state.at[up]) * fine;
      context.moveTo(x, 0); context.lineTo(x, height); context.moveTo(0, y); context.lineTo(width, y); context.stroke();
      context.fillStyle = "#cfd6e0"; context.font = "20px sans-serif";
      context.fillText(`${"xyz"[axis]} = ${spell(state.at[axis], 0)}`, 8, height - 10);
      if (axis !== 0) { context.fillText("L", 8, 24); context.fillText("R", width - 22, 24); }
    };
    const drawScale = () => {
      const canvas = box.querySelector(".colours"), context = canvas.getContext("2d"), { width, height } = canvas;
      const low = volume.is_signed ? -volume.limit : 0, left = 40, right = width - 40, tall = 26;
      const place = (value) => left + (value - low) / (volume.limit - low) * (right - left);
      context.clearRect(0, 0, width, height);
      for (let x = left; x < right; x++) {
        const [red, green, blue] = colours[Math.min(Math.floor(512 * (x - left) / (right - left)), 511)];
        context.fillStyle = `rgb(${red},${green},${blue})`; context.fillRect(x, 4, 1, tall);
      }
      context.fillStyle = "#ffffff";
      const marks = volume.is_signed && !volume.is_one_sided ? [-state.threshold, state.threshold] : [state.threshold];
      marks.forEach((value) => context.fillRect(place(value) - 1, 0, 3, tall + 8));
      context.fillStyle = "#e6ebf2"; context.font = "22px sans-serif"; context.textAlign = "center";
      [low, (low + volume.limit) / 2, volume.limit].forEach((value) => context.fillText(spell(value, 1), place(value), tall + 34));
      context.textAlign = "left"; context.fillText(volume.name, place(low + 0.7 * (volume.limit - low)), tall + 34);
    };
    const tell = ({ name, factor, volume: own }) => {
      const at = element(statistic, state.at), value = own ? own.numbers[at] * own.scale : factor * statistic.numbers[at] * statistic.scale;
      return `${name} = ${value.toPrecision(3).replace("-", "−")}`;
    };
    const render = () => {
      canvases.forEach(draw);
      const i = element(statistic, state.at), inside = i >= 0 && mask.numbers[i];
      const value = inside ? `${[`${volume.name} = ${spell(statistic.numbers[i] * statistic.scale, 3)}`, ...beside.map(tell)].join(", ")}${isSignificant(state.at) ? `, significant (${volume.correction})` : ""}` : "outside the analysis mask";
      readout.textContent = `x = ${spell(state.at[0], 1)}, y = ${spell(state.at[1], 1)}, z = ${spell(state.at[2], 1)} mm: ${value}`;
    };
    const setThreshold = () => { state.threshold = Math.max(Number(slider.value) / 100 * volume.limit, 1e-6); output.textContent = state.threshold.toFixed(2); drawScale(); };
    const goTo = (mm) => { state.at = mm.map((value, axis) => { const [low, high] = bounds(frame, axis); return Math.min(Math.max(value, low), high - 1e-6); }); render(); };
    slider.value = String(Math.round(100 * volume.opaque_at / volume.limit)); setThreshold();
    let isWaiting = false;
    const later = () => { if (!isWaiting) { isWaiting = true; requestAnimationFrame(() => { isWaiting = false; render(); }); } };
    slider.addEventListener("input", () => { setThreshold(); later(); });
    faded.addEventListener("change", later); outline.addEventListener("change", later);
    box.querySelector(".strongest").addEventListener("click", () => goTo([...volume.strongest]));
    canvases.forEach((canvas) => canvas.addEventListener("pointerdown", (event) => {
      const axis = Number(canvas.dataset.axis), across = axis === 0 ? 1 : 0, up = axis === 2 ? 1 : 2, area = canvas.getBoundingClientRect();
      const [left, right] = bounds(frame, across), [bottom, top] = bounds(frame, up), mm = [...state.at];
      mm[across] = left + (event.clientX - area.left) / area.width * (right - left);
      mm[up] = top - (event.clientY - area.top) / area.height * (top - bottom);
      goTo(mm);
    }));
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowDown: [1, -1], ArrowUp: [1, 1], PageDown: [2, -1], PageUp: [2, 1] };
    box.querySelector(".viewer-canvases").addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      const mm = [...state.at]; mm[step[0]] += step[1] * statistic.step[step[0]]; goTo(mm);
    });
    box.goTo = goTo;
    render();
    box.dataset.ready = "true";
  };
  const begin = (box) => { box.started ??= start(box).catch((error) => { box.querySelector(".readout").textContent = `The viewer cannot start in this browser: ${error.message}`; }); return box.started; };
  const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => { if (entry.isIntersecting) { watcher.unobserve(entry.target); begin(entry.target); } }), { rootMargin: "300px" });
  document.querySelectorAll(".viewer[data-volume]").forEach((box) => watcher.observe(box));
  document.querySelectorAll(".goto").forEach((link) => link.addEventListener("click", async () => {
    const box = document.getElementById(link.dataset.viewer);
    await begin(box);
    box.goTo?.(link.dataset.point.split(",").map(Number));
    box.scrollIntoView({ block: "center" });
  }));
})();
