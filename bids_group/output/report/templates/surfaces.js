"use strict";
// The viewer of surfaces. One WebGL context draws all contrasts on a mesh: a browser gives few contexts.
(() => {
  const boxes = [...document.querySelectorAll(".surface-viewer")];
  if (!boxes.length) return;
  const MINUS = "\u2212", NOT_ANALYSED = -32768, GYRUS = 0.72, SULCUS = 0.45;
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const inflate = async (text) => {
    const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  };
  // Numbers of several bytes lie as all first bytes, then all second ones, and so on.
  const unpack = async (text, width) => {
    const planes = await inflate(text), n = planes.length / width, bytes = new Uint8Array(planes.length);
    for (let plane = 0; plane < width; plane++) for (let i = 0; i < n; i++) bytes[i * width + plane] = planes[plane * n + i];
    return bytes.buffer;
  };
  const anchors = read("palette").map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16) / 255));
  const palette = (share) => {
    const at = Math.min(Math.max(share, 0), 1) * (anchors.length - 1), low = Math.min(Math.floor(at), anchors.length - 2), part = at - low;
    return anchors[low].map((value, channel) => value + part * (anchors[low + 1][channel] - value));
  };

  const VERTEX = `attribute vec3 place, normal, colour; uniform mat3 turn; uniform vec3 middle; uniform vec2 size; uniform float nearer;
    varying vec3 seen; void main() { vec3 p = turn * (place - middle); float light = 0.45 + 0.55 * max((turn * normal).z, 0.0);
    seen = nearer > 0.0 ? colour : colour * light; gl_Position = vec4(p.xy * size, -(p.z + nearer) / 400.0, 1.0); }`;
  const FRAGMENT = "precision mediump float; varying vec3 seen; void main() { gl_FragColor = vec4(seen, 1.0); }";

  const normalsOf = (points, triangles) => {
    const normals = new Float32Array(points.length);
    for (let i = 0; i < triangles.length; i += 3) {
      const [a, b, c] = [triangles[i] * 3, triangles[i + 1] * 3, triangles[i + 2] * 3];
      const u = [0, 1, 2].map((k) => points[b + k] - points[a + k]), v = [0, 1, 2].map((k) => points[c + k] - points[a + k]);
      const cross = [u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
      for (const corner of [a, b, c]) for (let k = 0; k < 3; k++) normals[corner + k] += cross[k];
    }
    for (let i = 0; i < normals.length; i += 3) {
      const length = Math.hypot(normals[i], normals[i + 1], normals[i + 2]) || 1;
      for (let k = 0; k < 3; k++) normals[i + k] /= length;
    }
    return normals;
  };

  // Meshes and their context, made when the first viewer of them comes into sight.
  const stages = new Map();
  const stage = (id) => {
    if (!stages.has(id)) stages.set(id, (async () => {
      const canvas = document.createElement("canvas"), gl = canvas.getContext("webgl", { antialias: true, preserveDrawingBuffer: true });
      if (!gl) throw new Error("it has no WebGL. The pictures above show the same.");
      if (!gl.getExtension("OES_element_index_uint")) throw new Error("its WebGL cannot hold this mesh. The pictures above show the same.");
      const program = gl.createProgram();
      for (const [kind, source] of [[gl.VERTEX_SHADER, VERTEX], [gl.FRAGMENT_SHADER, FRAGMENT]]) {
        const shader = gl.createShader(kind); gl.shaderSource(shader, source); gl.compileShader(shader);
        if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
        gl.attachShader(program, shader);
      }
      gl.linkProgram(program); gl.useProgram(program);
      gl.enable(gl.DEPTH_TEST);
      const buffer = (data, target = gl.ARRAY_BUFFER) => { const made = gl.createBuffer(); gl.bindBuffer(target, made); gl.bufferData(target, data, gl.STATIC_DRAW); return made; };
      const meshes = [];
      for (const mesh of read(id)) {
        const steps = new Uint16Array(await unpack(mesh.points, 2)), deltas = new Int32Array(await unpack(mesh.triangles, 4)), bits = await inflate(mesh.bulges);
        const points = Float32Array.from(steps, (step, i) => mesh.low[i % 3] + step / 65535 * (mesh.high[i % 3] - mesh.low[i % 3]));
        let last = 0;
        const triangles = Uint32Array.from(deltas, (delta) => last += delta), n = points.length / 3;
        const greys = Float32Array.from({ length: n }, (_, i) => (bits[i >> 3] >> (i & 7)) & 1 ? GYRUS : SULCUS);
        const normals = normalsOf(points, triangles);
        meshes.push({ hemi: mesh.hemi, n, points, triangles, normals, greys, low: mesh.low, high: mesh.high,
          place: buffer(points), normal: buffer(normals), index: buffer(triangles, gl.ELEMENT_ARRAY_BUFFER), colour: gl.createBuffer(), line: gl.createBuffer() });
      }
      return { canvas, gl, program, meshes };
    })());
    return stages.get(id);
  };

  const start = async (box) => {
    const { canvas, gl, program, meshes } = await stage(box.dataset.meshes), map = read(box.dataset.map);
    const values = [], significant = [];
    for (const one of map.hemispheres) {
      values.push(new Int16Array(await unpack(one.values, 2)));
      significant.push(await inflate(one.significant));
    }
    const isIn = (h, i) => (significant[h][i >> 3] >> (i & 7)) & 1;
    const lines = meshes.map((mesh, h) => {
      const ends = [];
      for (let i = 0; i < mesh.triangles.length; i += 3) {
        const corner = [0, 1, 2].map((k) => mesh.triangles[i + k]);
        for (let k = 0; k < 3; k++) {
          const [a, b] = [corner[k], corner[(k + 1) % 3]];
          if (isIn(h, a) !== isIn(h, b)) for (let c = 0; c < 3; c++) ends.push((mesh.points[3 * a + c] + mesh.points[3 * b + c]) / 2);
        }
      }
      return new Float32Array(ends);
    });
    const target = box.querySelector("canvas"), slider = box.querySelector(".threshold"), output = box.querySelector(".threshold-value"), readout = box.querySelector(".readout");
    const faded = box.querySelector(".faded"), outline = box.querySelector(".outline"), context = target.getContext("2d");
    const state = { azimuth: -90, elevation: 0, zoom: 1, only: null, threshold: map.opaque_at, picked: null };
    const valueAt = (h, i) => values[h][i] === NOT_ANALYSED ? NaN : values[h][i] * map.hemispheres[h].scale;

    const colour = () => meshes.map((mesh, h) => {
      const colours = new Float32Array(3 * mesh.n);
      for (let i = 0; i < mesh.n; i++) {
        const grey = mesh.greys[i], value = valueAt(h, i), size = Math.abs(value);
        const untested = map.is_one_sided && value < 0 ? 0.3 : 1;
        const share = Number.isNaN(value) ? 0 : untested * (size >= state.threshold ? 1 : faded.checked ? (size / state.threshold) ** 2 * 0.85 : 0);
        const tint = share > 0 ? palette(map.is_signed ? 0.5 + 0.5 * value / map.limit : 0.5 + 0.5 * Math.min(value / map.limit, 1)) : null;
        for (let k = 0; k < 3; k++) colours[3 * i + k] = tint ? grey + share * (tint[k] - grey) : grey;
      }
      return colours;
    });
    let colours = colour();

    const axes = () => {
      const a = state.azimuth * Math.PI / 180, e = state.elevation * Math.PI / 180;
      const [ca, sa, ce, se] = [Math.cos(a), Math.sin(a), Math.cos(e), Math.sin(e)];
      return [[ca, sa, 0], [-se * sa, se * ca, ce], [ce * sa, -ce * ca, se]]; // right, up, towards the reader
    };
    const shown = () => meshes.filter((mesh) => !state.only || mesh.hemi === state.only);
    const view = () => {
      const own = shown(), low = [0, 1, 2].map((k) => Math.min(...own.map((mesh) => mesh.low[k]))), high = [0, 1, 2].map((k) => Math.max(...own.map((mesh) => mesh.high[k])));
      const middle = low.map((value, k) => (value + high[k]) / 2), reach = Math.max(...meshes.map((mesh) => mesh.high[1] - mesh.low[1])) / 2 * 1.08;
      const { width, height } = target, unit = state.zoom / reach * Math.min(1, 1.35 * height / width);
      return { middle, size: [unit, unit * width / height] };
    };
    const attribute = (name, made) => {
      const at = gl.getAttribLocation(program, name);
      gl.bindBuffer(gl.ARRAY_BUFFER, made);
      gl.enableVertexAttribArray(at);
      gl.vertexAttribPointer(at, 3, gl.FLOAT, false, 0, 0);
    };
    const uniform = (name) => gl.getUniformLocation(program, name);

    const draw = () => {
      target.width = Math.max(1, Math.round(target.clientWidth * devicePixelRatio)); target.height = Math.max(1, Math.round(target.clientHeight * devicePixelRatio));
      canvas.width = target.width; canvas.height = target.height;
      gl.viewport(0, 0, canvas.width, canvas.height); gl.clearColor(0.027, 0.035, 0.051, 1); gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
      const [right, up, near] = axes(), { middle, size } = view();
      gl.uniformMatrix3fv(uniform("turn"), false, [0, 1, 2].flatMap((k) => [right[k], up[k], near[k]]));
      gl.uniform3fv(uniform("middle"), middle); gl.uniform2fv(uniform("size"), size);
      meshes.forEach((mesh, h) => {
        if (state.only && mesh.hemi !== state.only) return;
        attribute("place", mesh.place); attribute("normal", mesh.normal); attribute("colour", mesh.colour);
        gl.bufferData(gl.ARRAY_BUFFER, colours[h], gl.DYNAMIC_DRAW);
        gl.uniform1f(uniform("nearer"), 0);
        gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, mesh.index);
        gl.drawElements(gl.TRIANGLES, mesh.triangles.length, gl.UNSIGNED_INT, 0);
        if (!outline.checked || !lines[h].length) return;
        attribute("place", mesh.line); gl.bufferData(gl.ARRAY_BUFFER, lines[h], gl.DYNAMIC_DRAW);
        for (const name of ["normal", "colour"]) gl.disableVertexAttribArray(gl.getAttribLocation(program, name));
        gl.vertexAttrib3f(gl.getAttribLocation(program, "colour"), 1, 1, 1); gl.vertexAttrib3f(gl.getAttribLocation(program, "normal"), 0, 0, 1);
        gl.uniform1f(uniform("nearer"), 0.8);
        gl.drawArrays(gl.LINES, 0, lines[h].length / 3);
      });
      context.drawImage(canvas, 0, 0);
      if (state.picked) {
        const [x, y, depth] = project(...state.picked);
        if (depth > -1e9) { context.strokeStyle = "#fff"; context.lineWidth = 2; context.beginPath(); context.arc(x, y, 7 * devicePixelRatio, 0, 7); context.stroke(); }
      }
      box.dataset.ready = String(gl.getError() === gl.NO_ERROR);
    };
    const project = (h, i) => {
      const mesh = meshes[h], [right, up, near] = axes(), { middle, size } = view();
      const from = [0, 1, 2].map((k) => mesh.points[3 * i + k] - middle[k]), dot = (axis) => axis.reduce((sum, value, k) => sum + value * from[k], 0);
      const facing = near.reduce((sum, value, k) => sum + value * mesh.normals[3 * i + k], 0);
      return [(dot(right) * size[0] + 1) / 2 * target.width, (1 - dot(up) * size[1]) / 2 * target.height, facing > 0 && (!state.only || mesh.hemi === state.only) ? dot(near) : -Infinity];
    };
    const say = () => {
      if (!state.picked) { readout.textContent = "Click on the surface to read its value."; return; }
      const [h, i] = state.picked, value = valueAt(h, i), place = [0, 1, 2].map((k) => meshes[h].points[3 * i + k].toFixed(1).replace("-", MINUS));
      const words = Number.isNaN(value) ? "not analysed" : `${map.name} = ${value.toFixed(3).replace("-", MINUS)}${isIn(h, i) ? `, significant (${map.correction})` : ""}`;
      readout.textContent = `Hemisphere ${meshes[h].hemi}, vertex ${i} (${place.join(", ")} mm): ${words}`;
    };
    const pick = (x, y) => {
      let best = null, nearest = (14 * devicePixelRatio) ** 2, front = -Infinity;
      meshes.forEach((mesh, h) => {
        for (let i = 0; i < mesh.n; i++) {
          const [px, py, depth] = project(h, i), apart = (px - x) ** 2 + (py - y) ** 2;
          if (depth === -Infinity || apart > nearest) continue;
          if (depth > front + 12 || (depth > front - 12 && apart < nearest)) { best = [h, i]; front = depth; nearest = Math.max(apart, 4); }
        }
      });
      if (best) { state.picked = best; say(); draw(); }
    };
    let isWaiting = false;
    const later = () => { if (!isWaiting) { isWaiting = true; requestAnimationFrame(() => { isWaiting = false; draw(); }); } };
    const recolour = () => { colours = colour(); later(); };
    const setThreshold = () => { state.threshold = Math.max(Number(slider.value) / 100 * map.limit, 1e-6); output.textContent = state.threshold.toFixed(2); };
    slider.value = String(Math.round(100 * map.opaque_at / map.limit)); setThreshold();
    slider.addEventListener("input", () => { setThreshold(); recolour(); });
    faded.addEventListener("change", recolour); outline.addEventListener("change", later);
    const turn = (azimuth, elevation) => { state.azimuth += azimuth; state.elevation = Math.min(Math.max(state.elevation + elevation, -90), 90); later(); };
    box.querySelectorAll("[data-view]").forEach((button) => button.addEventListener("click", () => {
      const [azimuth, elevation, only] = button.dataset.view.split(",");
      Object.assign(state, { azimuth: Number(azimuth), elevation: Number(elevation), only: only || null }); later();
    }));
    let from = null, isDragged = false;
    target.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; isDragged = false; target.setPointerCapture(event.pointerId); });
    target.addEventListener("pointermove", (event) => {
      if (!from) return;
      const [x, y] = [event.clientX - from[0], event.clientY - from[1]];
      if (!isDragged && Math.hypot(x, y) < 4) return;
      isDragged = true; turn(-x * 0.5, y * 0.5); from = [event.clientX, event.clientY];
    });
    target.addEventListener("pointerup", (event) => {
      const area = target.getBoundingClientRect();
      if (from && !isDragged) pick((event.clientX - area.left) * devicePixelRatio, (event.clientY - area.top) * devicePixelRatio);
      from = null;
    });
    const keys = { ArrowLeft: () => turn(-5, 0), ArrowRight: () => turn(5, 0), ArrowUp: () => turn(0, 5), ArrowDown: () => turn(0, -5),
      "+": () => { state.zoom *= 1.15; later(); }, "-": () => { state.zoom /= 1.15; later(); } };
    target.addEventListener("keydown", (event) => { const act = keys[event.key]; if (act) { event.preventDefault(); act(); } });
    // To a vertex: "L 1234". The surface is turned until it looks at the reader.
    const show = (words) => {
      const [hemi, number] = words.split(" "), h = meshes.findIndex((mesh) => mesh.hemi === hemi), i = Number(number);
      if (h < 0 || !(i < meshes[h].n)) return;
      const near = [0, 0, 0], { points, normals, n } = meshes[h]; // where the surface looks, within 15 mm
      for (let j = 0; j < n; j++) {
        if ([0, 1, 2].reduce((sum, k) => sum + (points[3 * j + k] - points[3 * i + k]) ** 2, 0) < 225) for (let k = 0; k < 3; k++) near[k] += normals[3 * j + k];
      }
      const length = Math.hypot(...near) || 1, [x, y, z] = near.map((value) => value / length);
      Object.assign(state, { azimuth: Math.atan2(x, -y) * 180 / Math.PI, elevation: Math.asin(Math.min(Math.max(z, -1), 1)) * 180 / Math.PI, only: hemi, picked: [h, i] });
      say(); draw();
    };
    box.goTo = show;
    box.querySelector(".strongest").addEventListener("click", () => show(map.strongest));
    addEventListener("resize", later);
    say(); draw();
  };
  const begin = (box) => { box.started ??= start(box).catch((error) => { box.querySelector(".readout").textContent = `The viewer cannot start in this browser: ${error.message}`; }); return box.started; };
  const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => { if (entry.isIntersecting) { watcher.unobserve(entry.target); begin(entry.target); } }), { rootMargin: "300px" });
  boxes.forEach((box) => watcher.observe(box));
  document.querySelectorAll(".goto-vertex").forEach((link) => link.addEventListener("click", async () => {
    const box = document.getElementById(link.dataset.viewer);
    await begin(box);
    box.goTo?.(link.dataset.point);
    box.scrollIntoView({ block: "center" });
  }));
})();
